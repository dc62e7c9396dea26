"""The cell of a table that a question asks for."""

import pytest

from core.answering.figures import Figure, find_figure, is_sure, say_figure
from core.answering.passages import Passage
from core.text.roots import derived_from, short_forms, shortened_in

CHEESE = """Selected results of the Alpine Dairy Company (in thousands)
Cheese sold | 2023: 4,120 | 2022: 3,980 | 2021: 3,570 | 2023: 15,904 | 2022: 15,266 | 2021: 14,012
Corporate costs | 2023: 310 | 2022: 290 | 2021: 265 | 2023: 1,240 | 2022: 1,133 | 2021: 1,078"""
SHELTERS = """Mountain huts in the fiscal year 2023
1st Quarter | Opened during the quarter: 4 | Closed during the quarter: 1
2nd Quarter | Opened during the quarter: 9 | Closed during the quarter: 2
3rd Quarter | Opened during the quarter: 6 | Closed during the quarter: 3"""
PUMPS = """Pump Flow Head Losses
P_20-4 | Flow: 12.5% | Head: 3.1% | Losses: 8.2%
P_20-5 | Flow: 14.1% | Head: 2.9% | Losses: 7.7%"""
SEEDS = """Number of siblings and reading, in percent
1 sibling | Reads daily: 41.0 | Reads weekly: 30.2
2 siblings | Reads daily: 37.5 | Reads weekly: 33.8
4 siblings | Reads daily: 22.4 | Reads weekly: 39.9"""
CLINIC = """Visits of patients to the clinic by complaint
Migraine | Suffered from: 210 | Followed treatment: 64
Gr. Haematoma | Suffered from: 98 | Followed treatment: 71"""
BOTTLES = """Average spending per guest in millions, except where indicated
Average spending of a guest (dollars) | 2023: $1,210 | 2022: $1,105
Spending of guests | 2023: $310 | 2022: $288"""
GRANTS = """A summary of share units for the three months ended March 31, 2023
Balance as of March 31, 2023 | Number of units: 4,410 | Fair value: $21.10
Units granted | Number of units: 812 | Fair value: $24.75
Units vested | Number of units: 377 | Fair value: $19.40"""
SEGMENTS = """Profit of the segments for fiscal 2023, 2022 and 2021 was as follows
Fiscal 2022
Gross profit | Seeds: $812 | Tools: $320
Fiscal 2021
Gross profit | Seeds: $702 | Tools: $290"""


def find(question: str, text: str, filename: str = "report.pdf") -> Figure | None:
    return find_figure(question, [Passage(1, filename, filename, 1, 1, "chunk-1", text, "", 1.0)])


def said(question: str, text: str) -> str | None:
    figure = find(question, text)
    return say_figure(figure) if figure and is_sure(figure, question) else None


@pytest.mark.parametrize(
    ("question", "text", "answer"),
    [
        # Of columns with the same year, the first are of the quarter, and the last of the year.
        (
            "How much cheese was sold in the full fiscal year 2022?",
            CHEESE,
            "Cheese sold, 2022: 15,266 thousand",
        ),
        (
            "How much cheese was sold in the fourth quarter of 2022?",
            CHEESE,
            "Cheese sold, 2022: 3,980 thousand",
        ),
        # "rate" is a part of "corporate", and no question for a percentage.
        ("corporate costs fourth quarter 2023", CHEESE, "Corporate costs, 2023: 310 thousand"),
        # The number of the quarter tells the row.
        (
            "How many huts opened in the third quarter of fiscal 2023?",
            SHELTERS,
            "3rd Quarter, Opened during the quarter: 6",
        ),
        # A code is enough to tell the row, and a row of percentages may answer "how much".
        ("How much head does the design of pump P_20-5 give?", PUMPS, "P_20-5, Head: 2.9%"),
        # Number words are digits in tables; a table in percent need not repeat the sign.
        (
            "What percentage of children with four siblings reads daily?",
            SEEDS,
            "4 siblings, Reads daily: 22.4",
        ),
        # "treated" and "treatment"; the row's name tells that people are counted.
        ("How many patients with migraine were treated?", CLINIC,
         "Migraine, Followed treatment: 64"),
        ("How many had a grave haematoma and were treated?", CLINIC,
         "Gr. Haematoma, Followed treatment: 71"),
        # A row's own unit replaces that of the table.
        (
            "average spending of a guest 2022",
            BOTTLES,
            "Average spending of a guest (dollars), 2022: $1,105",
        ),
        # The day of a date is no word that a row must have.
        ("units granted in the quarter ended march 31 2023", GRANTS,
         "Units granted, Number of units: 812"),
        # The nearest line above that has a year tells the year.
        ("What was the gross profit of Seeds in fiscal 2021?", SEGMENTS,
         "Gross profit, Seeds: $702"),
    ],
)  # fmt: skip
def test_a_question_is_answered_with_the_cell_that_it_names(
    question: str, text: str, answer: str
) -> None:
    assert said(question, text) == answer


@pytest.mark.parametrize(("name", "is_told"), [("lumenia", True), ("swimming", False)])
def test_a_question_in_small_letters_may_name_the_document(name: str, is_told: bool) -> None:
    text = "Lumenia Holding, April 30, 2023\nDebt of stores | Current: 4,181 | Long-term: 12"
    figure = find(f"{name} current debt of stores april 30 2023", text, "2023_Q1_LMNA.pdf")
    assert figure is not None
    assert (figure.told == 1) is is_told


@pytest.mark.parametrize(
    ("word", "vocabulary", "forms"),
    [
        ("treat", {"treatment", "treason", "threat"}, {"treatment"}),
        ("payment", {"pay", "paid", "payabl"}, {"pay"}),
        ("employ", {"employe", "employment"}, {"employe", "employment"}),
        ("grow", {"growth", "grown", "row"}, {"growth"}),
        ("in", {"iner", "inment"}, set()),
    ],
)
def test_words_with_another_ending_are_derived(
    word: str, vocabulary: set[str], forms: set[str]
) -> None:
    assert derived_from(word, vocabulary) == forms


def test_a_word_with_a_full_stop_may_be_short_for_another() -> None:
    assert shortened_in("Gr. Larceny, Misd. Assault in the U.S. market.") >= {"gr", "misd"}
    assert short_forms("grand", {"gr", "misd"}) == {"gr"}
    assert short_forms("grab", {"gra", "misd"}) == set()
