"""Turns a page's words into its text: rows, columns, paragraphs.

    reading = read_layout(words, width=595, height=842)
    reading.text()

The words may come from pdfium or from OCR. No file and no library is needed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from core.pdf.layout.cells import find_cell_rows, write_cell_row
from core.pdf.layout.grids import Grid, find_grids
from core.pdf.layout.lines import Row, find_rows
from core.pdf.layout.order import reading_blocks
from core.pdf.layout.overleaf import (
    TableHead,
    find_rest,
    find_start,
    goes_on,
    head_of,
    may_go_on,
    with_top,
)
from core.pdf.layout.ruled import place_tables, take_ruled_tables, with_stand_ins
from core.pdf.layout.table_text import write_table
from core.pdf.layout.tables import Table
from core.pdf.layout.text import Token, is_right_to_left, join_tokens, write_lines
from core.pdf.layout.typed_tables import take_typed_tables
from core.pdf.layout.words import Box, Word, upright, upright_box


@dataclass(frozen=True, slots=True)
class Reading:
    """A page in reading order. The joined texts of `tokens` are the page's text.

    `wants_head` says that the page begins with a table that may go on from the page before: read
    the layout again with that page's `head`, which describes the table at its end. `caption` is
    that of the table with which the page goes on.
    """

    tokens: list[Token] = field(default_factory=list)
    wants_head: bool = False
    head: TableHead | None = None
    caption: str = ""

    def text(self) -> str:
        return join_tokens(self.tokens)


def read_layout(
    words: Sequence[Word],
    *,
    width: float,
    height: float,
    above: TableHead | None = None,
    rules: Sequence[Box] = (),
) -> Reading:
    """The words of a page of `width` by `height` points in reading order.

    Text of the page's main direction comes first, then text turned by 90 or 180
    degrees, then text at other angles. `above` is the `head` of the page before. `rules` are the
    lines that are drawn on the page.
    """
    tokens: list[Token] = []
    page = Reading()
    for index, (turn, group) in enumerate(_by_direction(words)):
        if turn is None:
            blocks = [_write_slanted(group)]
        else:
            group, typed = take_typed_tables(group) if turn == 0 else (group, [])
            size = (width, height)
            lines = [upright_box(rule, turn, *size) for rule in rules] if turn else rules
            blocks, read = _write_upright(group, size, lines, typed, above if index == 0 else None)
            page = read if index == 0 else page
        for block in blocks:
            if tokens:
                block[0] = block[0]._replace(separator="\n\n")
            tokens += block
    return replace(page, tokens=tokens)


def _by_direction(words: Sequence[Word]) -> list[tuple[int | None, list[Word]]]:
    groups: dict[int | None, list[Word]] = defaultdict(list)
    for word in words:
        groups[word.turn].append(word)
    return sorted(groups.items(), key=lambda item: (item[0] is None, -len(item[1])))


def _write_upright(
    words: Sequence[Word],
    size: tuple[float, float],
    rules: Sequence[Box],
    typed: Sequence[Grid],
    above: TableHead | None,
) -> tuple[list[list[Token]], Reading]:
    """The tokens of each block, and what the page says of tables that go on overleaf."""
    pieces = [upright(word, *size) for word in words]
    backwards = is_right_to_left(pieces)
    grids = [*(find_grids(rules) if rules else []), *typed]
    rows, ruled = take_ruled_tables(find_rows(pieces), grids)
    blocks = reading_blocks(with_stand_ins(rows, ruled), right_to_left=backwards)
    placed = [place_tables(block, ruled, rules) for block in blocks]
    blocks, tables = [block for block, _ in placed], [found for _, found in placed]
    page = _continue(rows, blocks, tables, above)
    return [_write_block(*block) for block in zip(blocks, tables, strict=True)], page


def _continue(
    rows: Sequence[Row],
    blocks: Sequence[Sequence[Row]],
    tables: Sequence[list[Table]],
    above: TableHead | None,
) -> Reading:
    """Give the first table the headers of the page before, and describe the last one."""
    if not blocks:
        return Reading()
    first = tables[0][0] if tables[0] else None
    rest = find_rest(blocks[0])
    if rest is not None and (first is None or rest.last <= first.first):
        first = rest
    wants = first is not None and may_go_on(blocks[0], first)
    before = above if first and wants and above and goes_on(blocks[0], first, above) else None
    if before and rest and first is rest:
        tables[0].insert(0, rest)
    start = find_start(blocks[-1])
    if start is not None and (not tables[-1] or tables[-1][-1].last <= start.first):
        tables[-1].append(start)
    last = tables[-1][-1] if tables[-1] else None
    head = head_of(blocks[-1], last, before if last is first else None) if last else None
    return Reading(
        wants_head=wants,
        head=with_top(head, rows) if head else None,
        caption=before.caption if before else "",
    )


def _write_block(rows: Sequence[Row], tables: Sequence[Table]) -> list[Token]:
    """A column's lines, and its tables row by row."""
    tokens: list[Token] = []
    position, separator = 0, ""
    for table in tables:
        if table.first > position:
            tokens += _write_text(rows[position : table.first], separator)
            separator = "\n\n"
        tokens += write_table(table, separator=separator)
        separator, position = "\n\n", table.last
    if position < len(rows):
        tokens += _write_text(rows[position:], separator)
    return tokens


def _write_text(rows: Sequence[Row], separator: str) -> list[Token]:
    """Lines, and tables whose cells have several lines."""
    tokens: list[Token] = []
    position = 0
    for first, last in find_cell_rows(rows):
        if first > position:
            tokens += write_lines(rows[position:first], separator=separator)
            separator = "\n\n"
        tokens += write_cell_row(rows[first:last], separator=separator)
        separator, position = "\n", last
    if position < len(rows):
        tokens += write_lines(rows[position:], separator="\n\n" if position else separator)
    return tokens


def _write_slanted(words: Sequence[Word]) -> list[Token]:
    """Words at an angle, in their own order, with a line for each baseline."""
    tokens: list[Token] = []
    for _, line in groupby(words, key=lambda word: round(word.baseline)):
        for index, word in enumerate(line):
            separator = " " if index else "\n" if tokens else ""
            tokens.append(Token(separator, word.text, (word,)))
    return tokens
