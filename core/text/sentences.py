"""Where sentences, headings and rows begin and end in a page's text. Pure functions, linear time.

They work on the cleaned text of a page, which keeps the page's lines. They are rules
and no model: every worker has to cut a page the same way, in well under a
millisecond.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.text.table_rows import CELL_END

_CLOSERS = "\"'”’»)\\]」』）】》"
# A full stop needs white space behind it, except in Chinese and Japanese.
# Footnote numbers may follow the stop: "… in 1903.[12] It …". The look-behind keeps the
# search from starting anew at each stop of a long run.
_NOTES = r"(?:\[\d{1,3}\])*+"
_TERMINATOR = re.compile(
    rf"(?<![.!?…؟۔।])[.!?…؟۔।]++[{_CLOSERS}]*+{_NOTES}(?=\s)|[。！？｡]++[{_CLOSERS}]*+"
)
_TERMINATED = re.compile(rf"[.!?…؟۔।。！？｡:][{_CLOSERS}]*{_NOTES}$")
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"“‘])([^\s(\[\"“‘]{1,12})\.$")
_ABBREVIATIONS = re.compile(
    r"mr|mrs|ms|dr|prof|sr|jr|st|gen|col|lt|sgt|capt|rev|hon|gov|sen|rep|pres|messrs|mt|ft|vs|etc"
    r"|cf|al|approx|ca|est|inc|corp|co|ltd|llc|plc|bros|dept|univ|assn|no|nos|vols?|pp?|pg|ch|sec"
    r"|figs?|eqs?|refs?|arts?|para|eds?|cit|viz|resp|incl|excl|jan|feb|mar|apr|jun|jul|aug|sept?"
    r"|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun|ph\.d|bzw|usw|evtl|nr|str|bspw|env"
    r"|(?:[^\W\d_]\.)*[^\W\d_]",  # initials, and e.g, i.e, u.s, z.b
    re.IGNORECASE,
)
_LIST_MARKER = re.compile(
    r"(?:[•▪◦‣⁃●○■□➢✓☐☒*–—-] |\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.)] |[①-⑳])"
)
_NUMBERED_HEADING = re.compile(
    r"(?:(?:chapter|part|section|item|article|appendix|annex|note|table|figure)\s+"
    r"[\dIVXA-Z][\w.\-–—:]{0,6}\b|\d{1,2}(?:\.\d{1,2}){0,4}\.? +[^\W\d_]|§ ?\d)",
    re.IGNORECASE,
)
_NO_CASE = re.compile(
    "[\u0590-\u08ff\u0900-\u0dff\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
_JOINING_END = re.compile(
    r"(?:[,;&/–—-]|\b(?:the|a|an|of|and|or|to|in|on|at|for|by|with|from|as|is|are|was|were|that"
    r"|which|our|its|their|this|these|de|la|le|les|des|du|und|der|die|das|von|mit|y|el|los|et))$",
    re.IGNORECASE,
)
_HEADING_MAX_CHARS = 90
_HEADING_MAX_WORDS = 12
_SHORT_LINE = 0.65  # of the width of a full line
_FULL_LINE = 0.8
# How much of the next page may complete a sentence.
_MAX_HEAD_CHARS = 600


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, heading, list entry or row: `text[start:end]`, no white space at its ends."""

    start: int
    end: int
    heading: bool = False


def split_sentences(text: str) -> list[Segment]:
    """The segments of a page in order. Together they cover all but white space."""
    return list(_segments(text))


def is_list_item(text: str) -> bool:
    """Whether a segment begins with the mark of a list's item: `•`, `1.`, `(a)`."""
    return _LIST_MARKER.match(text) is not None


def continues(
    text: str, segments: Sequence[Segment], following: str, following_segments: Sequence[Segment]
) -> bool:
    """Whether the last sentence of a page continues in the first segment of the following page.

    The result depends on the two texts alone (the segments are theirs), so all workers
    that read both pages agree. A first segment that does not end on its own page
    completes no sentence.
    """
    if not segments or not following_segments:
        return False
    if segments[-1].heading or following_segments[0].heading:
        return False
    last = text[segments[-1].start : segments[-1].end]
    head = following[following_segments[0].start : following_segments[0].end]
    if _TERMINATED.search(last) or _LIST_MARKER.match(head) or len(head) > _MAX_HEAD_CHARS:
        return False
    if len(following_segments) == 1 and not _TERMINATED.search(head):
        return False
    return _runs_on(text, last, head)


