"""Words that are made from one another, by their stems: `treat` and `treatment`. Pure.

The English stemmer keeps the endings of short words (snowballstem.org, the region R2).
"""

import re
from collections.abc import Collection

from core.text.words import fold, stem

MIN_ROOT = 3  # letters
MIN_SHORTENED = 2  # letters that a short form leaves out
# Stems of `payment`, `settlement`, `miner`, `investor`, `growth`, `employee`, `failure`,
# `delivery`, `storage`.
_ENDINGS = frozenset(("ment", "ement", "er", "or", "th", "e", "ur", "i", "ag"))
_SHORTENED = re.compile(r"\b[^\W\d_]{2,6}(?=\.(?! ?[A-Z]\.))")


def is_derived(one: str, other: str) -> bool:
    """Whether one of two stems is the other with an ending that makes another word of it."""
    short, long = sorted((one, other), key=len)
    return len(short) >= MIN_ROOT and long.startswith(short) and long[len(short) :] in _ENDINGS


def derived_from(word: str, vocabulary: Collection[str]) -> frozenset[str]:
    """The stems in `vocabulary` that are derived from the stem `word`, or it from them."""
    return frozenset(one for one in vocabulary if is_derived(word, one))


def shortened_in(text: str) -> frozenset[str]:
    """The words, folded, that `text` writes in short with a full stop: `gr` of `Gr. Larceny`."""
    return frozenset(fold(found) for found in _SHORTENED.findall(text))


def is_short_for(short: str, word: str) -> bool:
    """Whether the folded `short` is the beginning of `word`, and much shorter."""
    return word.startswith(short) and len(word) >= len(short) + MIN_SHORTENED


def short_forms(word: str, shortened: Collection[str]) -> frozenset[str]:
    """The stems of those of `shortened` that are short for `word`."""
    return frozenset(stem(one) for one in shortened if is_short_for(one, word))
