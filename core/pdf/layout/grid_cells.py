"""The cells of a grid with their words, and the marks of a table. Pure."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from core.pdf.layout.grids import Grid
from core.pdf.layout.lines import SEGMENT_GAP, Row
from core.pdf.layout.tables import BEFORE_NUMBER, is_numeric
from core.pdf.layout.words import Piece

_MIN_FILLED = 0.5  # share of the cells with words; pictures and forms have less
_MAX_CELL_WORDS = 150  # a page in a frame has more
_MAX_REPEATED_CHARS = 60
_MAX_BULLET = 3  # characters
_NUMERIC_ROWS = 0.5
_MIN_SIDES = 0.5  # share of the cells that have a side
_MAX_CROSSED = 0.1
_OVER = 1.0  # points
_MOST = 0.5
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[^\W\d_]{2}")  # currency and per cent signs may have columns of their own
FEW_ROWS = 3  # a table with fewer lines may have several rows between two lines


@dataclass(frozen=True, slots=True)
class GridCell:
    """The words of a cell, line by line. It covers columns `first` to `last`."""

    first: int
    last: int
    lines: list[list[Piece]]

    @property
    def pieces(self) -> list[Piece]:
        return [piece for line in self.lines for piece in line]


# Whether there is a line at the cell in this column and row.
_HasLine = Callable[[int, int], bool]
# By row and first column.
Cells = dict[tuple[int, int], GridCell]


def fill_cells(grid: Grid, rows: Sequence[Row]) -> Cells:
    """The cells with words, by row and first column.

    A short text of several rows is in each of them, a long one in the first.
    """
    lines: dict[tuple[int, int, int, int], list[list[Piece]]] = defaultdict(list)
    has_side, has_top = cache(grid.has_side), cache(grid.has_top)
    for row in rows:
        parts: dict[tuple[int, int, int, int], list[Piece]] = defaultdict(list)
        for segment in row.segments:
            for piece in segment.pieces:
                parts[_place(grid, piece, has_side, has_top)].append(piece)
        for place, pieces in parts.items():
            lines[place].append(pieces)
    cells: Cells = {}
    for (top, bottom, first, last), found in lines.items():
        cell = GridCell(first, last, found)
        repeated = sum(len(piece.text) + 1 for piece in cell.pieces) <= _MAX_REPEATED_CHARS
        for number in range(top, bottom + 1 if repeated else top + 1):
            cells[number, first] = cell
    return cells


def _place(
    grid: Grid, piece: Piece, has_side: _HasLine, has_top: _HasLine
) -> tuple[int, int, int, int]:
    """The first and last row, and the first and last column, of the cell with the piece."""
    xs = grid.xs
    rows, columns = len(grid.ys) - 1, len(xs) - 1
    y = (piece.top + piece.bottom) / 2
    top = min(max(0, bisect_right(grid.ys, y) - 1), rows - 1)
    bottom = top
    first = last = _column(xs, (piece.left + piece.right) / 2)
    while first > 0 and not has_side(first, top):
        first -= 1
    while last < columns - 1 and not has_side(last + 1, top):
        last += 1
    while top > 0 and not has_top(first, top):
        top -= 1
    while bottom < rows - 1 and not has_top(first, bottom + 1):
        bottom += 1
    return top, bottom, first, last


def _column(xs: Sequence[float], x: float) -> int:
    return min(max(0, bisect_right(xs, x) - 1), len(xs) - 2)


def is_table(cells: Cells, columns: int, least: int) -> bool:
    """Whether half of the cells have words, and `least` rows, and half of all, several cells."""
    rows = {row for row, _ in cells}
    nested = any(_has_parts(cell) for cell in cells.values())
    filled = sum(cell.last - cell.first + 1 for cell in cells.values())
    several = sum(len([1 for row, _ in cells if row == number]) > 1 for number in rows)
    return (
        several >= max(least, _MIN_FILLED * len(rows))
        and not nested
        and filled >= _MIN_FILLED * len(rows) * columns
        and all(len(cell.pieces) <= _MAX_CELL_WORDS for cell in cells.values())
    )


def _has_parts(cell: GridCell) -> bool:
    """Whether several lines of the cell have wide gaps: a form or a table inside of a frame.

    The gap after the sign or number of a list's item does not count.
    """
    gaps = [
        any(
            two.left - one.right > SEGMENT_GAP * two.height and len(one.text) > _MAX_BULLET
            for one, two in pairwise(line)
        )
        for line in cell.lines
    ]
    return sum(gaps) > 1


def has_rows_between_lines(cells: Cells) -> bool:
    """Whether there are several rows between two lines: numbers one below the other."""
    few = len({row for row, _ in cells}) <= FEW_ROWS
    for (row, first), cell in cells.items():
        numbers = sum(is_number(line) for line in cell.lines)
        if numbers > 1:
            return True
        beside = [len(one.lines) for (other, _), one in cells.items() if other == row]
        if few and first == 0 and len(cell.lines) > 1 and len(set(beside)) == 1 < len(beside):
            return True
    return False


def has_groups(cells: Cells) -> bool:
    """Whether most rows have several labels: lines that each begin like a label."""
    labels = [cell.lines for (_, first), cell in cells.items() if first == 0]
    several = [
        len(lines) > 1 and all(not line[0].text[0].islower() for line in lines) for lines in labels
    ]
    return 2 * sum(several) >= max(1, len(labels))


def needs_lines(cells: Cells) -> bool:
    """Whether the table cannot be read by its numbers alone.

    Few rows have any, or the text of a column of words has several lines.
    """
    top = min(row for row, _ in cells)
    body = {row for row, _ in cells if row > top}
    numeric = {row for (row, first), cell in cells.items() if first and is_number(cell.pieces)}
    if len(numeric & body) < _NUMERIC_ROWS * len(body) or not body:
        return True
    return any(_is_wrapped(cells, column, top) for column in {first for _, first in cells} - {0})


def has_codes_and_words(cells: Cells) -> bool:
    """Whether most labels have digits, and a column beside them has words."""
    top = min(row for row, _ in cells)
    labels, *others = sorted({first for _, first in cells})
    return _share(cells, labels, top, _DIGIT) > _MOST and any(
        _share(cells, column, top, _WORD) > _MOST for column in others
    )


def _share(cells: Cells, column: int, top: int, pattern: re.Pattern[str]) -> float:
    """The share of the column's cells below the top row that have such a word."""
    below = [cell for (row, first), cell in cells.items() if first == column and row > top]
    found = [cell for cell in below if any(pattern.search(one.text) for one in cell.pieces)]
    return len(found) / len(below) if below else 0


