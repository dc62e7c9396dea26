"""What a table is of, for chunks that begin in the middle of it."""

import pytest

from core.documents.captions import caption_above
from core.documents.chunking import chunk_pages
from core.pdf import PageText

PROSE = "The company sells many things, and the tables below give the sums by kind and by country."
PAGE = f"""{PROSE}

Table 3: Expenses by kind
(in millions)

Year ended 2022 2021
Abrasives | 2022: 1,343 | 2021: 1,296
Operating expenses
Operating expenses: Rent | 2022: 12 | 2021: 11

Prose follows here."""
CAPTION = "Table 3: Expenses by kind (in millions)"


@pytest.mark.parametrize(
    ("start", "caption"),
    [
        ("Operating expenses: Rent", f"{CAPTION} Year ended"),
        ("Abrasives", f"{CAPTION} Year ended"),
        ("Year", CAPTION),
        ("The company", ""),
        ("Prose", ""),
    ],
)
def test_the_caption_of_a_table_that_goes_on(start: str, caption: str) -> None:
    assert caption_above(PAGE, PAGE.index(start)) == caption


def test_the_caption_of_an_earlier_page_is_that_of_the_first_table() -> None:
    page = "Rent | 2022: 12\nHeat | 2022: 7\n\nStaff by site\n\nSites | 2022: 3\nShops | 2022: 5"
    assert caption_above(page, page.index("Heat"), carried="Costs (€)") == "Costs (€)"
    assert caption_above(page, page.index("Shops"), carried="Costs (€)") == "Staff by site"


def test_the_sentence_that_leads_to_a_table_is_its_caption() -> None:
    page = (
        "The depots are counted each spring. The stock of the northern depots, net of\n"
        "what is lent, was as follows:\n\n(in tonnes)\nA | 2022: 1\nB | 2022: 2"
    )
    sentence = "The stock of the northern depots, net of what is lent, was as follows:"
    assert caption_above(page, page.index("B |")) == f"{sentence} (in tonnes)"


def test_a_text_without_a_table_has_no_caption() -> None:
    assert caption_above("One.\nTwo.", 5, carried="Costs") == ""
    assert caption_above("", 0) == ""


def test_each_chunk_of_a_long_table_has_its_caption() -> None:
    rows = "\n".join(f"Depot {n} | Crates: {n * 7} | Weight: {n * 11}" for n in range(30))
    title = "Stock of the depots (in tonnes)"
    pages = [
        PageText(1, f"{title}\n\nDepot Crates Weight\n{rows}", "pdfium"),
        PageText(2, rows, "pdfium", caption=title),
    ]
    chunks = chunk_pages(
        pages, first=1, last=2, count_tokens=lambda text: len(text.split()), size=100
    )
    assert len(chunks) > 4
    assert chunks[0].text.startswith(title)
    assert [title in chunk.caption for chunk in chunks[1:]] == [True] * (len(chunks) - 1)
    assert [chunk.heading for chunk in chunks] == [None] * len(chunks)
