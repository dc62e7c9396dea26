"""How much of an answer its passages support: figures, dates and names, looked up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.answering.passages import Passage
from core.answering.support import measure_support

REPORT = (
    "Net sales | 2022: $34,229 | 2021: $35,355\n"
    "The last keeper, Elsa Holm, left on July 26, 2022. Costs rose by 12.5 % to £2,600."
)
OTHER = "Research cost 1,878 in 2020. Bob Stone of NASA led it. Umsatz: 1.234.567 und 3,5."


def passage(index: int, text: str, filename: str = "ACME_2022.pdf") -> Passage:
    return Passage(index, "doc", filename, 1, 1, f"chunk-{index}", text, "", 1.0)


PASSAGES = [passage(1, REPORT), passage(2, OTHER)]


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("Net sales, 2022: $34,229 million [1]", 1.0),
        ("Net sales were $34.2 billion in 2022 [1].", 1.0),
        ("Net sales were $34.9 billion in 2022 [1].", 0.5),
        ("Elsa Holm left on 26 July 2022 [1].", 1.0),
        ("Elsa Holm left on July 27, 2022 [1].", 0.5),
        ("Karl Holm was the keeper [1].", 0.0),
        ("Costs rose by 12.5% [1].", 1.0),
        ("Costs rose by 12.6% [1].", 0.0),
        ("Costs rose to 2600 [1].", 1.0),
        ("Der Umsatz war 1.234.567 [2].", 1.0),
        ("It cost 3.5 [2].", 1.0),
        ("Research cost 1,878 in 2020 [1].", 0.0),  # it is in the other passage
        ("Research cost 1,878 in 2020 [1][2].", 1.0),
        ("Research cost 1,878. Bob Stone led it [2].", 1.0),
        ("Acme sold more than NASA, in 2022 [1].", 0.5),  # its name is that of the file
        ("I could not find anything about 2022.", None),
        ("The costs rose [1].", None),
        ("", None),
    ],
)
def test_the_share_of_claims_that_the_cited_passages_hold(answer: str, share: float | None) -> None:
    assert measure_support(answer, PASSAGES).share == share


def test_a_name_that_the_question_has_is_no_claim_of_the_answer() -> None:
    answer = "At Globex the costs rose to £2,600 [1]."
    assert measure_support(answer, PASSAGES).share == 0.5
    assert measure_support(answer, PASSAGES, question="What did it cost at Globex?").share == 1.0


def test_a_statement_without_support_is_named_with_its_claims() -> None:
    found = measure_support("Net sales were 34,229 [1]. Costs were 99 and 12.5% [1].", PASSAGES)
    listed = found.as_dict()
    assert listed["share"] == pytest.approx(2 / 3)
    assert [one["supported"] for one in listed["statements"]] == [True, False]
    assert listed["statements"][1]["passages"] == [1]
    assert [(one["text"], one["supported"]) for one in listed["statements"][1]["claims"]] == [
        ("99", False),
        ("12.5%", True),
    ]


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_can_be_checked(answer: str, text: str) -> None:
    share = measure_support(f"{answer} [1]", [passage(1, text)]).share
    assert share is None or 0 <= share <= 1


@pytest.mark.parametrize("digits", ["9" * 400, "1" * 14 + " billion", "0.00000000001 million"])
def test_huge_and_tiny_figures_are_checked(digits: str) -> None:
    found = measure_support(f"It was {digits} [1].", [passage(1, f"{digits} 5")])
    assert found.share in (1.0, None)
