"""Says a table's row with the cells first that a question asks for. Pure."""

from collections.abc import Collection, Mapping

from core.answering.column_names import without_title
from core.answering.tables import read_row
from core.text.synonyms import is_said, synonyms_of
from core.text.table_rows import CELL_END
from core.text.words import content_stems


def with_asked_cells_first(row: str, asked: Collection[str]) -> str:
    """`row` with the cells first whose columns' names hold most of the stems `asked`.

    A long title of the table that the columns' names begin with is left out. A text that is no
    row stays as it is.
    """
    read = read_row(row)
    if read is None or not read.label:
        return row
    headers = without_title([header for header, _ in read.cells])
    synonyms = synonyms_of(asked)
    shares = [_share(header, asked, synonyms) for header in headers]
    order = sorted(range(len(headers)), key=lambda at: -shares[at])
    cells = (f"{headers[at]}: {read.cells[at][1]}".removeprefix(": ") for at in order)
    return CELL_END.join([read.label, *cells])


def _share(
    header: str, asked: Collection[str], synonyms: Mapping[str, Collection[tuple[str, ...]]]
) -> float:
    """The number of stems `asked` in a column's name; of equals the shorter name has more."""
    stems = set(content_stems(header))
    held = sum(is_said(word, stems, synonyms) for word in asked)
    return held - 0.01 * len(stems) if held else 0.0
