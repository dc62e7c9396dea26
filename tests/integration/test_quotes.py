"""A quote is word for word in its page's text and is marked at the right place in the image."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest
from PIL import Image, ImageChops
from sqlalchemy import select

from core.bootstrap import Services
from core.db.models import DocumentPage
from core.documents import uploads
from core.search import retrieval
from tests.integration.steps import TENANT, ask, find_document, ingest, new_session
from tests.typeset import Column, right_to_left, typeset

# Points from the page's left and top edge: left, top, right, bottom.
Area = tuple[float, float, float, float]


@dataclass(frozen=True)
class Case:
    """`quote` is part of the quote for `query`, which is in these rows of a column."""

    columns: Sequence[Column]
    query: str
    quote: str
    rows: tuple[int, int]
    left: float = 40
    right: float = 595


HYPHENATED = Column(
    [
        "The lamp of Norrskar burned rapeseed oil until 1886.",
        "Each evening the keeper wrote down his obser-",
        "vations of the weather at the north-western light-",
        "house. A radio beacon took over her work in 1962.",
    ]
)
LIGATURES = Column(
    [
        "A harbour was built beside the mill in 1921.",
        "The oﬃcial ﬁgures of the ﬁrst survey diﬀer from",
        "those of the ﬂeet by a ﬁfth. Nobody knows why.",
    ]
)
LEFT = Column(["The left column speaks", "of the harbour and of", "the boats that lay there."])
RIGHT = Column(["The right column tells", "how the mill was moved", "up the river in 1921."], 330)
HEBREW = Column(
    [
        right_to_left("הנמל נבנה ליד הטחנה."),
        right_to_left("מגדלור האי הצפוני נבנה בשנת 1847 על ידי אלבין לינד."),
    ],
    left=180,
)
ARABIC = Column(
    [
        right_to_left("يقع الميناء بجانب الطاحونة."),
        right_to_left("بنيت المنارة في الجزيرة الشمالية قبل مئة عام."),
    ],
    left=180,
)
JAPANESE = Column(
    [
        "港は川のそばにある。灯台は一八四七年にアルビン",
        "によって建てられた。最後の灯台守は島を去った。",
    ],
    wide=True,
)
CASES = {
    "hyphenation": Case(
        [HYPHENATED], "What observations did the keeper write down?", "his observations of", (1, 3)
    ),
    "ligatures": Case([LIGATURES], "What are the official figures?", "first survey differ", (1, 2)),
    "left column": Case(
        [LEFT, RIGHT], "What lay in the harbour?", "of the harbour", (0, 2), 40, 320
    ),
    "right column": Case([LEFT, RIGHT], "How was the mill moved?", "mill was moved", (0, 2), 320),
    "Hebrew": Case([HEBREW], "מתי נבנה מגדלור האי הצפוני?", "בשנת 1847 על ידי אלבין לינד", (1, 1)),
    "Arabic": Case([ARABIC], "متى بنيت المنارة في الجزيرة؟", "المنارة في الجزيرة", (1, 1)),
    "Japanese": Case([JAPANESE], "灯台は何年に建てられたか", "一八四七年", (0, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_quote_is_on_its_page_and_is_marked_there(services: Services, name: str) -> None:
    case = CASES[name]
    document_id = ingest(services, typeset([[Column(["Contents", "1 Light"])], case.columns]))
    passage = next(
        found
        for found in retrieval.search(services, tenant_id=TENANT, query=case.query)
        if found.page_start == 2
    )
    text = page_text(services, document_id, 2)
    assert passage.quote in text
    assert case.quote in " ".join(passage.quote.split())
    assert passage.quote != text
    plain, marked = (picture(services, document_id, one) for one in (None, passage.quote))
    assert is_within(changed(plain, marked), case)


@pytest.mark.parametrize("name", ["hyphenation", "ligatures", "right column"])
def test_an_answer_s_quotes_are_on_their_pages(services: Services, name: str) -> None:
    case = CASES[name]
    document_id = ingest(services, typeset([case.columns]))
    answer = ask(services, new_session(services), case.query)
    assert answer.retrieved_context
    for passage in answer.retrieved_context:
        assert passage["quote"] in page_text(services, document_id, passage["page_start"])
        assert case.quote in " ".join(passage["quote"].split())


def page_text(services: Services, document_id: UUID, number: int) -> str:
    with services.database.transaction(tenant_id=None) as db:
        found = db.scalar(
            select(DocumentPage.text).where(
                DocumentPage.document_id == document_id, DocumentPage.number == number
            )
        )
    assert found
    return found


def picture(services: Services, document_id: UUID, highlight: str | None) -> Image.Image:
    image = uploads.render_page(
        services, find_document(services, document_id), number=2, highlight=highlight
    )
    return Image.open(io.BytesIO(image)).convert("RGB")


def changed(plain: Image.Image, marked: Image.Image) -> Area:
    """The area, in points, in which two images of an A4 page differ."""
    box = ImageChops.difference(plain, marked).getbbox()
    assert box is not None
    scale = plain.width / 595
    left, top, right, bottom = (side / scale for side in box)
    return left, top, right, bottom


def is_within(area: Area, case: Case) -> bool:
    """Whether `area` covers the case's rows of 18 points, and no other row or column."""
    left, top, right, bottom = area
    first, last = (62 + 18 * row for row in case.rows)
    covers = top < first and bottom > last - 10
    return (
        covers
        and top > first - 18
        and bottom < last + 10
        and left > case.left
        and (right < case.right)
    )
