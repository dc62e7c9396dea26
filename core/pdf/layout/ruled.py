"""Reads tables whose cells are separated by lines: all lines of a cell are one text. Pure.

Tables of numbers with one line in each row are left to `core.pdf.layout.tables`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from statistics import median

from core.pdf.layout.grid_cells import (
    FEW_ROWS,
    Cells,
    GridCell,
    fill_cells,
    has_codes_and_words,
    has_columns,
    has_groups,
    has_rows_between_lines,
    is_number,
    is_table,
    needs_lines,
)
from core.pdf.layout.grids import Grid
from core.pdf.layout.headers import Column
from core.pdf.layout.lines import Row, Segment, make_row, make_segment
from core.pdf.layout.open_grids import complete, with_each_row, with_missing_sides, with_outer_rows
from core.pdf.layout.tables import Cell, Table, TableRow, find_tables
from core.pdf.layout.words import Box, Piece

_MAX_FOOTER_ROWS = 4
_CLOSE = 1.5  # of a row's height, between a table and words that belong to it
_MAX_HEADER_CHARS = 60
_MAX_HEADERS = 3
_TWO_COLUMNS = 3  # edges


@dataclass(slots=True)
class RuledTable:
    """A table's rows in the order of the page; `cells` has those of each row."""

    xs: Sequence[float]
    rows: list[Row] = field(default_factory=list)
    cells: list[list[GridCell]] = field(default_factory=list)
    stand_in: Row = field(init=False)


def take_ruled_tables(
    rows: Sequence[Row], grids: Sequence[Grid]
) -> tuple[list[Row], list[RuledTable]]:
    """The rows without the words of ruled tables, and these tables."""
    tables: list[RuledTable] = []
    left = list(rows)
    for grid in grids:
        grid = with_outer_rows(grid, left)
        inside, outside = _separate(left, grid)
        table = None
        if inside and not _is_torn(left, grid):
            table = _read(grid, inside, at_foot=_is_at_foot(grid, outside))
        if table is not None:
            tables.append(table)
            left = outside
    return left, tables


def _is_at_foot(grid: Grid, others: Sequence[Row]) -> bool:
    """Whether the grid ends the page's text, apart from a running footer."""
    above = [row for row in others if row.baseline < grid.ys[0]]
    return len(above) > _MAX_FOOTER_ROWS >= len(others) - len(above)


def with_stand_ins(rows: Sequence[Row], tables: Sequence[RuledTable]) -> list[Row]:
    """The rows, and one row for each table, so that a table stays whole in the reading order."""
    if not tables:
        return list(rows)
    return sorted([*rows, *(table.stand_in for table in tables)], key=attrgetter("baseline"))


def place_tables(
    block: Sequence[Row], ruled: Sequence[RuledTable], rules: Sequence[Box] = ()
) -> tuple[list[Row], list[Table]]:
    """The rows of a block with those of its ruled tables, and all tables of the block.

    `rules` are the lines of the page.
    """
    by_segment = {id(table.stand_in.segments[0]): table for table in ruled}
    rows: list[Row] = []
    tables: list[Table] = []
    plain: list[Row] = []
    for row in block:
        table = by_segment.get(id(row.segments[0]))
        if table is None:
            plain.append(row)
            continue
        tables += _shifted(find_tables(plain, rules), len(rows))
        rows += plain
        tables.append(make_table(table, len(rows)))
        rows += table.rows
        plain = []
    return [*rows, *plain], [*tables, *_shifted(find_tables(plain, rules), len(rows))]


def _shifted(tables: list[Table], count: int) -> list[Table]:
    """The tables of rows before which there are `count` others."""
    for table in tables:
        table.first += count
        table.last += count
    return tables


def make_table(ruled: RuledTable, first: int) -> Table:
    """The table whose rows are the rows of a block from index `first` on."""
    columns = [
        Column(left, right, numeric=False, count=1)
        for left, right in zip(ruled.xs, ruled.xs[1:], strict=False)
    ]
    headers = _count_headers(ruled)
    for cells in ruled.cells[:headers]:
        _name_columns(cells, columns)
    rows = [_table_row(*one) for one in zip(ruled.rows, ruled.cells, strict=True)]
    last = first + len(rows)
    return Table(first, last, headers, rows, columns[0], columns[1:], ruled=True)


def _table_row(row: Row, cells: Sequence[GridCell]) -> TableRow:
    found = [Cell(cell.pieces, numeric=is_number(cell.pieces)) for cell in cells]
    # A single text in a row of several columns names the group of rows below it.
    return TableRow(row, found, len(found) if len(found) > 1 else 0, is_years=False)


def _name_columns(cells: Sequence[GridCell], columns: Sequence[Column]) -> None:
    for cell in cells:
        header = make_segment(cell.pieces)
        whole = cell.first == 0 and cell.last == len(columns) - 1
        for column in columns[max(1, cell.first) : cell.last + 1]:
            if not whole and all(one.pieces != header.pieces for one in column.headers):
                column.headers.append(header)


