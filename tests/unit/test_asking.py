"""What kind of thing a question asks for, what terms mean, and what short forms stand for."""

import pytest

from core.answering.asking import Need
from core.answering.definitions import asked_term, find_definition
from core.answering.passages import Passage
from core.text.abbreviations import names_in, stands_for


def passage(index: int, text: str) -> Passage:
    return Passage(index, "doc", "file.pdf", 1, 1, f"chunk-{index}", text, "", 1.0)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many patents does Acme own?", "count"),
        ("total number of stores at Acme", "count"),
        ("acme headcount 2022", "count"),
        ("How much did Acme pay for Frame Ltd?", "money"),
        ("What is the annual fee of the gold card?", "money"),
        ("What percentage of revenue came from beverages?", "percent"),
        ("acme market share of tapes", "percent"),
        ("When was Acme founded?", "date"),
        ("In which year did it open?", "date"),
        ("Who audits Acme?", "other"),
    ],
)
def test_the_kind_of_answer(question: str, kind: str) -> None:
    assert Need.read(question).kind == kind


@pytest.mark.parametrize(
    ("question", "text", "met"),
    [
        ("How many people work here?", "We employed 29,239 people.", True),
        ("How many people work here?", "The people of 2022 were proud.", False),
        ("How many patents are there?", "The number of patents was 312.", True),
        ("How many patents are there?", "Its patents are many, and it has a fleet of 9.", False),
        ("How many patents are there?", "Twenty patents expire.", True),
        ("What share of it is sold?", "Nearly 40 percent of it is sold.", True),
        ("What share of it is sold?", "Much of it is sold.", False),
        ("How much did they pay for it?", "They paid $3.", True),
        ("How much did they pay for it?", "They paid for it on May 3.", False),
    ],
)
def test_whether_a_sentence_has_what_is_asked_for(question: str, text: str, met: bool) -> None:
    assert Need.read(question).is_met(text) is met


def test_what_is_counted_may_have_another_name() -> None:
    need = Need.read("How many workers does it have?")
    assert need.names_counted(frozenset({"employe"}))
    assert not need.names_counted(frozenset({"machin"}))


@pytest.mark.parametrize(
    ("question", "term"),
    [
        ("What does ASK stand for in the traffic data?", "ASK"),
        ("What is FLNA at PepsiCo?", "FLNA"),
        ("How does MGM define REVPAR?", "REVPAR"),
        ("What is the meaning of churn rate?", "churn rate"),
        ("What is revenue?", None),
        ("What was the ASK in 2021 at JAL?", None),
        ("Who runs it?", None),
    ],
)
def test_the_term_that_is_asked_for(question: str, term: str | None) -> None:
    assert asked_term(question) == term


@pytest.mark.parametrize(
    ("question", "text", "meaning"),
    [
        (
            "What does RPK mean?",
            "Key\nRPK = revenue passenger km\nASK = seats",
            "RPK = revenue passenger km",
        ),
        (
            "What is NSA at Globex?",
            "North Sea Anchors (“NSA”) sells anchors.",
            "NSA: North Sea Anchors",
        ),
        (
            "How do they define yield?",
            "Yield is profit per ton. It rose.",
            "Yield is profit per ton.",
        ),
        ("What does NSA mean?", "The NSA rose by 3.", None),
    ],
)
def test_a_definition_is_found(question: str, text: str, meaning: str | None) -> None:
    found = find_definition(question, [passage(1, "Nothing here."), passage(2, text)])
    assert (found and found.text) == meaning
    assert found is None or found.passage.index == 2


@pytest.mark.parametrize(
    ("short", "name", "fits"),
    [
        ("amex", "American Express Company", True),
        ("emea", "Europe, Middle East and Africa", True),
        ("latam", "Latin America", True),
        ("flna", "Frito-Lay North America", True),
        ("amex", "American Airlines", False),
        ("vision", "Visa International", False),
    ],
)
def test_what_a_short_form_stands_for(short: str, name: str, fits: bool) -> None:
    assert any(stands_for(short, one) for one in names_in(f"Sold by {name}.")) is fits