def _is_wrapped(cells: Cells, column: int, top: int) -> bool:
    below = [cell for (row, first), cell in cells.items() if first == column and row > top]
    words = [cell for cell in below if not is_number(cell.pieces)]
    return 2 * len(words) > len(below) and any(len(cell.lines) > 1 for cell in words)


def is_number(pieces: Sequence[Piece]) -> bool:
    """Whether the words are a number with its currency, per cent sign and notes."""
    start = 0
    while start < len(pieces) - 1 and BEFORE_NUMBER.fullmatch(pieces[start].text):
        start += 1
    return is_numeric(pieces[start:])


def has_columns(grid: Grid, rows: Sequence[Row]) -> bool:
    """Whether most cells have a side, and no words are over it, as over backgrounds of words."""
    crossed = sides = 0
    inner = range(1, len(grid.xs) - 1)
    for number, (top, bottom) in enumerate(pairwise(grid.ys)):
        pieces = [
            piece
            for row in rows
            if top < row.baseline <= bottom
            for segment in row.segments
            for piece in segment.pieces
        ]
        for x in (grid.xs[column] for column in inner if grid.has_side(column, number)):
            sides += 1
            crossed += any(one.left + _OVER < x < one.right - _OVER for one in pieces)
    expected = _MIN_SIDES * len(inner) * (len(grid.ys) - 1)
    return sides >= expected and crossed <= _MAX_CROSSED * sides
