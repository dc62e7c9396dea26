"""All ways to write a word with one edit."""

import pytest

from core.search.spelling import spellings


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("headquaters", "headquarters"),
        ("expres", "express"),
        ("reveenue", "revenue"),
        ("revenie", "revenue"),
        ("reveune", "revenue"),
        ("аудитр", "аудитор"),
        ("ανφορα", "αναφορα"),
    ],
)
def test_one_letter_more_less_other_or_swapped(typed: str, meant: str) -> None:
    assert meant in spellings(typed)


def test_each_spelling_comes_once_and_the_word_itself_never() -> None:
    found = spellings("letter")
    assert len(found) == len(set(found))
    assert "letter" not in found


@pytest.mark.parametrize("word", ["4187", "東京", "b12", ""])
def test_codes_and_other_scripts_have_none(word: str) -> None:
    assert spellings(word) == []


def test_a_word_loses_its_last_letter_only_if_that_is_doubled() -> None:
    assert "simplif" not in spellings("simplify")
    assert "harbor" in spellings("harborr")
