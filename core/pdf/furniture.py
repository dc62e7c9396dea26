"""Removes furniture: running headers and footers, which repeat on the pages around.

Whether a line of a page is furniture depends only on the pages within `WINDOW` of it, so a
page has the same text in every range. A number may differ from page to page only if its
line shows that it is a page number: `Page 3`, `3 of 9`, `Annual report | 3`, or a number
alone that increases with the pages. All other numbers are content: `Invoice 2026-104`,
`Article 5`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# Two pages on each side, because headers may alternate between left and right pages.
WINDOW = 2
_MAX_LINES = 3
_MAX_LINE_CHARS = 160
_MIN_MATCHES = 2
_MAX_OFFSET = 30  # of a number alone from the page's index, which counts covers and contents too
_WORD = r"(?:page|pages|seite|página|pagina|pág\.?|sida|side|strona|стр\.?|p\.|pg\.?)"
_OF = r"(?:\s*(?:of|/|von|de|di|sur|av|из)\s*(\d{1,4}))"
_PAGE_NUMBERS = (
    # The line has nothing but the number.
    re.compile(rf"^[\W_]*{_WORD}\s*(\d{{1,4}}){_OF}?[\W_]*$"),
    re.compile(rf"^[\W_]*(\d{{1,4}}){_OF}[\W_]*$"),
    # The number follows or precedes the words of a header.
    re.compile(rf"(?:[|•·]\s*|\b{_WORD}\s*)(\d{{1,4}}){_OF}?[\W_]*$"),
    re.compile(r"\b(\d{1,4})\s+of\s+(\d{1,4})[\W_]*$"),
    re.compile(rf"^[\W_]*(?:{_WORD}\s*)?(\d{{1,4}}){_OF}?\s*[|•·]"),
)
_NUMBER_ALONE = re.compile(r"[\W_]*(\d{1,4})[\W_]*")
_ROMAN_ALONE = re.compile(r"[\W_]*([ivxlc]{1,7})[\W_]*")
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may be furniture: its text without page numbers, and the numbers."""

    page: int
    position: int
    skeleton: str
    numbers: tuple[int, ...]

    def matches(self, other: "_Line") -> bool:
        """Whether the two have the same text, and page numbers that differ like their pages."""
        return (
            self.skeleton == other.skeleton
            and len(self.numbers) == len(other.numbers)
            and all(
                one == two or one - self.page == two - other.page
                for one, two in zip(self.numbers, other.numbers, strict=True)
            )
        )

    def repeats(self, other: "_Line") -> bool:
        """Whether the two have the same text and the same numbers."""
        return self.skeleton == other.skeleton and self.numbers == other.numbers


def strip_furniture(number: int, texts: Mapping[int, str]) -> str:
    """The text of page `number` without its running headers and footers.

    `texts` has the cleaned texts of the page and of the pages within `WINDOW` of it.
    Up to three lines at each end are removed if two of the other pages have them too, apart
    from page numbers, and one of these pages comes before: the first of a series of headers
    stays, so that the document loses no word. A page whose following lines also repeat
    keeps all of them.
    """
    lines = texts[number].split("\n")
    pages = {
        page: texts[page].split("\n")
        for page in range(number - WINDOW, number + WINDOW + 1)
        if page in texts
    }
    top = _count_furniture(number, pages)
    bottom = _count_furniture(number, {page: lines[::-1] for page, lines in pages.items()})
    return "\n".join(lines[top : len(lines) - bottom]).strip()


def _count_furniture(number: int, pages: Mapping[int, Sequence[str]]) -> int:
    """How many leading lines of page `number` are furniture."""
    edges = {page: _edge(page, lines) for page, lines in pages.items()}
    own = edges.pop(number)
    # On numbered forms all lines match the neighbours. Then only exact repeats are furniture.
    for alike in (_Line.matches, _Line.repeats):
        count = _count_alike(own, edges, alike)
        if count is not None:
            return count
    return 0


def _count_alike(
    own: Sequence[_Line],
    edges: Mapping[int, Sequence[_Line]],
    alike: Callable[[_Line, _Line], bool],
) -> int | None:
    """The number of leading lines that the neighbours have too.

    None if even more lines repeat: then the pages repeat their content, as forms and slides do.
    """
    count = 0
    for line in own:
        found = [page for page, edge in edges.items() if any(alike(line, one) for one in edge)]
        if len(found) < _MIN_MATCHES or min(found) > line.page:
            return count
        count = line.position + 1
    return None


def _edge(page: int, lines: Sequence[str]) -> list[_Line]:
    """The first lines that may be furniture, fewer on a short page, and one line more."""
    filled = [(position, line) for position, line in enumerate(lines) if line]
    allowed = min(_MAX_LINES, len(filled) // 4)
    return [
        _Line(page, position, *_split_numbers(line[:_MAX_LINE_CHARS].casefold(), page))
        for position, line in filled[: allowed + 1]
    ]


def _split_numbers(line: str, page: int) -> tuple[str, tuple[int, ...]]:
    """The line with `#` in place of page numbers, and the numbers."""
    for form in _PAGE_NUMBERS:
        if found := form.search(line):
            numbers = [group for group in found.groups() if group]
            start, end = found.start(1), found.end(len(numbers))
            return f"{line[:start]}#{line[end:]}", tuple(map(int, numbers))
    if found := _NUMBER_ALONE.fullmatch(line):
        if abs(int(found[1]) - page) <= _MAX_OFFSET:
            return line.replace(found[1], "#"), (int(found[1]),)
    elif found := _ROMAN_ALONE.fullmatch(line):
        return line.replace(found[1], "#"), (_roman(found[1]),)
    return line, ()


def _roman(digits: str) -> int:
    values = [_ROMAN[digit] for digit in digits]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )
