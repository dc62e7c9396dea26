"""Cuts out the part of a text that shows where a query matches. Pure."""

import re

from core.text.words import index_stems, query_stems

MAX_CHARS = 240
_PIECE = re.compile(r"\S+")
_LONG_PIECE = 40  # characters; of a script without spaces, say
_STEP = 10


def snippet_of(text: str, query: str) -> str:
    """The stretch of `text` of MAX_CHARS with the most words of `query`, cut between words.

    An ellipsis marks an end that is cut. A short text is returned whole.
    """
    if len(text) <= MAX_CHARS:
        return text
    sought = set(query_stems(query))
    places = [
        (start, found)
        for start, piece in _pieces(text)
        if (found := sought & {stem for _, stem in index_stems(piece)})
    ]
    start = _best_start(places)
    start = max(0, min(start - MAX_CHARS // 3, len(text) - MAX_CHARS))
    return _cut(text, start)


def _pieces(text: str) -> list[tuple[int, str]]:
    """The words of a text with their places. Long runs without spaces give overlapping parts."""
    found = []
    for match in _PIECE.finditer(text):
        piece = match[0]
        if len(piece) <= _LONG_PIECE:
            found.append((match.start(), piece))
            continue
        for at in range(0, len(piece), _STEP):
            found.append((match.start() + at, piece[at : at + 2 * _STEP]))
    return found


def _best_start(places: list[tuple[int, set[str]]]) -> int:
    """The start of the first stretch that has the most different words."""
    best, most = 0, 0
    for index, (start, _) in enumerate(places):
        within = [found for place, found in places[index : index + 60] if place < start + MAX_CHARS]
        count = len(set[str]().union(*within))
        if count > most:
            best, most = start, count
    return best


def _cut(text: str, start: int) -> str:
    end = start + MAX_CHARS
    shown = text[start:end]
    if start > 0:
        head = shown[:_LONG_PIECE].find(" ")
        shown = "… " + shown[head + 1 :]
    if end < len(text):
        tail = shown.rfind(" ", len(shown) - _LONG_PIECE)
        shown = (shown[:tail] if tail > 0 else shown) + " …"
    return shown