def _separate(rows: Sequence[Row], grid: Grid) -> tuple[list[Row], list[Row]]:
    """The parts of the rows inside and outside of the grid."""
    inside: list[Row] = []
    outside: list[Row] = []
    for row in rows:
        within: list[Segment] = []
        beyond: list[Segment] = []
        for segment in row.segments:
            kept = [piece for piece in segment.pieces if _is_in(piece, grid)]
            other = [piece for piece in segment.pieces if not _is_in(piece, grid)]
            within += [make_segment(kept)] if kept else []
            beyond += [segment if not kept else make_segment(other)] if other else []
        inside += [make_row(within)] if within else []
        outside += [row if not within else make_row(beyond)] if beyond else []
    return inside, outside


def _is_torn(rows: Sequence[Row], grid: Grid) -> bool:
    """Whether most rows of the grid begin before it or end after it: their labels have no lines."""
    level = [row for row in rows if grid.ys[0] <= row.baseline <= grid.ys[-1]]
    torn, close = 0, False
    for row in level:
        pieces = [piece for segment in row.segments for piece in segment.pieces]
        others = [piece for piece in pieces if not _is_in(piece, grid)]
        if others and len(others) < len(pieces):
            torn += 1
            gap = min(max(grid.xs[0] - one.right, one.left - grid.xs[-1]) for one in others)
            close = close or gap < _CLOSE * row.height
    return close and 2 * torn > len(level)


def _is_in(piece: Piece, grid: Grid) -> bool:
    x, y = (piece.left + piece.right) / 2, (piece.top + piece.bottom) / 2
    return grid.xs[0] <= x <= grid.xs[-1] and grid.ys[0] <= y <= grid.ys[-1]


def _read(grid: Grid, rows: Sequence[Row], *, at_foot: bool) -> RuledTable | None:
    """The table in a grid; None if the grid is a frame or drawing, or its rows need no lines.

    At the foot of a page (`at_foot`), a single row may be the header of a table overleaf.
    """
    is_open = len(grid.xs) < 3
    full = complete(grid, rows) if is_open else with_missing_sides(grid, rows)
    if full is None or not has_columns(full, rows):
        return None
    cells = fill_cells(full, rows)
    if not is_table(cells, len(full.xs) - 1, 1 if at_foot else 2):
        return None
    few = len(full.ys) <= FEW_ROWS + 1
    if (is_open or few) and has_groups(cells):
        full = with_each_row(full, rows)
        cells = fill_cells(full, rows) if full is not None else {}
    if full is None or has_rows_between_lines(cells):
        return None
    table = _table(full.xs, cells)
    if grid.is_typed or needs_lines(cells):
        return table
    return table if has_codes_and_words(cells) and _has_names(table) else None


def _table(xs: Sequence[float], cells: Cells) -> RuledTable:
    table = RuledTable(xs)
    for number in sorted({row for row, _ in cells}):
        own = [cells[place] for place in sorted(cells) if place[0] == number]
        segments = [make_segment(cell.pieces) for cell in own]
        row = make_row(segments)
        row.baseline = min(segment.baseline for segment in segments)
        row.height = median(piece.height for segment in segments for piece in segment.pieces)
        table.rows.append(row)
        table.cells.append(own)
    pieces = [piece for row in table.rows for segment in row.segments for piece in segment.pieces]
    table.stand_in = make_row([make_segment(pieces)])
    table.stand_in.baseline = table.rows[0].baseline
    return table


def _count_headers(table: RuledTable) -> int:
    """The number of rows at the top that name the columns."""
    columns = len(table.xs) - 1
    if len(table.cells) == 1:  # the header of a table that begins overleaf
        return 1 if columns > 1 and _may_be_header(table.cells[0], columns) else 0
    start = 1 if len(table.cells[0]) == 1 else 0  # a title over all columns
    count = start
    while count < min(len(table.cells) - 1, start + _MAX_HEADERS):
        cells = table.cells[count]
        if not _may_be_header(cells, columns):
            break
        count += 1
        if all(cell.first == cell.last for cell in cells):
            break
    return count if count > start and _are_names(table, start, count) else start


def _has_names(table: RuledTable) -> bool:
    """Whether each column beside the labels has a name."""
    names = [cell for cells in table.cells[: _count_headers(table)] for cell in cells]
    named = {column for cell in names for column in range(cell.first, cell.last + 1)}
    return named >= set(range(1, len(table.xs) - 1))


def _may_be_header(cells: Sequence[GridCell], columns: int) -> bool:
    covered = {column for cell in cells for column in range(cell.first, cell.last + 1)}
    texts = [" ".join(piece.text for piece in cell.pieces) for cell in cells]
    return covered >= set(range(1, columns)) and all(
        len(text) <= _MAX_HEADER_CHARS and not text.endswith(":") and not is_number(cell.pieces)
        for text, cell in zip(texts, cells, strict=True)
    )


def _are_names(table: RuledTable, start: int, end: int) -> bool:
    """Whether rows `start` to `end` are of another kind than the values below them."""
    below = [cell for cells in table.cells[end:] for cell in cells if cell.first]
    names = [cell for cells in table.cells[start:end] for cell in cells if cell.first]
    with_digits = [cell for cell in below if _has_digit(cell)]
    if len(table.xs) == _TWO_COLUMNS and 2 * len(with_digits) <= len(below):
        return False  # a list of terms and their texts, or of fields and their values
    words = [cell for cell in with_digits if not is_number(cell.pieces)]
    return 2 * len(words) <= len(below) or 2 * sum(map(_has_digit, names)) <= len(names)


def _has_digit(cell: GridCell) -> bool:
    return any(char.isdigit() for piece in cell.pieces for char in piece.text)
