"""Tables that go on overleaf: the names of their columns come from the page before. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from core.pdf.layout.headers import Column
from core.pdf.layout.line_kinds import has_page_number, names_unit
from core.pdf.layout.lines import Row
from core.pdf.layout.tables import Table, find_first_row, find_lone_row

# A table is continued on at most so many pages that do not repeat its header. A worker that
# starts in the middle has to read all of them.
MAX_PAGES = 40
_MAX_ROWS_ABOVE = 4  # of the table at the top of a page: running headers, names of groups
_MAX_ROWS_ABOVE_HEADER = 1
_MAX_ROWS_BELOW = 4  # of the table at the end of a page: running footers, footnotes
_MAX_GROUPS = 2
_MAX_GROUP_CHARS = 60
_TOP_ROWS = 6
_CAPTION_ROWS = 3
_MAX_CAPTION_LINE = 110
_MAX_CAPTION = 200
_CAPTION_GAP = 4.0  # of a row's height, between the lines of a caption and the table
_NEAR = 0.3  # of the distance between two columns
_LEAST_NEAR = 6.0  # points
_MAX_SHIFT = 72.0  # points between the margins of left and right pages
_OTHER_SIZE = 1.15
_NUMBERS = re.compile(r"\d+")
_CONTINUED = re.compile(
    r"[\s,:–—-]*[(\[]?\b(?:continued|cont(?:[’']d|\.)|carried forward|brought forward|fortsetzung"
    r"|forts\.|suite|continuación|segue|vervolg)(?!\w)[)\]]?\s*$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?:table|figure|exhibit|schedule|annex|appendix|note|tabelle|tableau|tabla)\s", re.IGNORECASE
)
_NUMBER_ALONE = re.compile(r"[\W_]*#[\W_]*")
_PROSE_END = re.compile(r"[.;,]$")


@dataclass(frozen=True, slots=True)
class HeadColumn:
    """A column's extent in x, in points, and its headers from top to bottom."""

    left: float
    right: float
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableHead:
    """What the page before says of a table that may go on at the top of a page.

    `columns` are those with values. `caption` has the lines above the table, with its unit.
    `known` are lines that the next page may repeat above the table: the first lines of the page,
    the caption and the header. `pages` is the number of pages since the header was printed.
    """

    columns: tuple[HeadColumn, ...]
    caption: str
    known: frozenset[str]
    pages: int = 0


def find_rest(rows: Sequence[Row]) -> Table | None:
    """The last row of a table that began on the page before, if the page may begin with it."""
    return find_lone_row(rows, most_above=_MAX_ROWS_ABOVE)


def find_start(rows: Sequence[Row]) -> Table | None:
    """The first row of a table that goes on overleaf, with its header, at the end of a page."""
    return find_first_row(rows, most_below=_MAX_ROWS_BELOW)


def may_go_on(rows: Sequence[Row], table: Table) -> bool:
    """Whether `table` may have begun on the page before. `rows` are those of its block."""
    if table.headers == len(table.rows):
        return False
    if any(column.headers for column in table.values):
        uncovered = sum(not column.headers for column in table.values)
        if 2 * uncovered < len(table.values):
            return table.first <= _MAX_ROWS_ABOVE_HEADER
    return bool(table.values) and table.first <= _MAX_ROWS_ABOVE


def goes_on(rows: Sequence[Row], table: Table, head: TableHead) -> bool:
    """Give the columns of `table` the headers of `head` if it is the same table.

    It is if its columns are in the same places, and no line above it begins something new.
    """
    groups = 0
    # The first row of a ruled table looks like a header, but may be any row.
    for row in rows[: table.first + (0 if table.ruled else table.headers)]:
        if _is_known(row, head):
            continue
        groups += 1
        if groups > _MAX_GROUPS or not _is_group(row, table):
            return False
    fitting = _fit(table.values, head.columns)
    if fitting is None:
        return False
    own = [column.names for column in table.values]
    if own != [column.headers for column in fitting]:
        table.headers = 0 if table.ruled else table.headers
        for column, known in zip(table.values, fitting, strict=True):
            column.headers, column.carried = [], known.headers
    return True


