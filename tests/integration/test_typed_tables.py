"""Tables whose lines are typed characters."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fpdf import FPDF

from core.pdf import PdfParser

ROWS = ["Gate | Keeper: Solberg | Lamps: 12", "Sluice | Keeper: Mendes | Lamps: 7"]
BOXED = """\
+--------+---------+-------+
| Post   | Keeper  | Lamps |
+--------+---------+-------+
| Gate   | Solberg |    12 |
+--------+---------+-------+
| Sluice | Mendes  |     7 |
+--------+---------+-------+"""
HEADER_ONLY = """\
+--------+---------+-------+
| Post   | Keeper  | Lamps |
+--------+---------+-------+
| Gate   | Solberg |    12 |
| Sluice | Mendes  |     7 |
+--------+---------+-------+"""
MARKDOWN = """\
| Post   | Keeper  | Lamps |
| ------ | :------ | ----: |
| Gate   | Solberg |    12 |
| Sluice | Mendes  |     7 |"""
OPEN = """\
 Post   | Keeper  | Lamps
--------+---------+-------
 Gate   | Solberg |    12
 Sluice | Mendes  |     7"""
TABULATE = """\
------------------------------------
|DISTRICT       |All Ships|Own Only|
|---------------+---------+--------|
|PORT OF ARRIVAL|    |    |   |    |
|---------------|    |    |   |    |
|Bergen         | 452|1.6%|283|1.5%|
|---------------+----+----+---+----|
|Saint John's on|    |    |   |    |
|the Hill       | 388|1.4%|142|1.1%|
------------------------------------"""


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser() as shared:
        yield shared


@pytest.fixture
def read(parser: PdfParser, tmp_path: Path) -> Callable[[str], str]:
    """The text of a page with these lines in a font whose letters are equally wide."""

    def read(text: str) -> str:
        pdf = FPDF(unit="pt", format="A4")
        pdf.add_page()
        pdf.set_font("Courier", size=9)
        pdf.multi_cell(0, 10, text)
        path = tmp_path / "typed.pdf"
        path.write_bytes(bytes(pdf.output()))
        (page,) = parser.read_pages(path, first=1, last=1, page_count=1)
        return str(page.text)

    return read


@pytest.mark.parametrize("table", [BOXED, HEADER_ONLY, MARKDOWN, OPEN])
def test_a_row_has_the_names_of_its_columns(read: Callable[[str], str], table: str) -> None:
    lines = read(f"The posts and who keeps them.\n\n{table}\n\nThe lamps burn at night.").split(
        "\n"
    )
    assert [line for line in lines if "|" in line] == ROWS
    assert not any(sign in line for line in lines for sign in ("--", "+"))
    assert lines[0] == "The posts and who keeps them."
    assert lines[-1] == "The lamps burn at night."


def test_the_title_of_the_rows_is_no_row(read: Callable[[str], str]) -> None:
    """SAS closes only the first column below that title; a name may have several lines."""
    lines = read(TABULATE).split("\n")
    assert "PORT OF ARRIVAL" in lines
    assert lines[-2:] == [
        "Bergen | All Ships: 452 | All Ships: 1.6% | Own Only: 283 | Own Only: 1.5%",
        "Saint John's on the Hill | All Ships: 388 | All Ships: 1.4% | Own Only: 142"
        " | Own Only: 1.1%",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Harbour Guide | Page 3\n\nShips moor at the quay.",
        "a || b\nc | d\n\nNotes\n-----\nNothing was seen.",
        "Keeper - Solberg -- deputy --- none",
    ],
)
def test_dashes_and_bars_of_a_text_stay(read: Callable[[str], str], text: str) -> None:
    assert read(text).split() == text.split()


def test_dashes_before_a_page_number_are_no_columns(read: Callable[[str], str]) -> None:
    contents = [
        ("Arrival of ships", 24, 3),
        ("Lamps", 35, 14),
        ("Storms and floods", 23, 58),
    ]
    lines = [f"{title} {'- ' * count}{page}" for title, count, page in contents]
    assert read("Contents\n\n" + "\n".join(lines)).split("\n")[-3:] == [
        f"{title} | {page}" for title, _, page in contents
    ]
