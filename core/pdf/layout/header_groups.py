"""Evidence for the columns that a header is over: lines, and columns that belong together. Pure."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Protocol

from core.pdf.layout.lines import Row, Segment, make_segment
from core.pdf.layout.words import Box, Piece

Span = tuple[int, int]  # the first and the last column of a header
_Range = tuple[float, float]  # in x
_TOUCH = 1.0  # points, between parts of one line
_MIN_OVERHANG = 4.0  # points by which a line for columns is wider than the text on it
_MAX_BELOW = 0.8  # of a row's height, between a header's baseline and its line
# Of a row's height; the space between two words has .19 to .27.
_COLUMN_GAP = 0.275
_NEAR_MIDDLE = 0.5
_OFF_MIDDLE = 0.25  # of a line's width
_MANY_COLUMNS = 5
_TITLE_WIDTH = 0.25  # of a table's
_TITLE_OVERHANG = 2.0  # of a row's height, by which a title begins to the left of the numbers


class _Column(Protocol):
    left: float
    right: float
    numeric: bool
    headers: list[Segment]

    @property
    def middle(self) -> float: ...


def underlined(
    segment: Segment,
    row: Sequence[Segment],
    columns: Sequence[_Column],
    rules: Sequence[Box],
    left: float,
) -> Span | None:
    """The columns above the line below a header of `row`; None if the header has no such line.

    A line as wide as the text underlines the text. A line below several headers, or also below the
    labels, which begin at `left`, shows nothing. Nor do the lines of a row in which columns without
    a header have lines too.
    """
    near = _lines_below(segment, rules)
    joined = _join(near)
    middles = [_middle(one) for one in row]
    for line in joined:
        if not _has_any(line, middles) and _has_any(line, [one.middle for one in columns]):
            return None
    others = [_middle(one) for one in row if one is not segment]
    own = [
        line
        for line in (*near, *joined)
        if line[0] - _TOUCH <= segment.left
        and segment.right <= line[1] + _TOUCH
        and line[1] - line[0] >= segment.right - segment.left + _MIN_OVERHANG
        and line[0] > left
        and not _has_any(line, others)
    ]
    if not own:
        return None
    widest = max(own, key=lambda line: line[1] - line[0])
    places = [place for place, one in enumerate(columns) if _has_any(widest, [one.middle])]
    off = abs(_middle(segment) - (widest[0] + widest[1]) / 2) > _OFF_MIDDLE * (
        widest[1] - widest[0]
    )
    if not places or (len(places) > 1 and off and segment.left - widest[0] > segment.height):
        return None  # a line below all columns, and the name of one
    return places[0], places[-1]


def is_title(
    row: Row, rules: Sequence[Box], extent: tuple[float, float, float], columns: int
) -> bool:
    """Whether a text in the middle of a table is its title, and no header of some columns.

    A title is wide and begins to the left of the numbers. In a table of many columns, a text over a
    line that is as wide as the table is a title too. `extent` is where the labels and the numbers
    begin, and where the numbers end.
    """
    only, near = row.segments[0], row.height
    left, numbers, right = extent
    lines = [
        line
        for line in _join(_lines_below(only, rules))
        if line[0] <= only.left and only.right <= line[1]
    ]
    if any(line[0] <= left + near and line[1] >= right - near for line in lines):
        return columns >= _MANY_COLUMNS
    is_wide = only.width >= _TITLE_WIDTH * (right - left)
    return not lines and is_wide and only.left < numbers - _TITLE_OVERHANG * near


def _lines_below(segment: Segment, rules: Sequence[Box]) -> list[_Range]:
    """The x-ranges of the lines on the page that are as far below as a line below the segment."""
    base = segment.baseline
    reach = base + _MAX_BELOW * segment.height
    return [
        (left, right)
        for left, top, right, bottom in rules
        if base < (top + bottom) / 2 <= reach and right - left > bottom - top
    ]


def _join(lines: Sequence[_Range]) -> list[_Range]:
    """The lines, those that are drawn in parts as one."""
    joined: list[_Range] = []
    for left, right in sorted(lines):
        if joined and left - joined[-1][1] <= _TOUCH:
            joined[-1] = joined[-1][0], max(joined[-1][1], right)
        else:
            joined.append((left, right))
    return joined


def _has_any(line: _Range, places: Sequence[float]) -> bool:
    return any(line[0] <= place <= line[1] for place in places)


def groups_of(columns: Sequence[_Column]) -> list[Span]:
    """Columns that belong together: those below one header, and those whose names repeat."""
    levels = max((len(column.headers) for column in columns), default=0)
    groups: list[Span] = []
    for level in range(1, levels + 1):
        tops = [id(one.headers[-level]) if len(one.headers) >= level else 0 for one in columns]
        place = 0
        for top, run in groupby(tops):
            length = len(list(run))
            if top and length > 1:
                groups.append((place, place + length - 1))
            place += length
    return groups + repeats_of(columns)


def repeats_of(columns: Sequence[_Column]) -> list[Span]:
    """Columns whose names repeat: the first two and the last two of `2022 2021 2022 2021`."""
    names = [tuple(_text(header) for header in column.headers) for column in columns]
    starts = [place for place, name in enumerate(names) if name and name == names[0]]
    if len(starts) < 2:
        return []
    ends = [*starts[1:], min(len(names), starts[-1] + starts[-1] - starts[-2])]
    return [(one, two - 1) for one, two in zip(starts, ends, strict=True)]


def is_cut(groups: Sequence[Span], first: int, last: int) -> bool:
    """Whether the columns are a part of a group together with others, or parts of two groups."""
    return any(
        first <= end
        and start <= last
        and (first < start or last > end)
        and not (first <= start and end <= last)
        for start, end in groups
    )


def split_at_columns(
    segments: Sequence[Segment], known: Sequence[Span | None], columns: Sequence[_Column]
) -> tuple[list[Segment], list[Span | None]]:
    """The headers of a row, split where the names of narrow columns are close together.

    A header is split if its parts are in the middle of columns, or of the names below. The lowest
    names are also split if that gives each column one name. `known` are spans that lines show.
    """
    parts = [
        _parts(segment, columns) if span is None else [segment]
        for segment, span in zip(segments, known, strict=True)
    ]
    is_lowest = not any(column.headers for column in columns)
    named = {_nearest(part, columns) for own in parts for part in own}
    numeric = {place for place, column in enumerate(columns) if column.numeric}
    is_complete = is_lowest and named >= numeric
    found: list[Segment] = []
    spans: list[Span | None] = []
    for segment, span, own in zip(segments, known, parts, strict=True):
        splits = len(own) > 1 and (is_complete or _are_centred(own, columns, is_lowest))
        found += own if splits else [segment]
        spans += [None] * len(own) if splits else [span]
    return found, spans


def _parts(segment: Segment, columns: Sequence[_Column]) -> list[Segment]:
    """The words of the segment, those nearest to one column together.

    The whole segment if the gap between two parts is no wider than between two words.
    """
    runs = groupby(segment.pieces, key=lambda piece: _nearest(piece, columns))
    parts = [make_segment(list(run)) for _, run in runs]
    height = segment.pieces[0].height
    wide = all(two.left - one.right >= _COLUMN_GAP * height for one, two in pairwise(parts))
    return parts if wide else [segment]


def _are_centred(parts: Sequence[Segment], columns: Sequence[_Column], is_lowest: bool) -> bool:
    """Whether each part is in the middle of its column, or a word in the middle of its name."""
    for part in parts:
        column = columns[_nearest(part, columns)]
        if is_lowest:
            middle = column.middle
        elif column.headers and len(part.pieces) == 1:
            middle = _middle(column.headers[0])
        else:
            return False
        if abs(middle - _middle(part)) > _NEAR_MIDDLE * part.height:
            return False
    return True


def _nearest(one: Segment | Piece, columns: Sequence[_Column]) -> int:
    middle = _middle(one)
    return min(range(len(columns)), key=lambda place: abs(columns[place].middle - middle))


def _middle(one: Segment | Piece) -> float:
    return (one.left + one.right) / 2


def _text(segment: Segment) -> str:
    return " ".join(piece.text for piece in segment.pieces)