def head_of(rows: Sequence[Row], table: Table, before: TableHead | None) -> TableHead | None:
    """The head of the table at the end of a page. `before` is its head if the table goes on.

    `rows` are those of its block.
    """
    if len(rows) - table.last > _MAX_ROWS_BELOW or not any(one.names for one in table.values):
        return None
    carried = any(column.carried for column in table.values)
    pages = before.pages + 1 if before is not None and carried else 0
    if pages > MAX_PAGES:
        return None
    caption = before.caption if before is not None else caption_of(rows, table)
    head_rows = [row.row for row in table.rows[: table.headers]]
    lines = {_fold(row) for row in (*rows[:_TOP_ROWS], *head_rows, *_lines_above(rows, table))}
    return TableHead(
        tuple(HeadColumn(one.left, one.right, one.names) for one in table.values),
        caption,
        frozenset(lines) | (before.known if before is not None else frozenset()),
        pages,
    )


def with_top(head: TableHead, rows: Sequence[Row]) -> TableHead:
    """The head, which also knows the first lines of its page."""
    return replace(head, known=head.known | {_fold(row) for row in rows[:_TOP_ROWS]})


def caption_of(rows: Sequence[Row], table: Table) -> str:
    """The lines above a table, and what its header rows say that is no column's name."""
    lines = [_text(row) for row in _lines_above(rows, table)]
    used = {id(header) for column in table.values for header in column.headers}
    for row in table.rows[: table.headers]:
        lines += [
            " ".join(piece.text for piece in segment.pieces)
            for segment in row.row.segments
            if id(segment) not in used
            and (segment.left < table.values[0].left or names_unit(segment))
        ]
    caption = ""
    for line in lines:
        if line not in caption:
            caption = f"{caption} {line}".strip()
    return caption[-_MAX_CAPTION:]


def _lines_above(rows: Sequence[Row], table: Table) -> list[Row]:
    found: list[Row] = []
    below = rows[table.first]
    for row in reversed(rows[max(0, table.first - _CAPTION_ROWS) : table.first]):
        text = _text(row)
        far = below.baseline - row.baseline > _CAPTION_GAP * below.height
        prose = len(text) > _MAX_CAPTION_LINE or (_PROSE_END.search(text) and len(text) > 60)
        if far or prose or has_page_number(row):
            break
        found.insert(0, row)
        below = row
    return found


def _text(row: Row) -> str:
    return " ".join(piece.text for segment in row.segments for piece in segment.pieces)


def _fold(row: Row) -> str:
    """The row's text without numbers and the mark of a continuation."""
    return _CONTINUED.sub("", _NUMBERS.sub("#", _text(row))).casefold().strip()


def _is_known(row: Row, head: TableHead) -> bool:
    text = _fold(row)
    if has_page_number(row) and len(row.segments) == 1:
        return True
    return not text or text in head.known or bool(_NUMBER_ALONE.fullmatch(text))


def _is_group(row: Row, table: Table) -> bool:
    """Whether the row names a group of the rows below it: set like a label, and no caption."""
    text = _text(row)
    first = table.rows[table.headers].row
    aligned = abs(row.left - first.left) < 1.5 * first.height or row.left < first.left
    return (
        len(row.segments) == 1
        and aligned
        and row.right < table.values[0].right
        and row.height < _OTHER_SIZE * first.height
        and len(text) <= _MAX_GROUP_CHARS
        and not _NUMBERED.match(text)
        and not _PROSE_END.search(text)
    )


def _fit(columns: Sequence[Column], heads: Sequence[HeadColumn]) -> list[HeadColumn] | None:
    """The column of the head for each column; None if one has none."""
    if not columns or len(columns) > len(heads):
        return None
    pitches = [two.left - one.left for one, two in pairwise(heads)]
    near = max(_LEAST_NEAR, _NEAR * median(pitches)) if pitches else _LEAST_NEAR
    for shift in _shifts(columns, heads):
        found = [
            min(heads, key=lambda head, one=column: _distance(one, head, shift))  # type: ignore[misc]
            for column in columns
        ]
        close = all(
            _distance(one, head, shift) <= near for one, head in zip(columns, found, strict=True)
        )
        if close and len(set(map(id, found))) == len(found):
            return found
    return None


def _shifts(columns: Sequence[Column], heads: Sequence[HeadColumn]) -> Iterator[float]:
    """Distances between the two pages' margins."""
    yield 0.0
    if len(columns) == len(heads) > 1:
        shift = median(one.right - head.right for one, head in zip(columns, heads, strict=True))
        if abs(shift) <= _MAX_SHIFT:
            yield shift


def _distance(column: Column, head: HeadColumn, shift: float) -> float:
    """Between the nearest of the two columns' edges or middles."""
    left, right = column.left - head.left - shift, column.right - head.right - shift
    return min(abs(left), abs(right), abs(left + right) / 2)
