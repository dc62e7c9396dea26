"""Finds tables by geometry: rows with numbers one below the other, and the headers above.

`core.pdf.layout.table_text` writes them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.pdf.layout.digit_groups import goes_on, may_have_spaces
from core.pdf.layout.header_groups import is_title
from core.pdf.layout.headers import Column, assign_headers
from core.pdf.layout.leaders import DASHES, without_leaders
from core.pdf.layout.line_kinds import has_page_number, is_caption, is_centred, is_prose, is_unit
from core.pdf.layout.lines import Row
from core.pdf.layout.words import Box, Piece

_NUMBER = re.compile(
    r"[(\[\-–—−+~<>≤≥]*[$€£¥]?[(\-–−]?\d[\d.,:/’'\-–]*[%x*†‡)\]]*(?:bps?|pts?|[KMB]n?)?[%x*†‡)\]]*|[—–−-]+%?|\*+\.\*+|n/?[am]\.?",
    re.IGNORECASE,
)
_YEAR = re.compile(
    r"(?:FY|Q[1-4]|[1-4]Q)?\s?[’']?(?:19|20)\d\d[AEe]?\s?(?:\(?[a-z\d]\))?"
    r"|(?:19|20)\d\d\s?[-–/]\s?(?:(?:19|20)\d\d|\d\d)|Q[1-4]|[1-4]Q"
)
_PERIOD = re.compile(r"(?:19|20)\d\d\s?[-–/]\s?(?:19|20)?\d\d")
BEFORE_NUMBER = re.compile(r"[$€£¥(+\-–−]+|US\$|USD|EUR|CHF|GBP")
_AFTER_NUMBER = re.compile(r"[%)\]*†‡]+|pts?\.?|bps?|x|\(?[a-z\d]\)")
_MAX_SIGN = 3  # letters of the longest currency or unit beside a number
_MIN_DATA_ROWS = 2
_MAX_LABEL_ROWS = 4  # rows without a number between two with one
_MAX_HEADER_ROWS = 6
_ROW_GAP = 3.2  # of a row's height; rows that are further apart belong to two tables
_CAPTION_GAP = 1.6  # of the distance between two rows; a line above such a gap is no header
_LABELS_LOOKED_AT = 12  # rows, for the width of the labels
_SAME_EDGE = 0.15  # of a row's height
_PROSE_SHARE = 0.7


@dataclass(slots=True)
class Cell:
    """The pieces of one row in one column."""

    pieces: list[Piece]
    numeric: bool

    @property
    def left(self) -> float:
        return self.pieces[0].left

    @property
    def right(self) -> float:
        if len(self.pieces) == 1:
            return self.pieces[0].right
        return max([piece.right for piece in self.pieces])


@dataclass(slots=True)
class TableRow:
    """A row as cells. `number_count` is the number of cells with a number."""

    row: Row
    cells: list[Cell]
    number_count: int
    is_years: bool


@dataclass(slots=True)
class Table:
    """Rows `first` to `last` (exclusive) of a block. The first `headers` of them are headers.

    `label` is the column with the rows' labels, if there is one, `values` are the others. Lines
    separate the cells of a `ruled` table.
    """

    first: int
    last: int
    headers: int
    rows: list[TableRow] = field(default_factory=list)
    label: Column | None = None
    values: list[Column] = field(default_factory=list)
    ruled: bool = False

    @property
    def columns(self) -> list[Column]:
        return [*([self.label] if self.label else []), *self.values]


def find_tables(rows: Sequence[Row], rules: Sequence[Box] = ()) -> list[Table]:
    """The tables among the rows of one block, from top to bottom. `rules` are the page's lines."""
    split = [_split(row) for row in rows]
    _mark_periods(split)
    tables: list[Table] = []
    index = 0
    while index < len(rows):
        end = _end_of_table(split, index) if _is_data(split[index]) else index
        count = sum(_is_data(row) for row in split[index:end])
        floor = tables[-1].last if tables else 0
        if count < _MIN_DATA_ROWS or not _is_aligned(split[index:end]):
            lone = _below_years(split, index, floor) if count else None
            tables += [lone] if lone else []
            index += 1
            continue
        first, body = _find_headers(split, index, floor, rules)
        tables.append(_make_table(split, first, body, end, rules))
        index = end
    return tables


