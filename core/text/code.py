"""Finds the code in a Markdown text: spans in backticks and fenced blocks.

Follows CommonMark 0.31, sections 4.5 and 6.1, with three exceptions. So that a stream is never
held back for long, a span has to close within MAX_SPAN characters, and it may not contain a
blank line or a fence. A block may open behind text on the same line ("Run: ```python"), because
models write so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_SPAN = 1000
_RUN = re.compile(r"`+|~{3,}")
_TICKS = re.compile(r"`+")
_TILDES = re.compile(r"~+\Z")
_SPAN_BREAK = re.compile(r"\n[ \t>]*(?:\n|`{3}|~{3})")
# What may come before a fence on its line: the marks of quotes and list items.
_INDENT = re.compile(r"(?:[ \t>]|[-*+] |\d{1,9}[.)] )*")
_MAX_INDENT = 80
_LATE_FENCE = re.compile(r"[ \t]*[\w+#.-]*[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text, code or prose."""

    text: str
    is_code: bool


class CodeSplitter:
    """Splits a text into code and prose while it arrives.

    The segments joined are the text, and what is code does not depend on how the text is cut
    into pieces. Backticks are held back, with at most some MAX_SPAN characters behind them,
    until it is known whether they begin code.
    """

    def __init__(self) -> None:
        self._text = ""
        self._at = 0  # the text before this index was returned in segments
        self._line = ""  # the part of the current line that was returned
        self._fence = ""  # the marks that opened the current block

    def feed(self, text: str, *, at_end: bool = False) -> list[Segment]:
        """The segments that `text` completes; with `at_end` all the rest."""
        self._text = self._text[self._at :] + text
        self._at = 0
        return list(self._split(at_end=at_end))

    def _split(self, *, at_end: bool) -> Iterator[Segment]:
        while self._at < len(self._text):
            segment = self._next_of_block() if self._fence else self._next(at_end=at_end)
            if segment is None:
                return
            yield segment

    def _next_of_block(self) -> Segment:
        """The block's next line, or as much of it as has arrived."""
        newline = self._text.find("\n", self._at)
        whole = self._line + self._text[self._at : newline if newline >= 0 else None]
        segment = self._take(newline + 1 if newline >= 0 else len(self._text), is_code=True)
        mark = whole[: _MAX_INDENT + MAX_SPAN].strip(" \t>")
        closes = len(mark) >= len(self._fence) and not mark.strip(self._fence[0])
        if newline >= 0 and closes:
            self._fence = ""
        return segment

    def _next(self, *, at_end: bool) -> Segment | None:
        run = _RUN.search(self._text, self._at)
        if run is None:
            return self._take_prose(at_end=at_end)
        if run.start() > self._at:
            return self._take(run.start())
        if run.end() == len(self._text) and not at_end:
            return None
        opening = self._end_of_opening(run, at_end=at_end)
        if opening is None:
            return None
        if opening:
            self._fence = run[0]
            return self._take(opening, is_code=True)
        return self._take(run.end()) if run[0][0] == "~" else self._span(run, at_end=at_end)

    def _take_prose(self, *, at_end: bool) -> Segment | None:
        """All of the text but tildes at its end, which may become a fence."""
        tildes = None if at_end else _TILDES.search(self._text, self._at)
        end = tildes.start() if tildes else len(self._text)
        return self._take(end) if end > self._at else None

    def _end_of_opening(self, run: re.Match[str], *, at_end: bool) -> int | None:
        """The end of the line that opens a block here; 0: no block opens; None: not known yet."""
        if len(run[0]) < 3:
            return 0
        limit = run.end() + MAX_SPAN
        newline = self._text.find("\n", run.end(), limit)
        end = newline + 1 if newline >= 0 else min(len(self._text), limit)
        info = self._text[run.end() : end]
        ticks = run[0][0] == "`"
        if ticks and "`" in info:
            return 0
        if newline < 0 and len(info) < MAX_SPAN and not at_end:
            return None
        first = len(self._line) < _MAX_INDENT and _INDENT.fullmatch(self._line)
        return end if first or (ticks and _LATE_FENCE.fullmatch(info)) else 0

    def _span(self, run: re.Match[str], *, at_end: bool) -> Segment | None:
        """The span that opens here, or its backticks alone if nothing closes it."""
        limit = run.end() + MAX_SPAN
        broken = _SPAN_BREAK.search(self._text, run.end(), limit)
        stop = broken.start() if broken else min(len(self._text), limit)
        for close in _TICKS.finditer(self._text, run.end(), stop):
            may_go_on = close.end() == len(self._text) and not at_end
            if len(close[0]) == len(run[0]) and close.end() < limit and not may_go_on:
                return self._take(close.end(), is_code=True)
        known = at_end or broken is not None or len(self._text) >= limit
        return self._take(run.end()) if known else None

    def _take(self, end: int, *, is_code: bool = False) -> Segment:
        taken = self._text[self._at : end]
        self._at = end
        _, newline, last = taken.rpartition("\n")
        self._line = (last if newline else self._line + last)[:_MAX_INDENT]
        return Segment(taken, is_code)


def split_code(text: str) -> list[Segment]:
    """The segments of a whole text, neighbours of one kind joined."""
    joined: list[Segment] = []
    for segment in CodeSplitter().feed(text, at_end=True):
        if joined and joined[-1].is_code == segment.is_code:
            segment = Segment(joined.pop().text + segment.text, segment.is_code)
        joined.append(segment)
    return joined
