"""Passages that repeat a better one. Pure."""

from collections.abc import Iterable, Sequence, Set
from functools import cached_property
from typing import Any

from core.text.words import fold

_SHINGLE = 3  # words
_REPEATED = 0.9  # share of the shorter text's shingles


def without_repeats(texts: Iterable[str], *, limit: int) -> list[int]:
    """The indices of the first `limit` texts that repeat no earlier one.

    A text repeats another if the longer one contains nine tenths of the shorter
    one's runs of three words (Broder's containment, 1997).
    """
    kept: list[int] = []
    seen: list[_Words] = []
    for index, text in enumerate(texts):
        if len(kept) == limit:
            break
        found = _Words(fold(text).split())
        if not any(found.repeats(other) for other in seen):
            kept.append(index)
            seen.append(found)
    return kept


class _Words:
    """A text's words, for telling whether it repeats another."""

    def __init__(self, found: Sequence[str]) -> None:
        self._found = found
        self._single = set(found)

    def repeats(self, other: "_Words") -> bool:
        """Compares single words first: that is cheap and rules out almost every pair."""
        return _contains(self._single, other._single) and _contains(self._runs, other._runs)

    @cached_property
    def _runs(self) -> set[tuple[str, ...]]:
        found = self._found
        starts = range(max(1, len(found) - _SHINGLE + 1))
        return {tuple(found[start : start + _SHINGLE]) for start in starts}


def _contains(one: Set[Any], other: Set[Any]) -> bool:
    return len(one & other) >= _REPEATED * min(len(one), len(other))