def _mark_periods(rows: Sequence[TableRow]) -> None:
    """Take periods for values, not for names of columns, in labelled rows below each other."""
    periods = [
        row.is_years
        and not row.cells[0].numeric
        and any(_PERIOD.fullmatch(cell.pieces[0].text) for cell in row.cells[1:])
        for row in rows
    ]
    for index, (row, is_period) in enumerate(zip(rows, periods, strict=True)):
        if is_period and any(periods[max(0, index - 1) : index] + periods[index + 1 : index + 2]):
            row.is_years = False


def _below_years(rows: Sequence[TableRow], index: int, floor: int) -> Table | None:
    """The table of a single row of values below a row with a year for each."""
    row, above = rows[index], rows[index - 1] if index > floor else None
    if above is None or not above.is_years or row.number_count < _MIN_DATA_ROWS:
        return None
    if row.cells[0].numeric or above.number_count > row.number_count:
        return None
    first, body = _find_headers(rows, index, floor)
    table = _make_table(rows, first, body, index + 1) if first < body else None
    return table if table and all(column.headers for column in table.values) else None


def find_lone_row(rows: Sequence[Row], *, most_above: int) -> Table | None:
    """A single row of values near the top of a page, where a table may end that goes on."""
    for index, row in enumerate(rows[: most_above + 1]):
        split = _split(row)
        if split.number_count > 1 and len(split.cells) > split.number_count and _is_data(split):
            return _make_table([*map(_split, rows[: index + 1])], index, index, index + 1)
    return None


def find_first_row(rows: Sequence[Row], *, most_below: int) -> Table | None:
    """A single row of values below a complete header, near the end of a page."""
    for index in range(len(rows) - 1, max(0, len(rows) - 2 - most_below), -1):
        row = _split(rows[index])
        if row.number_count > 1 and len(row.cells) > row.number_count and _is_data(row):
            split = [*map(_split, rows[max(0, index - _MAX_HEADER_ROWS) : index + 1])]
            first, _ = _find_headers(split, len(split) - 1, 0)
            first += index + 1 - len(split)
            table = _make_table([*map(_split, rows[: index + 1])], first, index, index + 1)
            return table if all(column.headers for column in table.values) else None
    return None


def _make_table(
    rows: Sequence[TableRow], first: int, body: int, last: int, rules: Sequence[Box] = ()
) -> Table:
    columns = _columns(rows[body:last])
    if _cut_at_columns(rows[body:last], columns):
        columns = _columns(rows[body:last])
    label = columns[0] if columns and not columns[0].numeric else None
    values = columns[1:] if label else columns
    heads = [row.row for row in rows[first:body] if not is_unit(row.row)]
    assign_headers(heads, values, label, rules)
    return Table(first, last, body - first, list(rows[first:last]), label, values)


def _split(row: Row) -> TableRow:
    """The row's cells: its segments, with a separate cell for each number at its end."""
    pieces = [piece for segment in row.segments for piece in segment.pieces]
    starts = {segment.pieces[0].left for segment in row.segments}
    kept = without_leaders(pieces)
    tail = _numbers_at_end(kept)
    if kept and not tail and not [piece for piece in kept[1:] if piece.left in starts]:
        return TableRow(row, [Cell(kept, numeric=False)], 0, is_years=False)  # a line of prose
    if len(tail) < len(kept):
        # In "attributable to 3M   $ 5,777" the first number belongs to the label.
        begin = next((index for index, one in enumerate(tail) if one.left in starts), 0)
        tail = tail[begin:]
    cells: list[Cell] = []
    for piece in kept[: len(kept) - len(tail)]:
        if not cells or piece.left in starts:
            cells.append(Cell([piece], numeric=False))
        else:
            cells[-1].pieces.append(piece)
    for cell in cells:
        cell.numeric = is_numeric(cell.pieces)
    apart = not cells or len(kept) < len(pieces) or (bool(tail) and tail[0].left in starts)
    if tail and not apart:
        cells[-1].pieces += tail
    elif tail:
        cells += _number_cells(tail)
    numbers = [cell for cell in cells if cell.numeric]
    count = len(numbers) if len(cells) > 1 else 0
    return TableRow(row, cells, count, is_years=_are_years(numbers))


