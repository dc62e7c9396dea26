"""What an answer with a value cannot do without: its measure, its place, the model's number."""

import pytest

from core.answering.asking import Need
from core.answering.essentials import lacks_essential, lacks_subject
from core.answering.passages import Passage


def passage(text: str, index: int = 1, filename: str = "report.pdf") -> Passage:
    return Passage(index, filename, filename, 1, 1, f"chunk-{index}", text, "", 1.0)


@pytest.mark.parametrize(
    ("question", "said", "lacks"),
    [
        ("What is the average salary at the harbour?", "Salaries are paid on the 25th.", True),
        ("What is the average salary at the harbour?", "The mean pay is 31,000 euros.", False),
        ("What is the population of the island?", "It has 900 inhabitants.", False),
        ("What is the price of a week in the hut?", "A week in the hut is €90.", False),
        ("What is the price of the hut?", "The hut has a debt of $12,000 million.", True),
        ("ferry seat capacity", "The ferry was built in 2013 and has seats of wood.", True),
        ("What was the churn rate of the club?", "Its income grew by 14% in the year.", True),
        ("How much did Acme pay for the quay?", "Acme bought the quay for $3 million.", False),
        ("How many people drown in the lake?", "About 12,000 people live by the lake.", True),
        ("How many people drown in the lake?", "In 2019, 12 people drowned there.", False),
        ("How many people work for Acme in Sweden?", "Acme employs 900 people.", True),
        ("How many people work for Acme in Sweden?", "Of them, 90 work in Sweden.", False),
        ("How much revenue did the shop at the Aurora make?", "Revenue was $3 million.", True),
        ("How many K95 masks did they make?", "They sold 40 masks of the kind 3810.", True),
        ("How much do staff pay into the 401K?", "They pay 9% into the 401(k) plan.", False),
        ("How many masks did they make in FY2022?", "They made 40 masks in 2022.", False),
        ("How many employees are in the 10K?", "They have 40 employees.", False),
        ("What is Acme's market share in ropes?", "Sales of ropes rose by 14%.", True),
        ("What is Acme's market share in ropes?", "Acme has a 14% share of that market.", False),
        ("What were the worldwide sales of Viking ropes?", "Viking is a trademark.", True),
        ("What were the worldwide sales of Viking ropes?", "Viking sold 900 ropes.", False),
        ("Why do people drown in the lake?", "Its water is cold.", False),
    ],
)
def test_what_an_answer_with_a_value_lacks(question: str, said: str, lacks: bool) -> None:
    source = passage(f"Acme. {said}")
    other = passage("Acme was founded in 1912.", 2)
    assert lacks_essential(Need.read(question), said, source, [source, other]) is lacks


def test_a_document_about_a_place_need_not_name_it_in_each_sentence() -> None:
    question, said = "How many people live in Visby?", "About 24,000 people live and work there."
    need = Need.read(question)
    named = passage(said, filename="Visby.pdf")
    assert not lacks_essential(need, said, named, [named])
    everywhere = [passage(f"Visby. {said}"), passage("Visby has a wall.", 2)]
    assert not lacks_essential(need, said, everywhere[0], everywhere)
    about = [passage(said), passage("Visby Ltd has a wall.", 2), passage("Visby Ltd ends.", 3)]
    assert not lacks_essential(Need.read("How many people work at Visby?"), said, about[0], about)
    elsewhere = [passage(said), passage("Visby has a wall.", 2)]
    assert lacks_essential(need, said, elsewhere[0], elsewhere)


@pytest.mark.parametrize(
    ("question", "lacks"),
    [
        ("What were the revenues of the Aurora in 2022?", True),
        ("What were the total revenues in 2022?", False),
        ("What were the revenues of Acme in 2022?", False),
        ("sail photos revenue 2022", True),
        ("acme revenue 2022", False),
    ],
)
def test_a_total_is_of_what_the_question_names(question: str, lacks: bool) -> None:
    source = passage("Total revenues | 2022: 12", filename="Acme_2022.pdf")
    assert lacks_subject(question, "Total revenues 2022", source, source.text) is lacks