def _runs_on(text: str, last: str, head: str) -> bool:
    if head[0].islower() or _JOINING_END.search(last):
        return any(char.isalpha() for char in last)
    # In a script without capitals, a full line without a full stop continues.
    lines = text.split("\n")
    full = len(lines[-1]) >= _FULL_LINE * _line_width(lines)
    return full and bool(_NO_CASE.match(head)) and bool(_NO_CASE.match(last[-1]))


def _segments(text: str) -> Iterator[Segment]:
    for start, end, heading in _blocks(text):
        if heading or CELL_END in text[start:end]:
            yield Segment(start, end, heading)
            continue
        for first, last in _sentences(text, start, end):
            yield Segment(first, last)


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Runs of lines that belong together: paragraphs, list entries, rows, headings."""
    lines = text.split("\n")
    width = _line_width(lines)
    headings = [_is_heading(lines, index, width) for index in range(len(lines))]
    position = start = 0
    for index, line in enumerate(lines):
        end = position + len(line)
        if _ends_block(lines, headings, index, width):
            if span := _trim(text, start, end):
                yield *span, headings[index]
            start = end + 1
        position = end + 1


def _ends_block(lines: Sequence[str], headings: Sequence[bool], index: int, width: float) -> bool:
    if index + 1 == len(lines):
        return True
    line, following = lines[index].strip(), lines[index + 1].strip()
    if not line or not following or headings[index] or headings[index + 1]:
        return True
    if _LIST_MARKER.match(following) or CELL_END in line or CELL_END in following:
        return True
    # A line that stops early ended on purpose: it is a row, or the last line of a paragraph.
    stops_early = len(line) < _SHORT_LINE * width and not _JOINING_END.search(line[-12:])
    return stops_early and not following[0].islower()


def _line_width(lines: Sequence[str]) -> float:
    """The length of a full line: the 90th percentile of the lines that are not blank."""
    lengths = sorted(len(line) for line in lines if line)
    return lengths[int(0.9 * (len(lengths) - 1))] if lengths else 0


def _is_heading(lines: Sequence[str], index: int, width: float) -> bool:
    line = lines[index].strip()
    if not line or len(line) > _HEADING_MAX_CHARS or index + 1 >= len(lines):
        return False
    words = line.split()
    if CELL_END in line or len(words) > _HEADING_MAX_WORDS or _looks_like_row(line, words):
        return False
    if re.match(r"[•▪◦‣●○■□☐☒$(]", line) or re.search(r"[.,;!?]$", line) or line[0].islower():
        return False
    return _is_set_apart(lines, index, width) and (
        bool(_NUMBERED_HEADING.match(line)) or line.isupper() or _is_titled(words)
    )


def _looks_like_row(line: str, words: Sequence[str]) -> bool:
    digits = sum(char.isdigit() for char in line)
    return digits > 0.3 * len(line) or (
        len(words) > 1 and bool(re.fullmatch(r"[\d$%,.()–—-]+", words[-1]))
    )


def _is_set_apart(lines: Sequence[str], index: int, width: float) -> bool:
    """Whether the text before the line has ended and longer or separate text follows it."""
    before = lines[index - 1].strip() if index else ""
    after = lines[index + 1].strip()
    ended = not before or bool(_TERMINATED.search(before)) or len(before) < _SHORT_LINE * width
    if after:
        return ended and not after[0].islower() and len(after) >= _SHORT_LINE * width
    return ended and any(line.strip() for line in lines[index + 2 : index + 3])


def _is_titled(words: Sequence[str]) -> bool:
    """Most of the longer words are capitalised."""
    longer = [word for word in words if len(word) > 3 and word[0].isalpha()]
    return bool(longer) and sum(word[0].isupper() for word in longer) >= 0.7 * len(longer)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for match in _TERMINATOR.finditer(text, start, end):
        if match.end() < end and _ends_sentence(text, begin, match, end):
            if span := _trim(text, begin, match.end()):
                yield span
            begin = match.end()
    if span := _trim(text, begin, end):
        yield span


def _ends_sentence(text: str, begin: int, match: re.Match[str], end: int) -> bool:
    if match[0][0] in "。！？｡؟۔।":
        return True
    following = text[match.end() : match.end() + 3].lstrip()[:1]
    if text[max(begin, match.start() - 1) : match.start()].isspace():
        return True  # a full stop set apart, as in lower-case collections of abstracts
    if not following or following.islower() or following in ",;:)":
        return False
    return match[0][0] != "." or not _ends_abbreviated(text[begin : match.start() + 1][-16:])


def _ends_abbreviated(text: str) -> bool:
    found = _LAST_WORD.search(text)
    return found is not None and _ABBREVIATIONS.fullmatch(found[1]) is not None


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    part = text[start:end]
    left = len(part) - len(part.lstrip())
    right = len(part.rstrip())
    return (start + left, start + right) if right > left else None
