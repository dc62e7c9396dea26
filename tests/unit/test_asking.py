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
        ("What was the vacancy rate in May?", "percent"),
        ("clerk weekly pay", "money"),
        ("When was Acme founded?", "date"),
        ("In which year did it open?", "date"),
        ("What is the new quay worth?", "money"),
        ("How much did Acme give to the 401(k) plan?", "amount"),
        ("deadline for comments on the plan", "date"),
        ("How tall is the tower?", "measure"),
        ("At what speed does the ferry cruise?", "measure"),
        ("How long does the crossing take?", "measure"),
        ("At what time does the ferry leave?", "time"),
        ("council meeting start time", "time"),
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
        ("How many people need a boat?", "An estimated 274 people – most of them old.", True),
        ("How many trials are there?", "In each of the H2O trials we watch.", False),
        ("How tall is it?", "It has 42 floors.", False),
        ("How tall is it?", "It has a height of 617 ft.", True),
        ("How long does it take?", "It takes twelve weeks.", True),
        ("How long does it take?", "It takes three (3) weeks.", True),
        ("How long is the title? Give the length of it.", "It has under 80 characters.", True),
        ("How fast is it?", "It makes 40 knots.", True),
        ("How much did Acme give to the 401(k) plan?", "A 401(k) plan is voluntary.", False),
        ("How much did Acme give to the 401(k) plan?", "It gave 12 to the 401(k) plan.", True),
        ("What time does it open?", "It opens at 7:30 a.m. on weekdays.", True),
        ("What time does it open?", "It opens in 12 rooms.", False),
        ("office hours of the bank", "The bank has 15 offices.", False),
        ("How much was the monthly pay?", "They drew thirteen dollars a month.", True),
        ("What share of it is sold?", "Nearly 40 percent of it is sold.", True),
        ("What share of it is sold?", "Much of it is sold.", False),
        ("What share of it is sold?", "It was sold in the third quarter.", False),
        ("What share of it is sold?", "Three quarters of it is sold.", True),
        ("How many lamps are there?", "The 8710 lamp is one of them.", False),
        ("How many sheep died?", "It was in 2019 that 40 sheep were ill.", True),
        ("How many nurses are there?", "Because of COVID-19 nurses were few.", False),
        ("How much did they pay for it?", "They paid forty dollars.", True),
        ("How much did they pay for it?", "They paid $3.", True),
        ("How much did they pay for it?", "They paid for it on May 3.", False),
    ],
)
def test_whether_a_sentence_has_what_is_asked_for(question: str, text: str, met: bool) -> None:
    assert Need.read(question).is_met(text) is met


@pytest.mark.parametrize(
    ("question", "text", "fits"),
    [
        ("When was it built?", "It was built in 1890.", True),
        ("When was it built?", "It was built early.", False),
        ("How tall is it?", "It has forty floors: 41 metres.", True),
        ("How tall is it?", "It is tall.", False),
        ("How tall is it?", "It was built in 1890.", False),
        ("Which port range is free?", "Ports 700-799 are free.", True),
        ("Which port range is free?", "Port 700 is free.", False),
        ("Which software reads the data?", "The data are read by Rivet.", True),
        ("Which software reads Rivet files?", "The files of Rivet are read.", False),
        ("What is it?", "It is a Tower of 1890.", False),
    ],
)
def test_whether_a_sentence_has_the_form_asked_for(question: str, text: str, fits: bool) -> None:
    assert Need.read(question).fits(text) is fits


def test_one_thing_is_no_number_of_things() -> None:
    need = Need.read("How many lamps are there?")
    assert need.names_one("In 2019 the 8710 lamp was sold by 9 lamp shops.")
    assert not need.names_one("There is one lamp for each boat, 28 at present.")
    assert not need.names_one("The lamps are new.")


def test_a_measure_is_not_what_is_counted() -> None:
    assert Need.read("How many billion pounds of salt were sold?").counted == ""
    assert Need.read("How many sacks of salt were sold?").counted == "sack"


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
        ("What does the Svea Bank mean by net volumes?", "net volumes"),
        ("deadweight meaning", "deadweight"),
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
            "What does Acme mean by network volumes?",
            "Card volumes — Sums on cards.\nNetwork volumes — All sums in the network.\nMore.",
            "Network volumes — All sums in the network.",
        ),
        (
            "What does the harbour variable MOORT stand for?",
            "MOORT | Type of mooring | 4\nBERTH | Berth | 7",
            "MOORT: Type of mooring",
        ),
        (
            "How does Acme define mooring days?",
            "Mooring days (days on which a boat was moored) rose by 3%.",
            "mooring days: days on which a boat was moored",
        ),
        (
            "How are mooring days defined?",
            "Mooring days represent all days on which a boat was moored.",
            "Mooring days represent all days on which a boat was moored.",
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
        (
            "What does the bank mean by net volumes?",
            "Loans rose.\nNet volumes — Represents all volumes\nwithout loans. They rose.",
            "Net volumes — Represents all volumes without loans.",
        ),
        (
            "What is a base pay under the plan?",
            "2.1 Base Pay\n“Base Pay” means the pay of a year. 2.2 Bonus\n“Bonus” means more.",
            "“Base Pay” means the pay of a year.",
        ),
        ("What is a base pay under the plan?", "The base pay is low.", None),
        (
            "What does Acme mean by UHBs?",
            "In 2020, a third of the quays were underused harbour basins (“UHBs,” as before).",
            "UHBs: underused harbour basins",
        ),
        (
            "What does Acme mean by BLBs?",
            "A third of the quays were undersized boats (“BLBs”) of wood.",
            None,
        ),
        (
            "What does Note 5 cover in the 10-K?",
            "as in Note 5.\nNote 4 - Taxes | Page: 72\nNote 5 - Accounts Receivable | Page: 75",
            "Note 5: Accounts Receivable",
        ),
        ("10-K note 17 topic", "NOTE 1. Costs\nNOTE 17. Leases\nWe lease.", "Note 17: Leases"),
        ("What is section 4.2 about?", "4.2\nSection 4.2 Fees ..... 45", "Section 4.2: Fees"),
        ("What is in item 7?", "Item 7A. Risks\nItem 70. Dogs", None),
        ("What does Note 5 say the fee is?", "Note 5 - Accounts Receivable", None),
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
