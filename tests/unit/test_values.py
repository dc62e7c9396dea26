"""Which value of a sentence or row a question asks for."""

import pytest

from core.answering.asking import Need
from core.answering.values import find_lead


def lead(question: str, text: str) -> str | None:
    return find_lead(Need.read(question), text)


@pytest.mark.parametrize(
    ("question", "text", "said"),
    [
        (
            "How much rent did Acme pay in 2021?",
            "Rent was $31 million, $28 million and $19 million in 2022, 2021 and 2020,"
            " respectively.",
            "2021: $28 million",
        ),
        (
            "How many people did it employ in 2020?",
            "At the end of 2021 and 2020, it employed 1,200 and 950, respectively.",
            "2020: 950",
        ),
        (
            "What share of the boats was red on June 25, 2022?",
            "Of the boats 36% and 42% were red as of June 25, 2022 and May 2, 2022, respectively.",
            "June 25, 2022: 36%",
        ),
        (
            "How large is the largest dose per goat?",
            "No more than 3ml is given per animal for cows, 1ml for goats, and 2ml for sheep.",
            "1ml for goats",
        ),
        (
            "ferry number of seats free",
            "The ferry got 85 more chairs, bringing the number of seats that are free to 140.",
            "the number of seats that are free to 140",
        ),
        (
            "How large was the fine after tax?",
            "Acme paid a fine before tax of $12 million ($9 million after tax).",
            "$9 million after tax",
        ),
        (
            "What were the costs of the quay in 2021?",
            "The quay had costs of $12 million and $8 million in the years 2022 and 2021.",
            "2021: $8 million",
        ),
        (
            "What delay has a bug that stops a pump?",
            "The delays are: • Bugs that stop the ferry: 0 days • Bugs that stop a pump: 5 days"
            " • Others: 10 days",
            "Bugs that stop a pump: 5 days",
        ),
        (
            "By how much did it raise its provision for the repair of old wooden quays?",
            "It paid $4 million, and raised its provision for the complete repair of its old"
            " wooden quays by $6 million.",
            "… for the complete repair of its old wooden quays by $6 million",
        ),
        (
            "How large was the tax charge for the smaller quays of Visby?",
            "It has a tax charge of $5 million for boats and a tax charge of $9 million resulting"
            " from a loss of the smaller quays of Visby.",
            "$9 million resulting from a loss of the smaller quays of Visby",
        ),
        (
            "How much feed do goats need?",
            "Give 40kg for cows, 6kg for goats and 4kg for sheep.",
            "6kg for goats",
        ),
        (
            "What does a week in the hut cost in June?",
            "A week in the hut costs €90 in April and €120 in June.",
            "€120 in June",
        ),
        (
            "How many lamps in total does the harbour have?",
            "The harbour has 12 lamps on each pier and 24 lamps in total.",
            "24 lamps in total",
        ),
        (
            "island median rent",
            "On the island the average rent was $61, while the median rent on the island was $54.",
            "the median rent on the island was $54",
        ),
        (
            "To what amount did Acme raise its fee?",
            "Acme raised its fee from $3 to $4 a month.",
            "$4",
        ),
        (
            "What percentage of visitors came by boat in 2019?",
            "Of the visitors 41% came by car and 9% came by boat.",
            "9% came by boat",
        ),
        (
            "valve error 3 meaning",
            "Codes: 0 for success, 1 for a missing valve, 3 for a stuck valve (rare), 4 for smoke.",
            "3 for a stuck valve",
        ),
        (
            "What are the lighthouse works worth?",
            "The contract for the renewal of the tower, the lantern and the keeper's house, which"
            " the council signed in spring, is worth $4.3 million.",
            "$4.3 million",
        ),
        (
            "How long may an owner object to the sale of a boat?",
            "The owner, any former owner and any member of the club in whose harbour the boat is"
            " laid up may object to its sale in writing within 21 days after the notice.",
            "21 days",
        ),
        (
            "theft reports 2016",
            "Theft | 2017 Reports: 20 | 2016 Reports: 29 | Change: -31.0",
            "Theft, 2016 Reports: 29",
        ),
    ],
)
def test_the_value_asked_for_is_told_from_the_others(question: str, text: str, said: str) -> None:
    assert lead(question, text) == said


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("cost in summer and winter", "It costs €9 in summer and €7 in winter."),
        # The first value, or the only one, is near the beginning anyway.
        ("How many lamps are red?", "The pier has 12 red lamps and 24 white lamps."),
        ("How tall is the tower?", "The tower is 41 metres tall."),
        # Nothing tells which value is meant.
        ("How much did Acme earn?", "Acme earned $3 in spring and $4 in autumn."),
        # A row may be of amounts of money, as its caption tells.
        ("How many airplanes were there in 2021?", "Airplanes | 2022: 480 | 2021: 340"),
        # Which year is not asked.
        ("How much was rent?", "Rent was $3 and $4 in 2021 and 2020, respectively."),
        # A quarter belongs to the whole sentence.
        (
            "How much stock did Acme buy back in the third quarter?",
            "Acme repurchased $21 million and paid dividends of $3 million in the third quarter.",
        ),
        ("Who built the tower?", "Ingrid Solberg built the tower in 1871 and Tomas Eide in 1902."),
    ],
)
def test_a_sentence_that_needs_no_help_stays_alone(question: str, text: str) -> None:
    assert lead(question, text) is None


def test_the_earlier_value_of_a_change_can_be_asked_for() -> None:
    text = "Acme raised its fee from $3 to $4 a month."
    assert lead("From which amount did Acme raise its fee?", text) is None
