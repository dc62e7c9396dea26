"""Chunks contain every sentence once, however the pages are divided into ranges."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.documents.chunking import ChunkDraft, chunk_pages
from core.pdf import OutlineEntry, PageText
from tests.growth import grows_quadratically

WORDS = [
    "alpha",
    "Beta",
    "gamma",
    "Delta",
    "of",
    "the",
    "Inc.",
    "3.14",
    "e.g.",
    "and",
    "is,",
    "No. 5",
]
LONG_WORD = "x" * 900

LINES = [
    *(
        " ".join(WORDS[start : start + count]) + end
        for start in range(8)
        for count in (1, 4)
        for end in ".? "
    ),
    *(
        "• a point",
        "1.2 Scope of Work",
        "TOTALS",
        "12 345 678",
        LONG_WORD,
        "図書館は開いている。",
        "؟ نعم",
        "",
    ),
]
page_text = st.lists(
    st.sampled_from([line + gap for line in LINES for gap in (" ", "\n", "\n\n")]), max_size=12
).map(lambda lines: "".join(lines).strip())


def count_words(text: str) -> int:
    return len(text.split())


def as_pages(texts: list[str]) -> list[PageText]:
    return [PageText(number, text, "pdfium") for number, text in enumerate(texts, start=1)]


def chunk_range(
    pages: list[PageText], first: int, last: int, **options: object
) -> list[ChunkDraft]:
    """The chunks of a worker that reads its own pages and one neighbour on each side."""
    seen = [page for page in pages if first - 1 <= page.number <= last + 1]
    return chunk_pages(
        seen, first=first, last=last, count_tokens=count_words, **({"size": 20} | options)
    )


def squeeze(text: str) -> str:
    return "".join(text.split())


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[PageText], list[int]]:
    texts = draw(st.lists(page_text, min_size=1, max_size=6))
    cuts = draw(st.sets(st.integers(1, max(1, len(texts) - 1))))
    return as_pages(texts), sorted({0, len(texts)} | {cut for cut in cuts if cut < len(texts)})


@given(documents())
def test_no_sentence_is_lost_or_doubled_at_any_cut(
    document: tuple[list[PageText], list[int]],
) -> None:
    pages, cuts = document
    in_ranges = [
        chunk for low, high in pairwise(cuts) for chunk in chunk_range(pages, low + 1, high)
    ]
    whole = squeeze("".join(page.text for page in pages))
    assert squeeze("".join(chunk.text for chunk in in_ranges)) == whole
    assert in_ranges == chunk_range(pages, 1, len(pages))


@given(documents(), st.integers(0, 2))
def test_chunk_text_is_text_of_its_pages(
    document: tuple[list[PageText], list[int]], overlap: int
) -> None:
    pages, _ = document
    texts = {page.number: page.text for page in pages}
    for chunk in chunk_range(pages, 1, len(pages), overlap=overlap):
        assert chunk.text.strip() == chunk.text != ""
        assert count_words(chunk.text) <= 20
        if chunk.page_start == chunk.page_end:
            assert chunk.text in texts[chunk.page_start]
        else:
            assert chunk.page_end == chunk.page_start + 1
            assert is_text_of_both_pages(chunk, texts)


def is_text_of_both_pages(chunk: ChunkDraft, texts: dict[int, str]) -> bool:
    return any(
        texts[chunk.page_start].endswith(chunk.text[:cut])
        and texts[chunk.page_end].startswith(chunk.text[cut + 1 :])
        for cut in range(1, len(chunk.text) - 1)
        if chunk.text[cut] == " "
    )


def test_a_sentence_over_two_pages_belongs_to_the_first() -> None:
    pages = as_pages(
        [
            "The first is whole. The second one begins here and",
            "ends on this page. The third is here.",
        ]
    )
    [one] = chunk_range(pages, 1, 1)
    [two] = chunk_range(pages, 2, 2)
    assert one.text == "The first is whole. The second one begins here and ends on this page."
    assert (one.page_start, one.page_end) == (1, 2)
    assert two.text == "The third is here."
    assert (two.page_start, two.page_end) == (2, 2)


def test_a_sentence_that_has_ended_is_not_continued() -> None:
    pages = as_pages(["This one ends.", "another begins in lower case. So it is."])
    assert [chunk.text for chunk in chunk_range(pages, 1, 1)] == ["This one ends."]


def test_pages_are_not_mixed() -> None:
    pages = as_pages([f"Page number {number} has one short sentence." for number in range(1, 6)])
    chunks = chunk_range(pages, 1, 5)
    assert [(chunk.page_start, chunk.page_end) for chunk in chunks] == [(n, n) for n in range(1, 6)]


def test_chunks_are_filled() -> None:
    text = " ".join(f"Sentence number {index} has got seven words." for index in range(30))
    sizes = [count_words(chunk.text) for chunk in chunk_range(as_pages([text]), 1, 1, size=100)]
    assert sizes == [98, 98, 14]


def test_sentences_are_not_cut() -> None:
    text = " ".join(f"Sentence number {index} has got seven words." for index in range(30))
    assert all(chunk.text.endswith(".") for chunk in chunk_range(as_pages([text]), 1, 1))


def test_overlap_repeats_the_last_sentence_on_the_same_page_only() -> None:
    pages = as_pages(
        [" ".join(f"Sentence {page}{index} is here." for index in range(8)) for page in range(1, 3)]
    )
    chunks = chunk_range(pages, 1, 2, size=17, overlap=1)
    assert chunks[1].text.startswith(chunks[0].text.split(". ")[-1])
    first_of_second = next(chunk for chunk in chunks if chunk.page_start == 2)
    assert first_of_second.text.startswith("Sentence 20 is here.")


def test_a_heading_stays_with_its_text() -> None:
    prose = "This sentence is long enough to fill a line of the page from its left to its right."
    text = f"{prose}\n{prose}\n2.1 Scope of Delivery\n{prose}\n{prose}"
    room_for_the_heading = 2 * count_words(prose) + 4
    chunks = chunk_range(as_pages([text]), 1, 1, size=room_for_the_heading)
    assert [chunk.heading for chunk in chunks] == [None, "2.1 Scope of Delivery"]
    assert chunks[1].text.startswith("2.1 Scope of Delivery\nThis")


def test_the_outline_names_the_section_if_the_page_does_not() -> None:
    pages = as_pages(["One is here.", "Two is here.", "Three is here."])
    outline = [OutlineEntry(0, "Beginning", 1), OutlineEntry(0, "End", 3)]
    chunks = chunk_range(pages, 1, 3, outline=outline)
    assert [chunk.heading for chunk in chunks] == ["Beginning", "Beginning", "End"]


@pytest.mark.parametrize(
    "text", [LONG_WORD * 20, "row 1 2 3 4\n" * 500, "字" * 5000, "a\n" * 3000, "word " * 4000]
)
def test_text_without_sentences_is_cut_to_size(text: str) -> None:
    pages = as_pages([text.strip()])
    chunks = chunk_range(pages, 1, 1, size=50)
    assert squeeze("".join(chunk.text for chunk in chunks)) == squeeze(text)
    assert all(len(chunk.text) <= 500 and count_words(chunk.text) <= 50 for chunk in chunks)


@pytest.mark.parametrize("text", ["", " \n\n ", "\n"])
def test_empty_text_gives_no_chunk(text: str) -> None:
    assert chunk_range(as_pages([text]), 1, 1) == []


@pytest.mark.alone
def test_work_grows_with_the_text_and_no_faster() -> None:
    calls = 0

    def count(text: str) -> int:
        nonlocal calls
        calls += 1
        return count_words(text)

    def chunk(sentences: int) -> None:
        text = "This is one of very many sentences of the same length.\n" * sentences
        chunk_pages(as_pages([text.strip()]), first=1, last=1, count_tokens=count, size=200)

    chunk(20_000)
    assert calls < 25_000
    assert not grows_quadratically(chunk, size=500)


@example("a. B", "c")
@given(page_text, page_text)
def test_the_last_page_of_a_range_needs_one_neighbour_only(one: str, two: str) -> None:
    pages = as_pages([one, two, "A third page that nobody asked for."])
    assert chunk_range(pages[:2], 1, 1) == chunk_range(pages, 1, 1)


def test_a_footnote_does_not_interrupt_a_sentence_that_continues() -> None:
    pages = as_pages(
        [
            "The lease runs for a term of\n\n1 The mill burned down in 1790.\nIt is old.\n\n17",
            "ninety-nine years. It ends in 2081.",
        ]
    )
    [lease, note] = chunk_range(pages, 1, 1)
    assert lease.text == "The lease runs for a term of ninety-nine years."
    assert (lease.page_start, lease.page_end) == (1, 2)
    assert note.text == "1 The mill burned down in 1790.\nIt is old.\n\n17"
    [rest] = chunk_range(pages, 2, 2)
    assert rest.text == "It ends in 2081."


def test_a_numbered_paragraph_at_the_end_of_a_page_is_no_footnote_of_an_ended_sentence() -> None:
    pages = as_pages(["The lease ends.\n\n1 The mill burned down", "in 1790. It was rebuilt."])
    [chunk] = chunk_range(pages, 1, 1)
    assert chunk.text == "The lease ends.\n\n1 The mill burned down in 1790."
