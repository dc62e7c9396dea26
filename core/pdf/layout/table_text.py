"""Writes a table so that each row can be understood alone.

A row is its label, then its cells with the headers of their columns:
`Net sales | 2022: $34,229 | 2021: $35,355`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.pdf.layout.headers import Column
from core.pdf.layout.lines import Row, make_segment
from core.pdf.layout.tables import BEFORE_NUMBER, Cell, Table, TableRow, column_of
from core.pdf.layout.text import Token, write_segment
from core.pdf.layout.words import Piece

_INDENT = 0.3  # of a row's height
_LINE_OF_LABEL = 1.4  # of a row's height, between two lines of one label
_WORD = re.compile(r"[^\W\d_]{2}")


@dataclass(slots=True)
class _Entry:
    """A row, the cells of its label and the row that it is under. Without values, a line."""

    row: TableRow
    label: list[Cell]
    parent: TableRow | None
    is_data: bool


def write_table(table: Table, *, separator: str) -> Iterator[Token]:
    """The header's lines, then each row with its label and its columns' headers."""
    for row in table.rows[: table.headers]:
        yield from _write_pieces(row.row, separator)
        separator = "\n"
    for entry in _entries(table):
        if entry.is_data:
            yield from _write_row(entry, table, separator)
        else:
            yield from _write_pieces(entry.row.row, separator)
        separator = "\n"


def _entries(table: Table) -> Iterator[_Entry]:
    """The rows below the header, each with its whole label and the row that it is under."""
    body = table.rows[table.headers :]
    parent: TableRow | None = None
    pending: list[TableRow] = []
    before: _Entry | None = None
    skipped = 0
    for index, row in enumerate(body):
        if skipped:
            skipped -= 1
            continue
        following = body[index + 1] if index + 1 < len(body) else None
        if not row.number_count:
            if following is not None and _wraps(row, following):
                pending.append(row)
                continue
            parent, before = row, None
            yield _Entry(row, [], None, is_data=False)
            continue
        ends = _label_ends(body, index, table)
        label = [*_label_cells(row, table), *(cell for one in ends for cell in one.cells)]
        label = [cell for one in pending for cell in one.cells] + label
        under = parent if parent is not None and _is_under(row, parent) else None
        if before is not None and not label and _shares_label(row, before, table):
            label, under = before.label, before.parent
        before = _Entry(row, label, under, is_data=True)
        yield before
        pending, skipped = [], len(ends)


def _label_cells(row: TableRow, table: Table) -> list[Cell]:
    columns = table.columns
    return [cell for cell in row.cells if table.label and column_of(cell, columns) is table.label]


def _label_ends(body: Sequence[TableRow], index: int, table: Table) -> list[TableRow]:
    """The rows below row `index` that only go on with its label."""
    label = _label_cells(body[index], table)
    if not label or label[-1].pieces[-1].text.endswith(":"):
        return []
    ends: list[TableRow] = []
    for place in range(index + 1, len(body) - 1):
        if not _ends_label(body[place], body[place - 1], table):
            break
        ends.append(body[place])
    if ends and _wraps(ends[-1], body[index + len(ends) + 1]):
        return []
    return ends


def _ends_label(row: TableRow, above: TableRow, table: Table) -> bool:
    """Whether the row is the next line of a label that begins in the row above."""
    if row.number_count or len(row.cells) != 1 or not _label_cells(row, table):
        return False
    pieces = row.cells[0].pieces
    close = row.row.baseline - above.row.baseline <= _LINE_OF_LABEL * above.row.height
    text = pieces[0].text
    goes_on = text[0].islower() and bool(_WORD.match(text))
    return close and goes_on and not pieces[-1].text.endswith(":")


def _shares_label(row: TableRow, before: _Entry, table: Table) -> bool:
    """Whether one label belongs to both rows: `Asthma | Count: 31`, then `Percentage: 6.3%`."""
    columns = table.columns
    first = column_of(row.cells[0], columns)
    words = [column_of(cell, columns) for cell in before.row.cells if not cell.numeric]
    return not row.cells[0].numeric and any(first is column for column in words)


def _write_row(entry: _Entry, table: Table, separator: str) -> Iterator[Token]:
    columns = table.columns
    own = _label_cells(entry.row, table)
    if entry.parent is not None:
        tokens = list(_write_pieces(entry.parent.row, separator))
        last = tokens[-1]
        yield from tokens[:-1]
        yield last._replace(text=last.text if last.text.endswith(":") else f"{last.text}:")
        separator = " "
    for part in entry.label:
        yield from _write_cell(part, separator)
        separator = " "
    for cell in entry.row.cells:
        if any(cell is part for part in own):
            continue
        between = separator if separator.startswith("\n") else " | "
        column = column_of(cell, columns)
        for token in _write_headers(column, between) if column is not None else ():
            yield token
            between = ": "
        yield from _write_cell(cell, between)
        separator = " | "


def _write_headers(column: Column, separator: str) -> Iterator[Token]:
    """The column's headers. Those of an earlier page have no words on this one."""
    for text in column.carried:
        yield Token(separator, text, ())
        separator = " "
    for header in column.headers:
        yield from write_segment(header, separator=separator)
        separator = " "


def _write_cell(cell: Cell, separator: str) -> Iterator[Token]:
    """The cell's words; a currency sign or a bracket is joined to its number."""
    before: Piece | None = None
    for token, piece in zip(
        write_segment(make_segment(cell.pieces), separator=separator), cell.pieces, strict=True
    ):
        joined = before is not None and cell.numeric and _joins(before.text, piece.text)
        yield token._replace(separator="") if joined else token
        before = piece


def _joins(before: str, text: str) -> bool:
    return bool(BEFORE_NUMBER.fullmatch(before) and len(before) < 3) or text in ("%", ")", ")%")


def _write_pieces(row: Row, separator: str) -> Iterator[Token]:
    for segment in row.segments:
        yield from write_segment(segment, separator=separator)
        separator = " "


def _wraps(row: TableRow, following: TableRow) -> bool:
    """Whether the label of `following` began in the row above it."""
    first = following.cells[0] if following.cells else None
    if first is None or first.numeric or len(row.cells) != 1:
        return False
    text = first.pieces[0].text
    above = row.cells[0].pieces[-1].text
    return not above.endswith(":") and (text[:1].islower() or text[:1] in "(–-")


def _is_under(row: TableRow, parent: TableRow) -> bool:
    ends = parent.cells[-1].pieces[-1].text.endswith(":") if parent.cells else False
    first = row.cells[0]
    indent = first.left - parent.cells[0].left
    limit = _INDENT * row.row.height
    return not first.numeric and indent > (-limit if ends else limit)
