"""Tables whose cells are separated by lines, and have words on several lines."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from core.pdf import PdfLimits, PdfParser

Rows = Sequence[Sequence[str]]
HEADER = ("Post", "Keeper and deputy", "Duties during a storm")
POSTS = [
    ("Gate", "Ingrid Solberg, deputy Tomas Reyes", "Watch the water and report every change"),
    ("Sluice", "Paulo Mendes", "Close both doors before the tide comes in, then wait"),
    ("Tower", "Aiko Tanaka, who sleeps there in winter", "Light the lamp"),
    ("Bridge", "Harriet Lund", "Stop all carts and count the people who cross on foot"),
]
PLAIN = FontFace()


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser(limits=PdfLimits()) as shared:
        yield shared


@pytest.fixture
def read(parser: PdfParser, tmp_path: Path) -> Callable[[FPDF], list[str]]:
    """The lines of each page of the PDF."""

    def read(pdf: FPDF) -> list[str]:
        path = tmp_path / "ruled.pdf"
        path.write_bytes(bytes(pdf.output()))
        count = pdf.pages_count
        pages = parser.read_pages(path, first=1, last=count, page_count=count)
        return [page.text for page in pages]

    return read


def document() -> FPDF:
    pdf = FPDF(unit="pt", format="A4")
    pdf.set_font("Helvetica", size=10)
    pdf.add_page()
    return pdf


def draw(pdf: FPDF, rows: Rows, widths: tuple[int, ...] = (15, 30, 40), **options: Any) -> FPDF:
    """Add a table. Its columns leave the right side of the page empty, so that cells wrap."""
    options = {"width": 300, "align": "LEFT", "line_height": 13} | options
    with pdf.table(col_widths=widths, **options) as table:
        for cells in rows:
            row = table.row()
            for cell in cells:
                row.cell(cell)
    return pdf


def written(post: Sequence[str]) -> str:
    return f"{post[0]} | {HEADER[1]}: {post[1]} | {HEADER[2]}: {post[2]}"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"borders_layout": TableBordersLayout.HORIZONTAL_LINES},
        {"borders_layout": TableBordersLayout.NO_HORIZONTAL_LINES, "headings_style": PLAIN}
        | {"cell_fill_color": 220, "cell_fill_mode": "ROWS"},
        {"borders_layout": TableBordersLayout.NONE, "headings_style": PLAIN}
        | {"cell_fill_color": 220, "cell_fill_mode": "ROWS"},
        {"text_align": "CENTER", "v_align": "M"},
    ],
    ids=["all lines", "between rows", "shaded, between columns", "shaded", "centred"],
)
def test_each_row_of_wrapped_cells_is_one_line_with_the_names_of_its_columns(
    read: Callable[[FPDF], list[str]], options: dict[str, Any]
) -> None:
    (text,) = read(draw(document(), [HEADER, *POSTS], **options))
    assert text.split("\n")[-4:] == [written(post) for post in POSTS]


def test_a_header_over_several_columns_belongs_to_each(read: Callable[[FPDF], list[str]]) -> None:
    pdf = document()
    with pdf.table(num_heading_rows=2, line_height=13) as table:
        top = table.row()
        top.cell("Station", rowspan=2)
        top.cell("Winter", colspan=2)
        top.cell("Summer", colspan=2)
        for cells in (
            ("open", "closed", "open", "closed"),
            ("Bruk", "Tuesday", "Wednesday and all public holidays", "weekdays", "Sunday"),
            ("Sund", "never", "always", "daily except Monday mornings", "Monday mornings"),
        ):
            row = table.row()
            for cell in cells:
                row.cell(cell)
    (text,) = read(pdf)
    assert text.endswith(
        "Bruk | Winter open: Tuesday | Winter closed: Wednesday and all public holidays"
        " | Summer open: weekdays | Summer closed: Sunday\n"
        "Sund | Winter open: never | Winter closed: always"
        " | Summer open: daily except Monday mornings | Summer closed: Monday mornings"
    )


def test_a_label_of_several_rows_belongs_to_each(read: Callable[[FPDF], list[str]]) -> None:
    pdf = document()
    with pdf.table(line_height=13) as table:
        for cells in (("Severity", "Exposure", "Class"), ("S1", "rare", "A")):
            row = table.row()
            for index, cell in enumerate(cells):
                row.cell(cell, rowspan=3 if (cell, index) == ("S1", 0) else 1)
        for cells in (("seldom", "B"), ("daily", "C")):
            row = table.row()
            for cell in cells:
                row.cell(cell)
    (text,) = read(pdf)
    assert text.split("\n")[1:] == [
        "S1 | Exposure: rare | Class: A",
        "S1 | Exposure: seldom | Class: B",
        "S1 | Exposure: daily | Class: C",
    ]


def test_codes_as_labels_keep_the_names_of_the_columns_of_words(
    read: Callable[[FPDF], list[str]],
) -> None:
    """Without lines, only a row that begins with words and ends with numbers is one of a table."""
    rows = [("Code", "Since", "Harbour", "Coast"), ("02", "4/1/98", "Bergen", "NO")]
    rows += [("03", "6/1/99", "Saint John's", "NL"), ("A7", "1/1/01", "Cape May", "NJ")]
    (text,) = read(draw(document(), rows, widths=(10, 20, 40, 15)))
    assert text.split("\n")[-3:] == [
        f"{code} | Since: {since} | Harbour: {harbour} | Coast: {coast}"
        for code, since, harbour, coast in rows[1:]
    ]


def test_a_page_may_draw_each_side_of_each_cell(read: Callable[[FPDF], list[str]]) -> None:
    """Spreadsheets do: more than a thousand lines on a page."""
    pdf = document()
    draw(pdf, [HEADER, *POSTS])
    for column in range(60):
        for row in range(20):
            pdf.line(100 + 6 * column, 500 + 10 * row, 100 + 6 * column, 509 + 10 * row)
    (text,) = read(pdf)
    assert [written(post) in text for post in POSTS] == [True] * len(POSTS)


def test_columns_without_white_space_between_them(read: Callable[[FPDF], list[str]]) -> None:
    rows = [
        ("Code", "Meaning", "Action"),
        ("E-pump", "Motor is blocked", "Remove sand"),
        ("E-heat", "Water is too hot", "Wait an hour"),
        ("E-flow", "No water arrives", "Open the main"),
    ]
    pdf = document()
    for cells in rows:
        for width, cell in zip((38, 83, 70), cells, strict=True):
            pdf.cell(width, 15, cell, border=1)
        pdf.ln()
    (text,) = read(pdf)
    assert text.split("\n")[1:] == [
        f"{code} | Meaning: {meaning} | Action: {action}" for code, meaning, action in rows[1:]
    ]


@pytest.mark.parametrize("repeated", [0, 1])
def test_rows_overleaf_keep_the_names_of_their_columns(
    read: Callable[[FPDF], list[str]], repeated: int
) -> None:
    pages = read(draw(document(), [HEADER, *POSTS * 12], repeat_headings=repeated))
    assert len(pages) == 2
    rows = [line for page in pages for line in page.split("\n") if " | " in line]
    assert rows == [written(post) for post in POSTS] * 12


def test_a_header_alone_at_the_foot_of_a_page(read: Callable[[FPDF], list[str]]) -> None:
    pdf = document()
    for number in range(46):
        pdf.cell(0, 16, f"Line {number} of a text.", new_x="LMARGIN", new_y="NEXT")
    draw(pdf, [HEADER])
    pdf.add_page()
    draw(pdf, POSTS, headings_style=PLAIN)
    _, second = read(pdf)
    assert second.split("\n") == [written(post) for post in POSTS]


def test_a_word_broken_in_a_cell_is_whole(read: Callable[[FPDF], list[str]]) -> None:
    rows = [("Part", "Material", "Use"), ("Hull", "rein-\nforced concrete", "floats")]
    (text,) = read(draw(document(), [*rows, ("Mast", "COVID-\n19 steel", "carries a lamp")]))
    assert text.split("\n")[1:] == [
        "Hull | Material: reinforced concrete | Use: floats",
        "Mast | Material: COVID-19 steel | Use: carries a lamp",
    ]


def test_the_first_of_a_list_of_fields_is_no_header(read: Callable[[FPDF], list[str]]) -> None:
    fields = [
        ("Borrower", "Marisol Quintero"),
        ("Device", "Thermal camera with a tripod, a bag and two lenses"),
        ("Place", "Workshop behind the mill, to the left of the gate, second door"),
    ]
    (text,) = read(draw(document(), fields, widths=(30, 70)))
    assert text.split("\n") == [f"{name} | {value}" for name, value in fields]


def test_rows_between_two_lines_stay_apart(read: Callable[[FPDF], list[str]]) -> None:
    """Lines are around the header and below the last row only, as in scientific papers."""
    rows = [
        ("Method", "Setting", "Remark"),
        ("Baseline", "default values of the tool", "runs on any machine"),
        ("Pruned", "half of all weights removed", "needs a second pass"),
        ("Merged", "two models of equal size", "loses rare words"),
    ]
    pdf = document()
    for number, cells in enumerate(rows):
        for x, cell in zip((64, 180, 360), cells, strict=True):
            pdf.text(x, 100 + 14 * number, cell)
    for y in (88, 104, 147):
        pdf.line(60, y, 500, y)
    (text,) = read(pdf)
    assert text.split("\n")[1:] == [
        f"{name} | Setting: {setting} | Remark: {remark}" for name, setting, remark in rows[1:]
    ]


def test_a_frame_around_prose_is_no_table(read: Callable[[FPDF], list[str]]) -> None:
    prose = "The ferry does not run when the wind is strong. Wait here."
    pdf = document()
    pdf.multi_cell(200, 14, prose, border=1)
    (text,) = read(pdf)
    assert text.split() == prose.split()


def test_numbers_between_lines_keep_their_rows(read: Callable[[FPDF], list[str]]) -> None:
    """A frame with lines between the columns only: each line of numbers is a row."""
    rows = [("Depot", "Crates", "Weight"), ("North", "12", "340"), ("South", "7", "1,204")]
    pdf = draw(document(), rows, borders_layout=TableBordersLayout.NO_HORIZONTAL_LINES)
    (text,) = read(pdf)
    assert text.split("\n")[-2:] == [
        "North | Crates: 12 | Weight: 340",
        "South | Crates: 7 | Weight: 1,204",
    ]


def test_a_quote_of_a_wrapped_cell_is_marked(parser: PdfParser, tmp_path: Path) -> None:
    path = tmp_path / "ruled.pdf"
    path.write_bytes(bytes(draw(document(), [HEADER, *POSTS]).output()))
    plain = parser.render_page(path, number=1, scale=1.0)
    marked = parser.render_page(path, number=1, highlight=written(POSTS[1]), scale=1.0)
    assert marked != plain


def test_a_row_keeps_a_label_that_is_outside_of_the_lines(
    read: Callable[[FPDF], list[str]],
) -> None:
    rows = [("Alcona", "up", "left"), ("Curtis", "down", "right"), ("Gustin", "up", "right")]
    pdf = document()
    for cells in rows:
        for index, cell in enumerate(cells):
            pdf.cell(60 if index else 44, 15, cell, border=1 if index else 0)
        pdf.ln()
    (text,) = read(pdf)
    assert [line.replace(" | ", " ") for line in text.split("\n")] == [
        " ".join(row) for row in rows
    ]
