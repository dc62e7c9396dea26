"""Rows of tables in a text that is searched, see `core.text.table_rows`. Pure."""

from core.text.table_rows import CELL_END

_CAPTION_CHARS = 240


def caption_of(text: str) -> tuple[int, int]:
    """From where to where `text` says what its table is of: the lines above the first row.

    The columns' names are there too, see `set_apart`. Further above is prose. Both are the
    length of `text` if it has no row.
    """
    first = text.find(CELL_END)
    if first < 0:
        return len(text), len(text)
    start = text.rfind("\n", 0, first) + 1
    return max(0, start - _CAPTION_CHARS), start


def set_apart(text: str) -> str:
    """`text` with each row of a table as a paragraph, and the columns' names once, above them.

    The page reader repeats the names in each row, so that a row can be read alone. Here they
    would count as often as there are rows.
    """
    if CELL_END not in text:
        return text
    lines, names, first = list[str](), dict[str, None](), None
    for line in text.split("\n"):
        if CELL_END in line:
            first = len(lines) if first is None else first
            line = f"\n{_without_names(line, names)}{CELL_END}\n"
        lines.append(line)
    return "\n".join([*lines[:first], " ".join(names), *lines[first:]])


def _without_names(row: str, names: dict[str, None]) -> str:
    """A row's label and values. The words of its columns' names are added to `names`."""
    kept = []
    for place, cell in enumerate(row.split(CELL_END)):
        name, _, value = cell.rpartition(": ") if place else ("", "", cell)
        names.update(dict.fromkeys(name.split()))
        kept.append(value)
    return " ".join(kept)
