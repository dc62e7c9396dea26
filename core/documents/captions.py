"""What a table is of, for chunks that begin in the middle of it. Pure.

The page reader writes a row as `label | column: value | column: value`. What the values are of,
and their unit, is said by the lines above the first row: `Net sales`, `(in millions)`.
"""

import re
from collections.abc import Iterator, Sequence

from core.text.table_rows import CELL_END

MAX_CAPTION = 160  # characters
_MAX_LINES = 4  # above the table's first line
_MAX_ABOVE = 1000  # characters
_MAX_LINE = 110  # characters; a longer line is a paragraph's
_SENTENCE_END = re.compile(r"[.;,]$")
_SENTENCE_START = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+")


def caption_above(text: str, position: int, *, carried: str = "") -> str:
    """The caption of the table in which `text[position:]` begins, as far as it is above.

    `carried` is the caption of a table with which the page goes on. Words of the column names
    are left out, because each row repeats them. Empty outside of tables.
    """
    start = text.rfind("\n\n", 0, position) + 2 if position else 0
    start = start if start > 1 else 0
    end = text.find("\n\n", position)
    mark = text.find(CELL_END, start, end if end >= 0 else len(text))
    if mark < 0:
        return ""
    if carried and text.find(CELL_END, 0, start) < 0:
        return carried[-MAX_CAPTION:]
    first_row = text.rfind("\n", start, mark) + 1 or start
    row = text[first_row:].split("\n", 1)[0]
    header = text[start : min(position, first_row)].split("\n")
    return _join_nearest([*_lines_above(text, start), *(_without(line, row) for line in header)])


def _lines_above(text: str, end: int) -> list[str]:
    """The title above a table: short lines that end no sentence, from top to bottom.

    Or the sentence that leads to the table: `The stock was as follows:`.
    """
    above = text[max(0, end - _MAX_ABOVE) : end].rstrip()
    if above.endswith(":") and (lead := _last_sentence(above)):
        return [lead]
    lines = above.split("\n")[-2 * _MAX_LINES :]
    return list(_titles([line.strip() for line in lines]))[:_MAX_LINES][::-1]


def _last_sentence(text: str) -> str:
    """The last sentence of a paragraph of several lines; empty if it is long or a single line."""
    paragraph = text.rpartition("\n\n")[2]
    sentence = " ".join(_SENTENCE_START.split(paragraph)[-1].split())
    whole = "\n" in paragraph and CELL_END not in paragraph and not sentence[0].islower()
    return sentence if whole and len(sentence) < MAX_CAPTION else ""


def _titles(lines: Sequence[str]) -> Iterator[str]:
    for line in reversed(lines):
        if CELL_END in line or len(line) > _MAX_LINE or _SENTENCE_END.search(line):
            return
        if line:
            yield line


def _without(line: str, row: str) -> str:
    """The words of a header's line that are in no column's name in `row`."""
    known = set(_WORD.findall(row.casefold()))
    return " ".join(
        word for word in line.split() if not known.issuperset(_WORD.findall(word.casefold()))
    )


def _join_nearest(lines: Sequence[str]) -> str:
    """As many of the last lines as fit, in their order."""
    caption = ""
    for line in reversed(lines):
        if len(line) + len(caption) >= MAX_CAPTION:
            break
        if line in caption:
            continue
        caption = f"{line} {caption}".strip()
    return caption
