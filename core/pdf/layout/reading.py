"""Turns a page's words into its text: rows, columns, paragraphs.

    reading = read_layout(words, width=595, height=842)
    reading.text()

The words may come from pdfium or from OCR. No file and no library is needed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from core.pdf.layout.cells import find_cell_rows, write_cell_row
from core.pdf.layout.lines import Row, find_rows
from core.pdf.layout.order import reading_blocks
from core.pdf.layout.tables import find_tables, write_table
from core.pdf.layout.text import Token, is_right_to_left, join_tokens, write_lines
from core.pdf.layout.words import Word, upright


@dataclass(frozen=True, slots=True)
class Reading:
    """A page in reading order. The joined texts of `tokens` are the page's text."""

    tokens: list[Token] = field(default_factory=list)

    def text(self) -> str:
        return join_tokens(self.tokens)


def read_layout(words: Sequence[Word], *, width: float, height: float) -> Reading:
    """The words of a page of `width` by `height` points in reading order.

    Text of the page's main direction comes first, then text turned by 90 or 180
    degrees, then text at other angles.
    """
    tokens: list[Token] = []
    for turn, group in _by_direction(words):
        blocks = [_write_slanted(group)] if turn is None else _write_upright(group, width, height)
        for block in blocks:
            if tokens:
                block[0] = block[0]._replace(separator="\n\n")
            tokens += block
    return Reading(tokens)


def _by_direction(words: Sequence[Word]) -> list[tuple[int | None, list[Word]]]:
    groups: dict[int | None, list[Word]] = defaultdict(list)
    for word in words:
        groups[word.turn].append(word)
    return sorted(groups.items(), key=lambda item: (item[0] is None, -len(item[1])))


def _write_upright(words: Sequence[Word], width: float, height: float) -> list[list[Token]]:
    pieces = [upright(word, width, height) for word in words]
    backwards = is_right_to_left(pieces)
    blocks = reading_blocks(find_rows(pieces), right_to_left=backwards)
    return [list(_write_block(block)) for block in blocks]


def _write_block(rows: Sequence[Row]) -> Iterator[Token]:
    """A column's lines, and its tables row by row."""
    position, separator = 0, ""
    for table in find_tables(rows):
        if table.first > position:
            yield from _write_text(rows[position : table.first], separator)
            separator = "\n\n"
        yield from write_table(table, separator=separator)
        separator, position = "\n\n", table.last
    if position < len(rows):
        yield from _write_text(rows[position:], separator)


def _write_text(rows: Sequence[Row], separator: str) -> Iterator[Token]:
    """Lines, and tables whose cells have several lines."""
    position = 0
    for first, last in find_cell_rows(rows):
        if first > position:
            yield from write_lines(rows[position:first], separator=separator)
            separator = "\n\n"
        yield from write_cell_row(rows[first:last], separator=separator)
        separator, position = "\n", last
    if position < len(rows):
        yield from write_lines(rows[position:], separator="\n\n" if position else separator)


def _write_slanted(words: Sequence[Word]) -> list[Token]:
    """Words at an angle, in their own order, with a line for each baseline."""
    tokens: list[Token] = []
    for _, line in groupby(words, key=lambda word: round(word.baseline)):
        for index, word in enumerate(line):
            separator = " " if index else "\n" if tokens else ""
            tokens.append(Token(separator, word.text, (word,)))
    return tokens
