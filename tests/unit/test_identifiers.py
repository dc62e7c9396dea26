"""Numbers by their label, fiscal years, and a row's cells in order."""

import pytest

from core.answering.fiscal import FiscalYear, asks_for_fiscal_year
from core.answering.identifiers import find_identifier
from core.answering.passages import Passage
from core.answering.table_row import with_asked_cells_first
from core.text.words import content_stems


def passage(text: str, index: int = 1) -> Passage:
    return Passage(index, "d", "file.pdf", 1, 1, f"chunk-{index}", text, "", 1.0)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is the permit number of the quarry?", "Permit No. 77-120B"),
        ("phone number of the harbour office", "Phone: (031) 555-0199"),
        ("What is the case number of the appeal to the Svea court?", "Case No. 9:18-cv-0042"),
        ("What is the ISBN of the printed guide?", "ISBN 978-1-4-000001-2"),
        ("How many cases were filed?", None),
        ("What is the invoice number?", None),
    ],
)
def test_a_number_is_found_by_its_label(question: str, said: str | None) -> None:
    text = (
        "The quarry (Permit No. 77-120B) is closed. A suit is in Lund (Case No. 8:17-cv-0001).\n"
        + "Then nothing happened for a long time. " * 8
        + "An appeal to the Svea court"
        " (Case No. 9:18-cv-0042) is pending.\nHarbour office. Phone: (031) 555-0199"
        "\nISBN 978-1-4-000002-9 (on screen)\nISBN 978-1-4-000001-2 (printed guide)"
    )
    found = find_identifier(question, [passage(text)])
    assert (found and found.text) == said


@pytest.mark.parametrize(
    ("text", "column", "years"),
    [
        ("Fiscal 2018 ended February 2, 2019.", "Year Ended February 2, 2019", {"2018"}),
        ("Fiscal year 2018 ended January 28, 2018.", "Quarter Ended October 29, 2017", {"2018"}),
        ("The 52 weeks ended January 30, 2021 |", "Weeks Ended January 30, 2021", {"2020"}),
        ("the first half of fiscal 2020: July 28, 2019", "July 28, 2019", {"2020"}),
    ],
)
def test_the_fiscal_year_of_a_date(text: str, column: str, years: set[str]) -> None:
    fiscal = FiscalYear.read([text])
    assert fiscal is not None
    assert fiscal.years_of(column) == years


def test_a_document_without_fiscal_years_names_none() -> None:
    assert FiscalYear.read(["Sales of 2021", "as of December 31, 2021"]) is None
    assert asks_for_fiscal_year("sales in fiscal 2021")
    assert not asks_for_fiscal_year("sales of the fiscal year that ended January 29, 2022")
    assert not asks_for_fiscal_year("sales in 2021")


def test_the_cells_asked_for_come_first_in_a_row() -> None:
    title = "Report on all of the goods that were sold"
    row = f"Tea | {title} 2019 Weight: 7 | {title} 2019 Price: 12 | {title} 2020 Price: 14"
    asked = content_stems("price of tea in 2020")
    assert with_asked_cells_first(row, asked) == (
        "Tea | 2020 Price: 14 | 2019 Price: 12 | 2019 Weight: 7"
    )
    assert with_asked_cells_first("Tea costs 14 in 2020.", asked) == "Tea costs 14 in 2020."
