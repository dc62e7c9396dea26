"""Puts the rows of a page into reading order: columns one after the other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from core.pdf.layout.lines import Row, Segment, make_row

# Thresholds that tell columns of prose from those of a table, tuned on pages with known order.
_MIN_LINES = 3
_MIN_SURE_LINES = 6  # with fewer lines, some must begin in the middle of a sentence
_MIN_RUNNING_ON = 0.3
_MIN_WORDS = 3.5  # in the median line of a column
_MIN_FILL = 0.55  # width of the median line, as a share of the widest
_MAX_NUMBERS = 0.25
_MIN_GUTTER = 0.6  # of the median line's height
_MAX_CANDIDATES = 8
_MAX_DEPTH = 6
_MAX_ROWS = 2000
_NEW_BLOCK = 1.8  # of the usual distance between two rows
_NUMBER = re.compile(r"[(\-–$€£¥]?\d[\d.,]*[)%]?")
# Scripts without spaces: two of their characters count as a word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class _Band:
    """Rows `first` to `last` (exclusive) in which no segment crosses `x`."""

    x: float
    first: int
    last: int
    lines: int


def reading_blocks(rows: Sequence[Row], *, right_to_left: bool = False) -> list[list[Row]]:
    """The rows in reading order, in blocks: the rows above columns, a column, the next one, …"""
    if len(rows) > _MAX_ROWS:
        return [list(rows)]
    return [block for block in _divide(list(rows), right_to_left, _MAX_DEPTH) if block]


def _divide(rows: list[Row], right_to_left: bool, depth: int) -> list[list[Row]]:
    if len(rows) < _MIN_LINES or depth == 0:
        return [rows]
    band = _best_band(rows)
    if band is None:
        return [rows]
    left, right = _sides(rows[band.first : band.last], band.x)
    columns = (right, left) if right_to_left else (left, right)
    above, below = rows[: band.first], rows[band.last :]
    return [
        *_divide(above, right_to_left, depth - 1),
        *_divide(columns[0], right_to_left, depth - 1),
        *_divide(columns[1], right_to_left, depth - 1),
        *_divide(below, right_to_left, depth - 1),
    ]


def _best_band(rows: Sequence[Row]) -> _Band | None:
    """The longest run of rows that a gutter divides into two columns."""
    bands = [
        band
        for x in _gutters(rows)
        for band in _bands(rows, x)
        if _are_columns(*_sides(rows[band.first : band.last], x))
    ]
    return max(bands, key=lambda band: band.lines, default=None)


def _gutters(rows: Sequence[Row]) -> list[float]:
    """The x positions at which most gaps between segments are one below the other."""
    gaps: list[tuple[float, float]] = []
    above = rows[0].segments
    for row in rows:
        segments, least = row.segments, _MIN_GUTTER * row.height
        pairs = [(above[-1], segments[0]), (segments[-1], above[0])]
        if len(segments) > 1:
            pairs = [*pairwise(segments), *pairs]
        for one, other in pairs:
            if other.left - one.right > least:
                gaps.append((one.right, other.left))
        above = segments
    found: list[float] = []
    while len(gaps) >= _MIN_LINES and len(found) < _MAX_CANDIDATES:
        x = _deepest(gaps)
        found.append(x)
        gaps = [gap for gap in gaps if not gap[0] <= x <= gap[1]]
    return found


def _deepest(gaps: Sequence[tuple[float, float]]) -> float:
    """The middle of the interval that most gaps share."""
    events = sorted([(left, -1) for left, _ in gaps] + [(right, 1) for _, right in gaps])
    depth = best = 0
    place = (events[0][0], events[0][0])
    for index, (x, step) in enumerate(events):
        depth -= step
        if depth > best:
            best, place = depth, (x, events[min(index + 1, len(events) - 1)][0])
    return (place[0] + place[1]) / 2


def _bands(rows: Sequence[Row], x: float) -> list[_Band]:
    """Runs of rows without a segment across `x`, without one-sided rows at their ends."""
    bands, start = [], 0
    for index in range(len(rows) + 1):
        if index < len(rows) and not _crosses(rows[index], x):
            continue
        first, last = _trim(rows, start, index, x)
        if last - first >= _MIN_LINES:
            lines = sum(len(row.segments) for row in rows[first:last])
            bands.append(_Band(x, first, last, lines))
        start = index + 1
    return bands


def _crosses(row: Row, x: float) -> bool:
    return any(segment.left < x < segment.right for segment in row.segments)


def _trim(rows: Sequence[Row], first: int, last: int, x: float) -> tuple[int, int]:
    """Leave out rows at both ends that are separate from the columns."""
    if last - first < 2:
        return first, last
    pitches = [
        two.baseline - one.baseline
        for one, two in zip(rows[first:], rows[first + 1 : last], strict=False)
    ]
    limit = _NEW_BLOCK * median(pitches)
    lefts = [row.left < x for row in rows[first:last]]
    rights = [row.right > x for row in rows[first:last]]
    # Rows that together with the previous or next one have words on both sides of `x`.
    both = [
        first + index
        for index in range(last - first)
        if any(lefts[max(0, index - 1) : index + 2]) and any(rights[max(0, index - 1) : index + 2])
    ]
    if not both:
        return first, first
    top, bottom = both[0], both[-1]
    while top > first and rows[top].baseline - rows[top - 1].baseline <= limit:
        top -= 1
    while bottom + 1 < last and rows[bottom + 1].baseline - rows[bottom].baseline <= limit:
        bottom += 1
    return top, bottom + 1


def _sides(rows: Sequence[Row], x: float) -> tuple[list[Row], list[Row]]:
    left: list[Row] = []
    right: list[Row] = []
    for row in rows:
        for side, segments in (
            (left, [segment for segment in row.segments if segment.right <= x]),
            (right, [segment for segment in row.segments if segment.right > x]),
        ):
            if segments:
                side.append(make_row(segments))
    return left, right


def _are_columns(left: Sequence[Row], right: Sequence[Row]) -> bool:
    return _is_prose(left) and _is_prose(right)


def _is_prose(rows: Sequence[Row]) -> bool:
    if len(rows) < _MIN_LINES:
        return False
    segments = [segment for row in rows for segment in row.segments]
    if median(_count_words(segment) for segment in segments) < _MIN_WORDS:
        return False
    widths = [segment.width for segment in segments]
    if median(widths) < _MIN_FILL * max(widths):
        return False
    if len(rows) < _MIN_SURE_LINES and not _runs_on(rows):
        return False
    words = [piece.text for segment in segments for piece in segment.pieces]
    return sum(map(bool, map(_NUMBER.fullmatch, words))) < _MAX_NUMBERS * len(words)


def _runs_on(rows: Sequence[Row]) -> bool:
    """Whether enough lines begin in lower case, or in a script without case."""
    starts = [row.segments[0].pieces[0].text[0] for row in rows[1:]]
    running = sum(not start.isupper() and start.isalpha() for start in starts)
    return running >= _MIN_RUNNING_ON * len(starts)


def _count_words(segment: Segment) -> float:
    text = "".join(piece.text for piece in segment.pieces)
    unspaced = len(_UNSPACED.findall(text)) if not text.isascii() else 0
    return max(len(segment.pieces), unspaced / 2)
