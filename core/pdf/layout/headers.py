"""Assigns headers to the columns of a table, also headers over several columns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from core.pdf.layout.header_groups import (
    groups_of,
    is_cut,
    repeats_of,
    split_at_columns,
    underlined,
)
from core.pdf.layout.line_kinds import names_unit
from core.pdf.layout.lines import Row, Segment, make_segment
from core.pdf.layout.words import Box

# Costs of an assignment, in distances between two columns: for a column without a header,
_UNCOVERED = 0.55
_MISFIT = 3.0  # for a header whose middle is one column away from the middle of its columns,
_WITHIN_ONE = 5.0  # for several columns under a header that is no wider than one,
_CUT_GROUP = 2.0  # for a part of a group of columns together with columns outside of the group,
_NOT_UNDERLINED = 20.0  # and for other columns than those of the line below the header.
_PERIOD = re.compile(r"\d{4}|ended|months|weeks|\bdays?\b|quarter|year", re.IGNORECASE)
_SLACK = 1.5  # heights by which a line may reach beyond its column
_MAX_COLUMNS = 30
_INDENT = 5.0  # points; a line that begins further to the right is not below the labels


@dataclass(slots=True, eq=False)
class Column:
    """A column's extent in x, and its headers from top to bottom.

    `carried` are headers that only an earlier page has, in a table that goes on overleaf.
    """

    left: float
    right: float
    numeric: bool
    count: int
    headers: list[Segment] = field(default_factory=list)
    carried: tuple[str, ...] = ()

    def widen(self, left: float, right: float) -> None:
        self.left, self.right = min(self.left, left), max(self.right, right)

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    @property
    def names(self) -> tuple[str, ...]:
        """The texts of the headers."""
        own = (" ".join(piece.text for piece in header.pieces) for header in self.headers)
        return self.carried or tuple(own)


def assign_headers(
    rows: Sequence[Row],
    columns: Sequence[Column],
    label: Column | None,
    rules: Sequence[Box] = (),
) -> None:
    """Add to each column the segments of the header rows above it.

    A segment may span several columns. A line below it shows which ones; `rules` are the lines of
    the page. Otherwise spans are chosen so that their middles are nearest to the middles of the
    row's segments.
    """
    if not columns or len(columns) > _MAX_COLUMNS:
        return
    stub = columns[0].left - pitch_of(columns) if label is None else label.left
    left = float("-inf") if label is None else label.left + _INDENT
    for row in reversed(rows):
        segments = [
            part
            for segment in row.segments
            for part in _split_years(segment)
            if _is_over(part, columns, stub)
        ]
        known = [underlined(one, segments, columns, rules, left) for one in segments]
        segments, known = split_at_columns(segments, known, columns)
        if len(segments) > len(columns):
            _assign_nearest(segments, columns)
            continue
        for segment, (first, last) in zip(segments, _spans(segments, columns, known), strict=True):
            if first != last and names_unit(segment):
                continue  # the unit of the whole table
            for column in columns[first : last + 1]:
                column.headers.insert(0, segment)
        if len(segments) == len(columns):
            # Numbers are right-aligned, so only the lowest headers show a column's whole width.
            for segment, column in zip(segments, columns, strict=True):
                column.widen(segment.left, segment.right)


def _split_years(segment: Segment) -> list[Segment]:
    """Split a segment of several years or numbers into one segment each."""
    if len(segment.pieces) < 2 or not all(piece.text[0].isdigit() for piece in segment.pieces):
        return [segment]
    return [make_segment([piece]) for piece in segment.pieces]


def _is_over(segment: Segment, columns: Sequence[Column], stub: float) -> bool:
    """Whether the segment is above the columns. Captions and units begin at the labels."""
    if segment.left < stub + segment.height and segment.left < columns[0].left:
        return False
    return segment.right > columns[0].left - pitch_of(columns) / 2


def pitch_of(columns: Sequence[Column]) -> float:
    """The usual distance between two columns."""
    return max(1.0, (columns[-1].right - columns[0].left) / len(columns))


def _is_within_one(segment: Segment, columns: Sequence[Column]) -> bool:
    """Whether the segment is a line of one column's header, and not a period of several columns."""
    if any(_PERIOD.search(piece.text) for piece in segment.pieces):
        return False
    return any(
        column.left - _SLACK * segment.height <= segment.left
        and segment.right <= column.right + _SLACK * segment.height
        for column in columns
    )


def _assign_nearest(segments: Sequence[Segment], columns: Sequence[Column]) -> None:
    for segment in segments:
        middle = (segment.left + segment.right) / 2
        min(columns, key=lambda column: abs(column.middle - middle)).headers.insert(0, segment)


def _spans(
    segments: Sequence[Segment],
    columns: Sequence[Column],
    known: Sequence[tuple[int, int] | None],
) -> list[tuple[int, int]]:
    """For each segment the first and last column under it. No column has two segments.

    `known` are the spans of those that a line below shows.
    """
    pitch = pitch_of(columns) / _MISFIT
    middles = [(segment.left + segment.right) / 2 for segment in segments]
    within = [_is_within_one(segment, columns) for segment in segments]
    groups, repeats = groups_of(columns), repeats_of(columns)

    def misfit(number: int, first: int, last: int) -> float:
        if span := known[number]:
            return 0.0 if span == (first, last) else _NOT_UNDERLINED
        middle = (columns[first].left + columns[last].right) / 2
        distance = abs(middle - middles[number])
        if first == last:
            distance = min(distance, abs(columns[last].right - segments[number].right))
        cost = distance / pitch + _CUT_GROUP * is_cut(groups, first, last)
        several = first != last and (first, last) not in repeats
        return cost + (_WITHIN_ONE if several and within[number] else 0)

    @cache
    def best(number: int, start: int) -> tuple[float, tuple[tuple[int, int], ...]]:
        if number == len(segments):
            return _UNCOVERED * (len(columns) - start), ()
        options = []
        for first in range(start, len(columns) - (len(segments) - number) + 1):
            for last in range(first, len(columns) - (len(segments) - number) + 1):
                cost, spans = best(number + 1, last + 1)
                own = misfit(number, first, last) + _UNCOVERED * (first - start)
                options.append((own + cost, ((first, last), *spans)))
        return min(options)

    return list(best(0, 0)[1])
