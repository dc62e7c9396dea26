"""Instructions in a question are distinguished from the question."""

import pytest

from core.text.questions import without_instructions


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("Is it useful? If not, state that and explain why.", "Is it useful?"),
        ('Who said "why?" Answer in one word. Please be brief.', 'Who said "why?"'),
        ("Did it rise? If so, what drove it?", None),
        ("I have a pump. It leaks. Why?", None),
        ("Why does it leak? It is a pump of 2019.", None),
        ("What of a?b and of c", None),
        ("Summarize the risks.", None),
        ("", None),
    ],
)
def test_instructions_about_the_answer_are_not_searched_for(
    question: str, kept: str | None
) -> None:
    assert without_instructions(question) == (kept or question)


def test_text_after_the_question_is_removed() -> None:
    asked = "What was the price of oil in March 1974?"
    assert without_instructions(f"{asked} Answer in USD. If unknown, say so.") == asked
    for whole in (asked, "And then? Tell me.", "Describe the price of oil.", "x/?a=b price oil"):
        assert without_instructions(whole) == whole
    assert without_instructions(f"{asked}\nAnd in April 1974? Be brief.").endswith("April 1974?")