def _are_years(numbers: Sequence[Cell]) -> bool:
    """Whether all are years, or the dashes of `2028 – 2032` between years."""
    texts = [" ".join(piece.text for piece in cell.pieces) for cell in numbers]
    years = sum(_YEAR.fullmatch(text) is not None for text in texts)
    dashes = sum(text in DASHES for text in texts)
    return years == len(texts) > 0 or (years + dashes == len(texts) and years > 2 * dashes)


def is_numeric(pieces: Sequence[Piece]) -> bool:
    """Whether the words are numbers, with their per cent signs and notes."""
    return bool(_NUMBER.fullmatch(pieces[0].text)) and all(
        _NUMBER.fullmatch(piece.text) or _AFTER_NUMBER.fullmatch(piece.text) for piece in pieces[1:]
    )


def _numbers_at_end(pieces: Sequence[Piece]) -> list[Piece]:
    start, seen = len(pieces), False
    if start and not pieces[-1].shift and _is_word(pieces[-1].text):
        return []  # as most lines of prose
    while start:
        text = pieces[start - 1].text
        is_number = bool(_NUMBER.fullmatch(text))
        raised = pieces[start - 1].shift > 0
        if not (
            is_number or raised or BEFORE_NUMBER.fullmatch(text) or _AFTER_NUMBER.fullmatch(text)
        ):
            break
        seen |= is_number
        start -= 1
    return list(pieces[start:]) if seen else []


def _is_word(text: str) -> bool:
    """Whether the text has only letters, and more than a currency or unit."""
    return len(text) > _MAX_SIGN and text.isalpha()


def _number_cells(pieces: Sequence[Piece]) -> list[Cell]:
    """One cell for each number, with its currency sign, per cent sign and note."""
    cells: list[Cell] = []
    opened = False
    grouped = may_have_spaces(pieces)
    for piece in pieces:
        closes = _AFTER_NUMBER.fullmatch(piece.text) or piece.shift > 0
        attached = cells and closes and piece.left - cells[-1].right < piece.height
        if cells and (opened or attached or (grouped and goes_on(cells[-1].pieces, piece))):
            cells[-1].pieces.append(piece)
        else:
            cells.append(Cell([piece], numeric=True))
        opened = bool(BEFORE_NUMBER.fullmatch(piece.text)) and not _NUMBER.fullmatch(piece.text)
    return cells


def _is_data(row: TableRow) -> bool:
    """Whether the row has values. Numbers alone before a word are names: 737, 747, Total."""
    if not row.number_count or row.is_years:
        return False
    return row.cells[-1].numeric or not row.cells[0].numeric


def _end_of_table(rows: Sequence[TableRow], start: int) -> int:
    """The index after the last row of the table that has a number."""
    end, height = start + 1, rows[start].row.height
    for index in range(start + 1, min(len(rows), start + 400)):
        row, before = rows[index], rows[index - 1]
        if row.row.baseline - before.row.baseline > _ROW_GAP * height:
            break
        if _is_data(row):
            end = index + 1
        elif index - end >= _MAX_LABEL_ROWS or len(row.cells) > 1:
            break
    return end


def _is_aligned(rows: Sequence[TableRow]) -> bool:
    """Whether most numbers share their column with one of another row."""
    columns = _columns(rows)
    numbers = [cell for row in rows for cell in row.cells if cell.numeric]
    shared = sum(
        column is not None and column.count > 1
        for column in (column_of(cell, columns) for cell in numbers)
    )
    return bool(numbers) and shared >= 0.6 * len(numbers)


def _columns(rows: Sequence[TableRow]) -> list[Column]:
    """The columns from left to right. Starts from narrow cells, so that a wide one joins none."""
    cells = [cell for row in rows if row.number_count for cell in row.cells]
    cells.sort(key=lambda cell: (not cell.numeric, cell.right - cell.left))
    columns: list[Column] = []
    for cell in cells:
        left, right = cell.left, cell.right
        near = [one for one in columns if one.left < right and left < one.right]
        if not near:
            columns.append(Column(left, right, cell.numeric, 1))
        elif len(near) == 1:
            near[0].widen(left, right)
            near[0].count += 1
    return _merge_labels(sorted(columns, key=lambda column: column.left), cells, rows)


