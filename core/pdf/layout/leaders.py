"""Leaves out the dots or dashes that lead the eye from an entry to its page number."""

import re
from collections.abc import Sequence

from core.pdf.layout.words import Piece

DASHES = frozenset("-–—")
_DOTS = ".·…_‥"
_LEADER = re.compile(f"[{_DOTS}]+")
_MIN_DOTS = 4
_MIN_DASHES = 5  # a row with fewer may have as many empty values
_DASH_GAP = 2.0  # of a row's height, from dash to dash; empty values are further apart


def without_leaders(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces of a row without dots and dashes between an entry and its page number."""
    dots = [one for one in pieces if one.text[0] in _DOTS and _LEADER.fullmatch(one.text)]
    if sum([len(piece.text) for piece in dots]) >= _MIN_DOTS:
        return [piece for piece in pieces if not _LEADER.fullmatch(piece.text)]
    dashes = [place for place, one in enumerate(pieces) if one.text in DASHES]
    if len(dashes) < _MIN_DASHES or not _are_leaders(pieces, dashes):
        return list(pieces)
    return [*pieces[: dashes[0]], *pieces[dashes[-1] + 1 :]]


def _are_leaders(pieces: Sequence[Piece], dashes: Sequence[int]) -> bool:
    """Whether the dashes follow each other closely, with something before and behind them."""
    first, last = dashes[0], dashes[-1]
    width = pieces[last].right - pieces[first].left
    return (
        first > 0
        and last < len(pieces) - 1
        and last - first < len(dashes)
        and width < _DASH_GAP * pieces[first].height * len(dashes)
    )
