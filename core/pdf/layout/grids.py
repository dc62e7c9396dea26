"""Finds tables by the lines between their cells. Pure.

A grid has lines between its columns and its rows, or lines between its rows only: then white space
separates the columns. `core.pdf.layout.ruled` puts the words into the cells.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from core.pdf.layout.words import Box

# All lengths are in points.
_TOUCH = 3.0  # between lines that meet
_SAME_LINE = 2.0  # between parallel lines that are one
_SAME_EDGE = 6.0  # between the sides of two cells that are one edge
_SAME_END = 8.0
_SHORTEST = 8.0
_MIN_OPEN_LINES = 3  # of a table without vertical lines
_MAX_ROW = 150.0
_MAX_LINES = 800
_MAX_UNSHADED = 1.6  # of the height of the highest shaded row


class Line(NamedTuple):
    """A horizontal line at y=`at` from x=`start` to `end`, or a vertical one at x=`at`."""

    at: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The edges of a table's columns and rows, and its lines.

    A grid without vertical lines has only its two sides as `xs`. If it `may_go_on`, the table may
    have a row more above its first line and below its last. The lines of an `is_typed` grid are
    characters, so that its columns may have no white space between them.
    """

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    across: tuple[Line, ...]
    down: tuple[Line, ...]
    may_go_on: bool = False
    is_typed: bool = False

    def has_side(self, column: int, row: int) -> bool:
        """Whether there is a line at the left of the cell."""
        return _covers(self.down, self.xs[column], (self.ys[row] + self.ys[row + 1]) / 2)

    def has_top(self, column: int, row: int) -> bool:
        """Whether there is a line above the cell."""
        return _covers(self.across, self.ys[row], (self.xs[column] + self.xs[column + 1]) / 2)


def find_grids(rules: Sequence[Box]) -> list[Grid]:
    """The grids that the lines of a page make. `rules` are thin boxes."""
    wide = [rule for rule in rules if rule[2] - rule[0] >= rule[3] - rule[1]]
    tall = [rule for rule in rules if rule[2] - rule[0] < rule[3] - rule[1]]
    across = _join(Line((top + bottom) / 2, left, right) for left, top, right, bottom in wide)
    down = _join(Line((left + right) / 2, top, bottom) for left, top, right, bottom in tall)
    if not across or len(across) + len(down) > _MAX_LINES:
        return []
    grids: list[Grid] = []
    loose: list[Line] = []
    for rows, columns in _connected(across, down):
        grid = _closed(rows, columns)
        if grid is not None:
            grids.append(grid)
        else:
            loose += rows
    return _stack(grids) + _open_grids(loose)


def _join(lines: Iterable[Line]) -> list[Line]:
    """The lines without the gaps and doubles of lines that are drawn cell by cell."""
    levels: list[list[Line]] = []
    for line in sorted(lines):
        if levels and line.at - levels[-1][0].at <= _SAME_LINE:
            levels[-1].append(line)
        else:
            levels.append([line])
    return [whole for level in levels for whole in _join_level(level)]


def _join_level(level: Sequence[Line]) -> list[Line]:
    joined: list[Line] = []
    for line in sorted(level, key=lambda line: line.start):
        if joined and line.start - joined[-1].end <= _TOUCH:
            joined[-1] = joined[-1]._replace(end=max(joined[-1].end, line.end))
        else:
            joined.append(line)
    return [line for line in joined if line.end - line.start >= _SHORTEST]


def _connected(across: Sequence[Line], down: Sequence[Line]) -> list[tuple[list[Line], list[Line]]]:
    """Groups of lines that meet, as horizontal and vertical lines."""
    group = list(range(len(across) + len(down)))

    def root(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    for one, row in enumerate(across):
        for other, column in enumerate(down, start=len(across)):
            if _meet(row, column):
                group[root(one)] = root(other)
    found: dict[int, tuple[list[Line], list[Line]]] = defaultdict(lambda: ([], []))
    for index, line in enumerate((*across, *down)):
        found[root(index)][index >= len(across)].append(line)
    return list(found.values())


def _meet(row: Line, column: Line) -> bool:
    return (
        row.start - _TOUCH <= column.at <= row.end + _TOUCH
        and column.start - _TOUCH <= row.at <= column.end + _TOUCH
    )


def _closed(across: Sequence[Line], down: Sequence[Line]) -> Grid | None:
    """The grid of lines that meet; None if they separate no columns."""
    if not across or not down:
        return None
    sides = (min(line.start for line in across), max(line.end for line in across))
    ends = (min(line.start for line in down), max(line.end for line in down))
    xs = _edges([*(line.at for line in down), *sides])
    ys = _edges([*(line.at for line in across), *ends])
    if len(xs) < 3 or len(ys) < 2:
        return None
    return Grid(xs, ys, tuple(across), tuple(down))


def _stack(grids: Sequence[Grid]) -> list[Grid]:
    """The grids, with those of equal columns as one: of tables with every other row shaded."""
    stacked: list[Grid] = []
    for grid in sorted(grids, key=lambda grid: grid.ys[0]):
        above = next((one for one in stacked if _is_below(grid, one)), None)
        if above is None:
            stacked.append(grid)
            continue
        stacked[stacked.index(above)] = Grid(
            above.xs,
            (*above.ys, *grid.ys),
            (*above.across, *grid.across),
            (*above.down, *grid.down),
            may_go_on=True,
        )
    return stacked


def _is_below(grid: Grid, above: Grid) -> bool:
    heights = [bottom - top for one in (above, grid) for top, bottom in pairwise(one.ys)]
    near = 0 < grid.ys[0] - above.ys[-1] <= _MAX_UNSHADED * max(heights)
    return (
        near
        and len(grid.xs) == len(above.xs)
        and (
            all(
                abs(one - other) <= _SAME_EDGE for one, other in zip(grid.xs, above.xs, strict=True)
            )
        )
    )


def _open_grids(across: Sequence[Line]) -> list[Grid]:
    """Grids of horizontal lines that begin and end at the same x."""
    groups: list[list[Line]] = []
    for line in sorted(across):
        for group in groups:
            near = line.at - group[-1].at <= _MAX_ROW
            if near and max(map(abs, (line.start - group[0].start, line.end - group[0].end))) < (
                _SAME_END
            ):
                group.append(line)
                break
        else:
            groups.append([line])
    return [
        Grid((group[0].start, group[0].end), ys, tuple(group), (), may_go_on=True)
        for group in groups
        if len(ys := _edges([line.at for line in group])) >= _MIN_OPEN_LINES
    ]


def _edges(values: Iterable[float]) -> tuple[float, ...]:
    """The different values in their order."""
    ordered = sorted(values)
    return (
        ordered[0],
        *(two for one, two in pairwise(ordered) if two - one > _SAME_EDGE),
    )


def _covers(lines: Sequence[Line], at: float, place: float) -> bool:
    return any(
        abs(line.at - at) <= _SAME_EDGE and line.start <= place <= line.end for line in lines
    )
