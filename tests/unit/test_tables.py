"""Cells of tables: their rows, columns and units, from a page's text."""

import pytest

from core.answering.tables import Cell, read_cells

BY_QUARTER = """(in thousands)
Three Months Ended Twelve Months Ended
December 31, December 31, December 31, December 31,
2022 2021 2022 2021
Revenues
Casino $ 1,548,762 $ 1,527,818 $ 5,734,173 $ 5,362,912
Rooms 897,943 — 3,057,145 1,690,037
Income (loss) per share (0.12) 0.31 1.20 2.05"""
WITH_CHANGES = """The following table shows net sales by category (dollars in millions):
Three Months Ended Nine Months Ended
July 1, June 25, July 1, June 25,
2023 2022 Change 2023 2022 Change
Mac 6,840 7,382 (7)% 21,743 28,669 (24)%"""
PERCENT_APART = """Key hotel statistics:

%

Three Months Ended December 31, 2022 2021

Change

Occupancy 91 % 86 %
Rooms revenue (In millions) $ 813 $ 557 46 %"""
WORDS = """Intl Pax Traffic

Pax y.o.y(%) L/F(%)
FY2013 7,723,293 102.6 76.5
Aug-2015 721,817 99.7 82.5"""


def cell(text: str, row: str, value: str) -> Cell:
    return next(one for one in read_cells(text) if (one.row, one.value) == (row, value))


@pytest.mark.parametrize(
    ("text", "row", "value", "column", "unit"),
    [
        (BY_QUARTER, "Casino", "$1,527,818", "Three Months Ended December 31 2021", "thousand"),
        (BY_QUARTER, "Rooms", "3,057,145", "Twelve Months Ended December 31 2022", "thousand"),
        (BY_QUARTER, "Income (loss) per share", "1.20", "Twelve Months Ended December 31 2022", ""),
        (WITH_CHANGES, "Mac", "7,382", "Three Months Ended June 25 2022", "million"),
        (WITH_CHANGES, "Mac", "28,669", "Nine Months Ended June 25 2022", "million"),
        (WITH_CHANGES, "Mac", "(24)%", "Nine Months Ended Change", ""),
        (WORDS, "Aug-2015", "82.5", "L/F(%)", ""),
    ],
)
def test_a_value_has_its_row_columns_and_unit(
    text: str, row: str, value: str, column: str, unit: str
) -> None:
    found = cell(text, row, value)
    assert (found.column, found.unit) == (column, unit)


def test_columns_are_known_if_a_header_s_line_is_broken() -> None:
    assert "2021" in cell(PERCENT_APART, "Occupancy", "86%").column
    assert cell(PERCENT_APART, "Rooms revenue (In millions)", "$557").unit == "million"


def test_a_heading_between_rows_is_their_section_and_keeps_the_columns() -> None:
    found = cell(BY_QUARTER.replace("Rooms", "Expenses\nRooms"), "Rooms", "897,943")
    assert found.section == "Expenses"
    assert found.column == "Three Months Ended December 31 2022"


@pytest.mark.parametrize("text", ["", "No table.", "In 2021 it rose.\nIt fell.", "—", "2022 2021"])
def test_prose_has_no_cells(text: str) -> None:
    assert read_cells(text) == []


@pytest.mark.parametrize(
    ("caption", "unit"),
    [
        ("Revenue (in millions of euros)", "million"),
        ("Revenue in € thousand", "thousand"),
        ("Revenue, EUR million", "million"),
        ("Millions of dollars", "million"),
        ("The million euro question", ""),
        ("Revenue in euros", ""),
    ],
)
def test_the_unit_of_a_caption(caption: str, unit: str) -> None:
    [cell] = read_cells("Rent | 2022: 12", caption=caption)
    assert cell.unit == unit


def test_the_caption_of_a_table_that_began_before_names_the_unit_until_another_begins() -> None:
    text = "Rent | 2022: 12\nRepairs | 2022: 7\n\nYears ended 2022\nStaff | 2022: 31"
    cells = read_cells(text, caption="Costs: Expenses (in thousands)")
    assert [(cell.row, cell.unit) for cell in cells] == [
        ("Rent", "thousand"),
        ("Repairs", "thousand"),
        ("Staff", ""),
    ]
    assert cells[0].heading[0] == "Costs: Expenses (in thousands)"


