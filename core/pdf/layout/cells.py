"""Finds tables of words with cells of several lines: groups of rows separated by white space."""

from collections.abc import Iterator, Sequence

from core.pdf.layout.lines import Row
from core.pdf.layout.text import Token, write_segment

_NEW_GROUP = 1.35  # of the distance between two lines of a cell
_ALIGNED = 0.3  # of a row's height
_MAX_LINES = 6
_MIN_GROUPS = 2


def find_cell_rows(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """For each row of such tables, the index of its first row and the index after its last."""
    groups = _groups(rows)
    found: list[tuple[int, int]] = []
    run: list[tuple[int, int]] = []
    for group in [*groups, (0, 0)]:
        columns = _columns(rows[group[0] : group[1]])
        if run and columns and _are_equal(columns, _columns(rows[run[0][0] : run[0][1]]), rows):
            run.append(group)
            continue
        if len(run) >= _MIN_GROUPS:
            found += run
        run = [group] if columns else []
    return found


def write_cell_row(rows: Sequence[Row], *, separator: str) -> Iterator[Token]:
    """Join the lines of each column, and the columns with ` | `."""
    for left in _columns(rows):
        for row in rows:
            for segment in row.segments:
                if abs(segment.left - left) <= _ALIGNED * row.height:
                    yield from write_segment(segment, separator=separator)
                    separator = " "
        separator = " | "


def _groups(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Runs of rows that are closer to each other than to the rows above and below."""
    groups, start = [], 0
    for index in range(1, len(rows) + 1):
        if index < len(rows) and not _begins_cells(rows[start], rows[index]):
            pitch = rows[start + 1].baseline - rows[start].baseline
            if rows[index].baseline - rows[index - 1].baseline < _NEW_GROUP * pitch and (
                pitch < 2 * rows[start].height
            ):
                continue
        groups.append((start, index))
        start = index
    return groups


def _begins_cells(before: Row, row: Row) -> bool:
    """Whether cells begin below a caption."""
    return len(before.segments) < 2 <= len(row.segments)


def _columns(rows: Sequence[Row]) -> list[float]:
    """The left edges of the first row's cells; empty unless the other cells are below them."""
    if not 2 <= len(rows) <= _MAX_LINES or len(rows[0].segments) < 2:
        return []
    lefts = [segment.left for segment in rows[0].segments]
    aligned = all(
        any(abs(segment.left - left) <= _ALIGNED * row.height for left in lefts)
        for row in rows
        for segment in row.segments
    )
    return lefts if aligned else []


def _are_equal(one: Sequence[float], other: Sequence[float], rows: Sequence[Row]) -> bool:
    limit = _ALIGNED * rows[0].height
    return len(one) == len(other) and all(
        abs(left - right) <= limit for left, right in zip(one, other, strict=True)
    )
