"""Running headers and footers: found by looking a few pages around, then dropped.

Whether a line is furniture is decided by the pages within `WINDOW` of its own
and by nothing else, so a page reads the same in whichever range it is parsed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# Two pages to either side see headers that alternate between left and right pages.
WINDOW = 2
_MAX_LINES = 3
_MAX_LINE_CHARS = 160
_MIN_MATCHES = 2
_NUMBER = re.compile(r"\d{1,9}")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may be furniture: its text without digits, and its numbers."""

    page: int
    position: int
    skeleton: str
    numbers: tuple[int, ...]

    def matches(self, other: "_Line") -> bool:
        """Whether the two read alike but for numbers that count with the pages."""
        return self.skeleton == other.skeleton and all(
            one == two or one - self.page == two - other.page
            for one, two in zip(self.numbers, other.numbers, strict=True)
        )

    def repeats(self, other: "_Line") -> bool:
        """Whether the two read alike, numbers too."""
        return self.skeleton == other.skeleton and self.numbers == other.numbers


def strip_furniture(number: int, texts: Mapping[int, str]) -> str:
    """The text of page `number` without its running headers and footers.

    `texts` holds the cleaned texts of the page and of those within `WINDOW` of
    it. Up to three lines at either end go when two of these pages have them
    there too, page numbers aside, and one of them comes before: where a header
    begins to run it stays, so that no word is lost from the document. A page
    that goes on like its neighbours after these lines keeps them.
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
    # Where all lines count with the pages (numbered forms), those are furniture that do not.
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
    """Leading lines that the neighbours have too; None if that goes on past the edge.

    Then the pages repeat their content, as forms and slides do.
    """
    count = 0
    for line in own:
        found = [page for page, edge in edges.items() if any(alike(line, one) for one in edge)]
        if len(found) < _MIN_MATCHES or min(found) > line.page:
            return count
        count = line.position + 1
    return None


def _edge(page: int, lines: Sequence[str]) -> list[_Line]:
    """The first lines of a page that may be furniture, few on a short page, and one more."""
    filled = [(position, line) for position, line in enumerate(lines) if line]
    allowed = min(_MAX_LINES, len(filled) // 4)
    return [
        _Line(page, position, _NUMBER.sub("#", line[:_MAX_LINE_CHARS].casefold()), _numbers(line))
        for position, line in filled[: allowed + 1]
    ]


def _numbers(line: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(line[:_MAX_LINE_CHARS]))