def test_a_long_text_is_read_in_linear_time() -> None:
    assert read_cells("1 " * 100_000) == []
    assert len(read_cells("Row 1 2 3\n" * 2_000)) == 6_000


LABELLED = """Consolidated income, all amounts (in millions, except per share data)
Years ended December 31
Net sales | 2022: $34,229 | 2021: $35,355
Operating expenses
Operating expenses: Cost of sales | 2022: 19,232 | 2021: 18,795
Operating expenses: Margin | 2022: 12% | 2021: —
Earnings per share | 2022: $10.21 | 2021: $10.23"""
GROUPS = "FLNA | 2022: $23 | Net Revenue 2021: $19 | Operating Profit 2022: $6 | 2021: $5"
TITLED = (
    "Casino | SUPPLEMENTAL DATA - NET REVENUES AND EBITDAR: Three months ended 2022: 17 | 2021: 9"
)
HEADER_AS_ROW = "(dollars in millions) | 2022 | 2021\nCreative Cloud | $10,459 | $9,546"


@pytest.mark.parametrize(
    ("text", "row", "value", "column", "section", "unit"),
    [
        (LABELLED, "Net sales", "$35,355", "2021", "", "million"),
        (LABELLED, "Cost of sales", "19,232", "2022", "Operating expenses", "million"),
        (LABELLED, "Margin", "12%", "2022", "Operating expenses", ""),
        (LABELLED, "Earnings per share", "$10.21", "2022", "", ""),
        (GROUPS, "FLNA", "$23", "Net Revenue 2022", "", ""),
        (GROUPS, "FLNA", "$5", "Operating Profit 2021", "", ""),
        (TITLED, "Casino", "17", "Three months ended 2022", "", ""),
        (HEADER_AS_ROW, "Creative Cloud", "$9,546", "2021", "", "million"),
    ],
)
def test_a_row_with_its_columns_named_is_read(
    text: str, row: str, value: str, column: str, section: str, unit: str
) -> None:
    found = cell(text, row, value)
    assert (found.column, found.section, found.unit) == (column, section, unit)


def test_a_total_without_a_label_belongs_to_its_section() -> None:
    found = cell("Revenues: Casino | 2022: 15\n2022: 35 | 2021: 30", "", "35")
    assert (found.section, found.column) == ("Revenues", "2022")


def test_a_running_title_below_a_paragraph_is_no_row_of_its_years() -> None:
    text = "In 1981 the network\nbegan a channel for the arts.\n\nBroadcasting Company 2"
    assert [cell.columns for cell in read_cells(text)] == [()]


def test_the_first_cell_tells_which_row_it_is_if_there_is_no_label() -> None:
    rows = "Level: 3 | Memory: 40k | Size: 860\nLevel: 4 | Memory: 50k | Size: 840"
    assert cell(rows, "Level 4", "840").columns == ("Size",)
    by_year = read_cells("Sales 2022: 7 | Sales 2021: 6")
    assert [one.row for one in by_year] == ["", ""]


def test_a_title_that_all_columns_begin_with_is_no_part_of_their_names() -> None:
    title = "Accidents by the place where they happened"
    row = f"Bicycles | {title} 1999: 12 | {title} 2004: 9"
    assert [one.columns for one in read_cells(row)] == [("1999",), ("2004",)]


def test_a_value_may_have_a_note_in_brackets() -> None:
    assert cell("Herring | Catch: 93 (n=5 boats)", "Herring", "93 (n=5 boats)").column == "Catch"


def test_years_and_words_name_the_columns() -> None:
    text = "(Millions) 2023 2024 2025 After 3 years Total\nNotes due $ 5 $ 6 $ 2 $ — $ 13"
    assert [(cell.column, cell.value) for cell in read_cells(text)] == [
        ("2023", "$5"),
        ("2024", "$6"),
        ("2025", "$2"),
        ("Total", "$13"),
    ]
