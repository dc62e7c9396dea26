from itertools import pairwise

import pytest

from core.text.sentences import continues, split_sentences
from tests.growth import grows_quadratically


def sentences_of(text: str) -> list[str]:
    return [text[segment.start : segment.end] for segment in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Smith met Mr. J. R. R. Tolkien.", ["Dr. Smith met Mr. J. R. R. Tolkien."]),
        ("It cost 3.5 million. Nobody paid.", ["It cost 3.5 million.", "Nobody paid."]),
        ("See Fig. 3 and No. 5. Then stop.", ["See Fig. 3 and No. 5.", "Then stop."]),
        ("The U.S. Senate voted.", ["The U.S. Senate voted."]),
        ("Acme Inc. Chairman Lee resigned.", ["Acme Inc. Chairman Lee resigned."]),
        (
            "Net sales, incl. No. 3. | 2022: $ 5 | 2021: $ 6\nCosts. | 2022: 1 | 2021: 2\nYes.",
            [
                "Net sales, incl. No. 3. | 2022: $ 5 | 2021: $ 6",
                "Costs. | 2022: 1 | 2021: 2",
                "Yes.",
            ],
        ),
        ("Built in 1903.[12] It burned.[3][4] Gone.", None),
        ("“Really?” he asked. “Yes.” She left.", ["“Really?” he asked.", "“Yes.”", "She left."]),
        ("So on, etc. and more.", ["So on, etc. and more."]),
        ("Wait… what? Ah.", ["Wait… what?", "Ah."]),
        ("1. Introduction\nIt begins. Good.", ["1. Introduction", "It begins.", "Good."]),
        ("A heading\n\nA text. More.", ["A heading", "A text.", "More."]),
        ("Items:\n• one\n• two", ["Items:", "• one", "• two"]),
        ("wrapped\nline. Next\nline.", ["wrapped\nline.", "Next\nline."]),
        ("東京は首都です。人口は多い！「本当？」はい。", None),
        ("هل هذا صحيح؟ نعم. حسنا.", ["هل هذا صحيح؟", "نعم.", "حسنا."]),
        ("یہ ایک جملہ ہے۔ دوسرا جملہ۔", ["یہ ایک جملہ ہے۔", "دوسرا جملہ۔"]),
        ("यह एक वाक्य है। दूसरा।", ["यह एक वाक्य है।", "दूसरा।"]),
        ("See www.example.com for v2.0.1 now.", ["See www.example.com for v2.0.1 now."]),
        ("", []),
        (" \n\n ", []),
        ("...", ["..."]),
    ],
)
def test_splits(text: str, expected: list[str] | None) -> None:
    special = {
        "Built": ["Built in 1903.[12]", "It burned.[3][4]", "Gone."],
        "東京は首": ["東京は首都です。", "人口は多い！", "「本当？」", "はい。"],
    }
    if expected is None:
        expected = next(value for key, value in special.items() if text.startswith(key))
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "One. Two\n\nThree! 東京。 هل؟ a.b. c",
        "  lead. Trail.  \n",
        "no end",
        "!?.!?. ...  . .",
    ],
)
def test_spans_leave_out_white_space_only(text: str) -> None:
    spans = [(segment.start, segment.end) for segment in split_sentences(text)]
    kept = "".join(text[a:b] for a, b in spans)
    assert "".join(kept.split()) == "".join(text.split())
    assert all(a < b and text[a:b] == text[a:b].strip() for a, b in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.alone
@pytest.mark.parametrize(
    "unit", [".", "a. ", "\n", " ", "[1]", ".[", "。」", "x", "A.", "1.", '."']
)
def test_takes_linear_time(unit: str) -> None:
    assert not grows_quadratically(
        lambda size: split_sentences(unit * (size // len(unit))), size=4_000
    )


# A page of full lines, so that the width of a full line is known.
FULL = "Every line of this page is of about the same length as this one is."
THAI = "ประโยคนี้ยาวเต็มบรรทัดและยังไม่จบ"


def runs_on(last: str, following: str) -> bool:
    """Whether the last sentence of a page that ends with `last` continues on the next page."""
    return continues(last, split_sentences(last), following, split_sentences(following))


@pytest.mark.parametrize(
    ("last", "following", "expected"),
    [
        ("The mill was moved up", "the river. It burned.", True),
        ("The mill was moved up.", "the river. It burned.", False),
        ("It was built by the", "Norrskar Company. It burned.", True),
        ("It was built by hand", "Norrskar Company. It burned.", False),
        # Neither a heading nor a list entry completes a sentence, and a heading is none.
        (f"{FULL}\n\n1. Introduction of the\n\n{FULL[:30]}", "sailors. It burned.", True),
        ("It was built by the", f"1. Origin\n{FULL}", False),
        ("It was built by the", f"ORIGIN OF THE NAME\n{FULL} {FULL}", False),
        ("It was built by the", "• sailors of the town. It burned.", False),
        # A first segment that does not end on its own page completes nothing.
        ("The mill was moved up", "the river", False),
        ("The mill was moved up", "the river.", True),
        ("The mill was moved up", "the river\n\nIt burned.", True),
        # 600 characters of the next page at most may complete a sentence.
        ("The mill was moved up", "the " + "x" * 595 + ". It burned.", True),
        ("The mill was moved up", "the " + "x" * 596 + ". It burned.", False),
        # A number alone does not continue, and neither does an empty page.
        ("1847", "the river. It burned.", False),
        ("", "the river. It burned.", False),
        ("The mill was moved up", "", False),
        # Scripts without capitals continue after a full line only.
        (THAI, f"{THAI}. จบ.", True),
        (f"{THAI}\n{THAI}\n{THAI}\n{THAI[:10]}", f"{THAI}. จบ.", False),
        (THAI, "Norrskar. จบ.", False),
        ("Norrskar was moved up", f"{THAI}. จบ.", False),
    ],
)
def test_a_sentence_continues_on_the_next_page(last: str, following: str, expected: bool) -> None:
    assert runs_on(last, following) == expected


def test_a_heading_above_footnotes_does_not_continue() -> None:
    last, following = f"THE MILL AND THE\n{FULL} {FULL}", "river. It burned."
    heading, *_ = split_sentences(last)
    assert heading.heading
    assert not continues(last, [heading], following, split_sentences(following))
