"""Completes tables whose lines do not separate all columns: white space does it there. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from core.pdf.layout.grids import Grid, Line
from core.pdf.layout.lines import Row, Segment

# Shares of a row's height.
_MIN_GAP = 0.4  # between two columns
_WORD_GAP = 0.35  # between two words of a cell
_NEXT_LINE = 1.5  # between two lines of a cell
_MAX_OUTER_ROWS = 4
_MIN_WIDTH = 200  # points; shorter lines are below words, as those of links
_WIDE = 0.6  # of a table; a wider text is below the table
_MIN_FILLED = 0.5  # of the rows; a column has words in more of them
_COLUMN_NAMES = 3  # parts of a line that names columns; two may each be over several columns
_MIN_ROWS = 4  # between lines; with fewer, a line may separate groups of rows


def complete(grid: Grid, rows: Sequence[Row]) -> Grid | None:
    """The grid with lines between its columns; None if it has no columns. `rows` are its words.

    A table with few lines has a line below each of its rows.
    """
    xs = _columns(grid, rows)
    if len(xs) < 3 or grid.xs[1] - grid.xs[0] < _MIN_WIDTH:
        return None
    found = _with_columns(grid, xs, rows)
    return found if len(grid.ys) > _MIN_ROWS else with_each_row(found, rows)


def with_missing_sides(grid: Grid, rows: Sequence[Row]) -> Grid:
    """The grid with all sides of cells in rows without any, unless words cross them.

    In many tables only every other row is shaded, cell by cell.
    """
    added: list[Line] = []
    for number, (top, bottom) in enumerate(pairwise(grid.ys)):
        inner = grid.xs[1:-1]
        own = [row for row in rows if top < row.baseline <= bottom]
        if any(grid.has_side(column, number) for column in range(1, len(grid.xs) - 1)):
            continue
        if not any(crosses(part, x) for row in own for part in row.segments for x in inner):
            added += [Line(x, top, bottom) for x in inner]
    return replace(grid, down=(*grid.down, *added))


def with_outer_rows(grid: Grid, rows: Sequence[Row]) -> Grid:
    """The grid with the rows above its first line and below its last.

    Above a complete grid, only a row with a name for each column is a part of the table.
    """
    least = 2 if grid.may_go_on else max(_COLUMN_NAMES, len(grid.xs) - 2)
    upwards = [row for row in reversed(rows) if row.baseline < grid.ys[0]]
    above = [row for row in _run(upwards, grid, grid.ys[0]) if len(row.segments) >= least]
    downwards = [row for row in rows if row.baseline > grid.ys[-1] and grid.may_go_on]
    below = _run(downwards, grid, grid.ys[-1])
    top = [min(row.top for row in above) - 1] if above else []
    bottom = [max(row.bottom for row in below) + 1] if below else []
    return replace(grid, ys=(*top, *grid.ys, *bottom))


def _run(rows: Sequence[Row], grid: Grid, line: float) -> list[Row]:
    """Rows of cells that begin at a line and follow each other closely; empty if all are text."""
    found: list[Row] = []
    left, right = grid.xs[0], grid.xs[-1]
    for row in rows[:_MAX_OUTER_ROWS]:
        within = row.left >= left - row.height and row.right <= right + row.height
        edge = found[-1].baseline if found else line
        if not within or abs(row.baseline - edge) > _NEXT_LINE * row.height:
            break
        if len(row.segments) < 2 and row.right - row.left > _WIDE * (right - left):
            break
        found.append(row)
    return found if any(len(row.segments) > 1 for row in found) else []


def _columns(grid: Grid, rows: Sequence[Row]) -> tuple[float, ...]:
    """The edges of columns that white space separates in all rows below the header."""
    body = [row for row in rows if row.baseline > grid.ys[1]]
    names = [row for row in rows if row.baseline < grid.ys[1]][-1:]
    body += [row for row in names if len(row.segments) >= _COLUMN_NAMES]
    pieces = [piece for row in body for segment in row.segments for piece in segment.pieces]
    spans = sorted((piece.left, piece.right, bisect_right(grid.ys, piece.top)) for piece in pieces)
    if not spans:
        return ()
    least = _MIN_GAP * median(row.height for row in body)
    gaps: list[float] = []
    reach = spans[0][1]
    for left, right, _ in spans:
        if left - reach >= least:
            gaps.append((reach + left) / 2)
        reach = max(reach, right)
    needed = _MIN_FILLED * (len(grid.ys) - 1)
    edges = [grid.xs[0]]
    for gap, end in zip(gaps, [*gaps, grid.xs[-1]][1:], strict=True):
        # White space inside of the text of a single row separates no columns.
        if len({row for left, _, row in spans if gap < left < end}) >= needed:
            edges.append(gap)
    return (*edges, grid.xs[-1])


def _with_columns(grid: Grid, xs: tuple[float, ...], rows: Sequence[Row]) -> Grid:
    """The grid with lines between its columns, except where a text of the header crosses them."""
    down: list[Line] = []
    heads = [row for row in rows if row.baseline < grid.ys[1]]
    for x in xs:
        start = grid.ys[0]
        for row in heads:
            if any(crosses(segment, x) for segment in row.segments):
                start = row.bottom
        down.append(Line(x, start, grid.ys[-1]))
    return replace(grid, xs=xs, down=tuple(down))


def crosses(segment: Segment, x: float) -> bool:
    """Whether a word, or the space between two close words, is at x."""
    gap = _WORD_GAP * segment.height
    return any(
        one.left < x < one.right or (one.right <= x <= two.left < one.right + gap)
        for one, two in zip(segment.pieces, [*segment.pieces[1:], segment.pieces[-1]], strict=True)
    )


def with_each_row(grid: Grid, rows: Sequence[Row]) -> Grid | None:
    """The grid with a line below each row of words; None if a row has not all its cells."""
    body = [row for row in rows if row.baseline > grid.ys[1]]
    for row in body:
        columns = {bisect_right(grid.xs, segment.left) for segment in row.segments}
        if len(columns) < len(grid.xs) - 1:
            return None
    lines = [(one.bottom + two.top) / 2 for one, two in pairwise(body)]
    ys = (*grid.ys[:2], *lines, grid.ys[-1])
    return replace(grid, ys=ys, across=tuple(Line(y, grid.xs[0], grid.xs[-1]) for y in ys))
