"""A table that goes on overleaf without its header keeps its columns' names and its caption."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image, ImageChops

from core.pdf import PageText, PdfLimits, PdfParser

Cells = Sequence[tuple[float, str]]  # x and text; a negative x is the right edge
PITCH = 16
HEADER: Cells = [(72, "Depot"), (180, "Keeper"), (-360, "Crates"), (-460, "Weight kg")]


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser(limits=PdfLimits()) as shared:
        yield shared


@pytest.fixture
def read(parser: PdfParser, tmp_path: Path) -> Callable[..., list[PageText]]:
    def read(pages: Sequence[Sequence[Cells]], **options: float) -> list[PageText]:
        path = tmp_path / "tables.pdf"
        path.write_bytes(drawn(pages, **options))
        return parser.read_pages(path, first=1, last=len(pages), page_count=len(pages))

    return read


def drawn(pages: Sequence[Sequence[Cells]], *, shift: float = 0) -> bytes:
    """A PDF of pages of lines, each of cells. Every other page is moved by `shift` points."""
    pdf = FPDF(unit="pt", format="A4")
    pdf.set_auto_page_break(auto=False)
    for index, lines in enumerate(pages):
        pdf.add_page()
        pdf.set_font("Helvetica", size=10)
        for row, cells in enumerate(lines):
            for x, text in cells:
                left = x if x > 0 else -x - pdf.get_string_width(text)
                pdf.text(left + (shift if index % 2 else 0), 70 + PITCH * row, text)
    return bytes(pdf.output())


def rows(first: int, last: int) -> list[Cells]:
    """The rows of depots `first` to `last`."""
    return [
        [(72, f"Depot {n}"), (180, f"Keeper{n}"), (-360, f"{n * 7}"), (-460, f"{n * 1103:,}")]
        for n in range(first, last + 1)
    ]


def written(number: int) -> str:
    return (
        f"Depot {number} | Keeper: Keeper{number} | Crates: {number * 7}"
        f" | Weight kg: {number * 1103:,}"
    )


CAPTION: list[Cells] = [[(72, "Stock of the depots in March")], []]
FIRST: list[Cells] = [*CAPTION, HEADER, *rows(1, 40)]


@pytest.mark.parametrize(
    "above",
    [
        [],
        [[(72, "Stock of the depots in March (continued)")], []],
        [[(72, "Harbour board"), (-460, "Page 2")], []],
        [[(72, "Northern depots")]],
    ],
    ids=["nothing", "continued", "running-header", "group"],
)
@pytest.mark.parametrize("shift", [0, 30], ids=["same-margins", "left-and-right-pages"])
def test_rows_overleaf_have_the_names_of_their_columns(
    read: Callable[..., list[PageText]], above: list[Cells], shift: float
) -> None:
    first = [[(72, "Harbour board"), (-460, "Page 1")], [], *FIRST]
    pages = read([first, [*above, *rows(41, 60)], rows(61, 62)], shift=shift)
    assert written(41) in pages[1].text
    assert written(60) in pages[1].text
    assert written(61) in pages[2].text
    assert [page.caption for page in pages[1:]] == ["Stock of the depots in March Depot"] * 2


def test_one_row_overleaf_has_the_names_of_its_columns(
    read: Callable[..., list[PageText]],
) -> None:
    assert read([FIRST, rows(41, 41)])[1].text == written(41)


def test_a_table_may_begin_with_its_last_row_on_the_page(
    read: Callable[..., list[PageText]],
) -> None:
    prose: list[Cells] = [[(72, "The board counts what the depots hold, as every year.")]] * 30
    pages = read([[*prose, [], *CAPTION, HEADER, *rows(1, 1)], rows(2, 9)])
    assert written(1) in pages[0].text
    assert written(2) in pages[1].text


def test_a_table_whose_header_repeats_keeps_its_caption(
    read: Callable[..., list[PageText]],
) -> None:
    pages = read([FIRST, [HEADER, *rows(41, 50)], [HEADER, *rows(51, 60)]])
    assert written(51) in pages[2].text
    assert pages[2].caption == "Stock of the depots in March Depot"


def test_an_empty_column_overleaf_shifts_no_names(read: Callable[..., list[PageText]]) -> None:
    without_crates = [[cell for cell in cells if cell[0] != -360] for cells in rows(41, 44)]
    text = read([FIRST, without_crates])[1].text
    assert "Depot 41 | Keeper: Keeper41 | Weight kg: 45,223" in text


def test_headers_over_several_columns_and_the_unit_go_overleaf(
    read: Callable[..., list[PageText]],
) -> None:
    head: list[Cells] = [
        [(72, "Revenue by region")],
        [(270, "Half-year")],
        [(250, "(in millions of euros)")],
        [(-260, "2031"), (-340, "2030")],
    ]
    body: list[Cells] = [
        [(72, f"Region {n}"), (-260, f"{n * 31}"), (-340, f"{n * 29}")] for n in range(1, 50)
    ]
    pages = read([[*head, *body[:40]], body[40:]])
    assert "Region 41 | Half-year 2031: 1271 | Half-year 2030: 1189" in pages[1].text
    assert pages[1].caption == "Revenue by region (in millions of euros)"


def test_a_range_that_begins_in_the_table_reads_the_same(
    read: Callable[..., list[PageText]], tmp_path: Path
) -> None:
    pages = [FIRST, *(rows(41 + 10 * n, 50 + 10 * n) for n in range(7))]
    whole = read(pages)
    with PdfParser(limits=PdfLimits()) as other:
        late = other.read_pages(tmp_path / "tables.pdf", first=7, last=8, page_count=8)
    assert late == whole[6:]
    assert written(110) in late[-1].text


OTHER: Cells = [(72, "Month"), (180, "Clerk"), (-360, "Fines"), (-460, "Paid")]


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ([], [*CAPTION, OTHER]),  # it has a header of its own
        ([], [[(72, "Table 7: Fines of the year")], []]),
        ([], [[(72, "The following fines were paid, and none of them is open any more.")], []]),
        ([[], *[[(72, "A paragraph of prose goes between the tables here.")]] * 5], []),
    ],
    ids=["own-header", "own-caption", "prose-above", "prose-below"],
)
def test_another_table_overleaf_gets_no_names(
    read: Callable[..., list[PageText]], below: list[Cells], above: list[Cells]
) -> None:
    text = read([[*CAPTION, HEADER, *rows(1, 30), *below], [*above, *rows(41, 50)]])[1].text
    assert "Depot 41 |" in text
    assert "Weight kg" not in text


def test_a_table_with_other_columns_overleaf_gets_no_names(
    read: Callable[..., list[PageText]],
) -> None:
    other = [[(72, f"Month {n}"), (-300, f"{n}"), (-520, f"{n * 3}")] for n in range(1, 9)]
    assert "Crates" not in read([FIRST, other])[1].text


def test_a_quoted_row_overleaf_is_marked(
    read: Callable[..., list[PageText]], parser: PdfParser, tmp_path: Path
) -> None:
    read([FIRST, rows(41, 44)])
    plain, marked = (
        Image.open(
            io.BytesIO(
                parser.render_page(tmp_path / "tables.pdf", number=2, highlight=quote, scale=1)
            )
        )
        for quote in (None, "Depot 42 | Keeper: Keeper42 | Crates: 294")
    )
    changed = ImageChops.difference(plain, marked).convert("L").point(lambda v: 255 * (v > 8))
    left, top, right, bottom = changed.getbbox() or (0, 0, 0, 0)
    assert (60 < left < 75, 340 < right < 380) == (True, True)
    assert 70 < top < bottom < 70 + 2 * PITCH
