"""Running headers and footers: found by looking a few pages around, then dropped.

Whether a line is furniture is decided by the pages within `WINDOW` of its own
and by nothing else, so a page reads the same in whichever range it is parsed.
"""

import re
from collections.abc import Mapping, Sequence

# Two pages to either side see headers that alternate between left and right pages.
WINDOW = 2
_MAX_LINES = 3
_MAX_LINE_CHARS = 160
_MIN_NEIGHBOURS = 2
_DIGITS = re.compile(r"\d+")
_LETTER = re.compile(r"[^\W\d_]")


def strip_furniture(number: int, texts: Mapping[int, str]) -> str:
    """The text of page `number` without its running headers and footers.

    `texts` holds the cleaned texts of the page and of those within `WINDOW` of
    it. Up to three lines at either end go when two of these pages have them
    there too, digits aside; a bare number goes when it counts with the pages.
    """
    lines = texts[number].split("\n")
    neighbours = [
        (other, texts[other].split("\n"))
        for other in range(number - WINDOW, number + WINDOW + 1)
        if other != number and other in texts
    ]
    top = _count_furniture(number, lines, neighbours)
    reversed_neighbours = [(other, page[::-1]) for other, page in neighbours]
    bottom = _count_furniture(number, lines[::-1], reversed_neighbours)
    return "\n".join(lines[top : len(lines) - bottom]).strip()


def _count_furniture(
    number: int, lines: Sequence[str], neighbours: Sequence[tuple[int, Sequence[str]]]
) -> int:
    """How many leading lines are furniture."""
    known = [_edge_keys(other, page) for other, page in neighbours]
    count = 0
    for position, key in _edge(number, lines):
        if sum(key in keys for keys in known) < _MIN_NEIGHBOURS:
            break
        count = position + 1
    return count


def _edge_keys(number: int, lines: Sequence[str]) -> set[tuple[str, int]]:
    return {key for _, key in _edge(number, lines)}


def _edge(number: int, lines: Sequence[str]) -> list[tuple[int, tuple[str, int]]]:
    """Position and key of the lines that may be furniture: few, and fewer on a short page."""
    filled = [(position, line) for position, line in enumerate(lines) if line]
    allowed = min(_MAX_LINES, len(filled) // 4)
    return [(position, _key(number, line)) for position, line in filled[:allowed]]


def _key(number: int, line: str) -> tuple[str, int]:
    """Equal for lines that differ only by their page numbers."""
    if len(line) > _MAX_LINE_CHARS:
        return (line, number)  # prose: equal to no neighbour's
    if _LETTER.search(line):
        return (_DIGITS.sub("#", line.casefold()), 0)
    # Without a letter it may be a row of a table: page numbers keep their distance to the page.
    numbers = _DIGITS.findall(line)
    offset = int(numbers[0][:9]) - number if len(numbers) == 1 else number
    return (_DIGITS.sub("#", line), offset)
