"""Which words a short form abbreviates: `EMEA` of `Europe, Middle East and Africa`. Pure."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from core.text.words import FUNCTION_WORDS, fold, words

MIN_LETTERS, MAX_LETTERS = 2, 8
_MAX_WORDS = 6
_MAX_NAMES = 400  # of one text
# A name: capitalised words, with hyphens, commas and little words between them.
_NAME = re.compile(
    r"[A-Z][\w’'.]*(?:(?:[ -]|, |,? (?:and|of|the|for|&) )[A-Z][\w’'.]*){1,7}",
)

_SHORT_FORM = re.compile(r"\b[A-Z]{3,8}\b")


def abbreviates(short: str, long: Sequence[str]) -> bool:
    """Whether `short` is made of the beginnings of all of the words `long`, in order.

    Little words may be skipped. Both are folded; `amex` abbreviates `american express`.
    """
    if long and long[0][:1] != short[:1] and long[0] not in FUNCTION_WORDS:
        return False  # nearly always, and quickly told
    telling = [word for word in long if word not in FUNCTION_WORDS]
    return len(telling) > 1 and _is_made_of(short, tuple(telling))


@lru_cache(maxsize=20_000)
def _is_made_of(short: str, long: tuple[str, ...]) -> bool:
    if not long:
        return not short
    first, *rest = long
    return any(
        _is_made_of(short[taken:], tuple(rest))
        for taken in range(1, len(short) - len(rest) + 1)
        if first.startswith(short[:taken])
    )


def runs(sought: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The places, first and last (not included), of runs of two words and more."""
    for first in range(len(sought) - 1):
        for last in range(first + 2, min(len(sought), first + _MAX_WORDS) + 1):
            yield first, last


def names_in(text: str) -> list[tuple[str, ...]]:
    """The names of several words in `text`, folded, each once."""
    found = dict.fromkeys(tuple(words(fold(name))) for name in _NAME.findall(text))
    return list(found)[:_MAX_NAMES]


def spelt_out(asked: Sequence[str], text: str) -> frozenset[str]:
    """The folded words `asked` that `text` has as a short form: `AENB` for a bank's long name."""
    return frozenset(
        word
        for short in dict.fromkeys(_SHORT_FORM.findall(text))
        for first, last in runs(asked)
        if abbreviates(fold(short), asked[first:last])
        for word in asked[first:last]
    )


def is_short_form(word: str) -> bool:
    """Whether the folded `word` may be an abbreviation."""
    return word.isalpha() and MIN_LETTERS <= len(word) <= MAX_LETTERS


def stands_for(short: str, name: Sequence[str]) -> bool:
    """Whether the folded `short` abbreviates the name or several words of it in a row."""
    return any(abbreviates(short, name[first:last]) for first, last in runs(name))