def _merge_labels(
    columns: list[Column], cells: Sequence[Cell], rows: Sequence[TableRow]
) -> list[Column]:
    """Join labels with different indents to one column.

    They are one column if a longer label covers both, and no row has a cell in each.
    """
    while len(columns) > 1 and not columns[0].numeric and not columns[1].numeric:
        first, second = columns[:2]
        covered = any(cell.left < first.right and cell.right > second.left for cell in cells)
        if not covered or any(_has_both(row, first, second) for row in rows):
            break
        first.widen(second.left, second.right)
        first.count += second.count
        del columns[1]
    return columns


def _has_both(row: TableRow, first: Column, second: Column) -> bool:
    lefts = [cell.left for cell in row.cells]
    return any(first.left <= left <= first.right for left in lefts) and any(
        second.left <= left <= second.right for left in lefts
    )


def _cut_at_columns(rows: Sequence[TableRow], columns: Sequence[Column]) -> bool:
    """Cut cells that run into the next column of words. Returns whether there were any."""
    found = False
    for row in rows:
        for place, cell in reversed(list(enumerate(row.cells))):
            cut = 0 if cell.numeric or not row.number_count else _place_of_cut(cell, columns)
            if cut:
                parts = (
                    Cell(cell.pieces[:cut], numeric=False),
                    Cell(cell.pieces[cut:], numeric=False),
                )
                row.cells[place : place + 1] = parts
                found = True
    return found


def _place_of_cut(cell: Cell, columns: Sequence[Column]) -> int:
    """The index of the piece that begins another column of words; 0 if none does."""
    edges = [one.left for one in columns if not one.numeric and one.count >= _MIN_DATA_ROWS]
    for place, piece in enumerate(cell.pieces):
        near = (abs(piece.left - edge) <= _SAME_EDGE * piece.height for edge in edges)
        if place and any(near):
            return place
    return 0


def column_of(cell: Cell, columns: Sequence[Column]) -> Column | None:
    """The column that shares most of its width with the cell; None if none does."""
    left, right = cell.left, cell.right
    best, most = None, 0.0
    for column in columns:
        end = column.right if column.right < right else right
        shared = end - (column.left if column.left > left else left)
        if shared > most:
            best, most = column, shared
    return best


def _find_headers(
    rows: Sequence[TableRow], start: int, floor: int, rules: Sequence[Box] = ()
) -> tuple[int, int]:
    """The first and the last (exclusive) header row above the data row `start`."""
    numbers_left = min(cell.left for cell in rows[start].cells if cell.numeric)
    # A line that begins in the left half of the labels is prose or a caption.
    middle = (rows[start].row.left + numbers_left) / 2
    right = max(cell.right for cell in rows[start].cells)
    pitch = rows[min(start + 1, len(rows) - 1)].row.baseline - rows[start].row.baseline
    labels = [row.cells[0] for row in rows[start : start + _LABELS_LOOKED_AT] if row.number_count]
    labels_right = max((cell.right for cell in labels if not cell.numeric), default=0.0)
    first = last = start
    for index in range(start - 1, max(floor, start - _MAX_HEADER_ROWS) - 1, -1):
        row, below = rows[index].row, rows[index + 1].row
        gap = below.baseline - row.baseline
        if gap > _ROW_GAP * below.height or _is_data(rows[index]) or has_page_number(row):
            break
        if first < start and is_caption(row, rows[start].row) and gap > _CAPTION_GAP * pitch:
            break
        left = rows[start].row.left
        centred = is_centred(row, left, numbers_left, right)
        stacked = start - first > 1 and len(rows[first].row.segments) > 1
        extent = left, numbers_left, right
        if centred and stacked and is_title(row, rules, extent, rows[start].number_count):
            break
        if centred and row.left < labels_right and row.left + row.right < 2 * numbers_left:
            if first == start:
                continue  # the name of a group, below the header
            break
        edge = numbers_left + _PROSE_SHARE * (right - numbers_left)
        if is_prose(row, left=left, middle=middle, edge=edge):
            break
        if row.right > numbers_left:
            last = index + 1 if first == start else last
            first = index
    return first, last
