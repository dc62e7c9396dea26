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
from functools import lru_cache

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
_TITLE = re.compile(r"[^\W\d_]{3}")
_CONTENTS = re.compile(r"table of contents|back to (?:top|contents)|https?:|www\.")
# Of a page's words. On slides and forms a title is more, in reports a running header is less.
_MIN_TITLE_SHARE = 0.15
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
    """The text of page `number` without its running headers and footers, see `take_furniture`."""
    return take_furniture(number, texts)[0]


def take_furniture(number: int, texts: Mapping[int, str]) -> tuple[str, str]:
    """The text of page `number` without its running headers and footers, and its running title.

    `texts` has the cleaned texts of the page and of the pages within `WINDOW` of it.
    Up to three lines at each end are removed if two of the other pages have them too, apart
    from page numbers, and one of these pages comes before: the first of a series of headers
    stays, so that the document loses no word. A page whose following lines also repeat
    keeps all of them. A title that makes up much of a slide or form stays in its text;
    otherwise the lines above the text, without page numbers, are the running title.
    """
    lines = texts[number].split("\n")
    near = [page for page in range(number - WINDOW, number + WINDOW + 1) if page in texts]
    edges = {page: _edges(page, texts[page]) for page in near}
    tops = {page: both[0] for page, both in edges.items()}
    top = _count_furniture(number, tops)
    running = lines[: top or _count_furniture(number, tops, also_first=True)]
    bottom = _count_furniture(number, {page: both[1] for page, both in edges.items()})
    titles = [title for line in running if (title := _title(line, number))]
    body = lines[top : len(lines) - bottom]
    if top and _count_words(titles) > _MIN_TITLE_SHARE * _count_words([*titles, *body]):
        return "\n\n".join(["\n".join(titles), "\n".join(body).strip()]), ""
    return "\n".join(body).strip(), " ".join(titles)[:_MAX_LINE_CHARS]


def _title(line: str, page: int) -> str:
    """The words of a header; empty if it has none, or only says where the contents are."""
    found = _split_numbers(line.casefold(), page)[0] if len(line) <= _MAX_LINE_CHARS else ""
    if not _TITLE.search(found) or _CONTENTS.search(found):
        return ""
    if "#" not in found:
        return line
    start = found.index("#")
    return (line[:start] if start else line[len(line) - len(found) + 1 :]).strip(" |•·–—-")


def _count_words(lines: Sequence[str]) -> int:
    return sum(len(line.split()) for line in lines)


def _count_furniture(
    number: int, edges: Mapping[int, Sequence[_Line]], *, also_first: bool = False
) -> int:
    """How many leading lines of page `number` are furniture, or are the first of their series."""
    others = {page: edge for page, edge in edges.items() if page != number}
    # On numbered forms all lines match the neighbours. Then only exact repeats are furniture.
    for alike in (_Line.matches, _Line.repeats):
        count = _count_alike(edges[number], others, alike, also_first=also_first)
        if count is not None:
            return count
    return 0


def _count_alike(
    own: Sequence[_Line],
    edges: Mapping[int, Sequence[_Line]],
    alike: Callable[[_Line, _Line], bool],
    *,
    also_first: bool,
) -> int | None:
    """The number of leading lines that the neighbours have too.

    None if even more lines repeat: then the pages repeat their content, as forms and slides do.
    """
    count = 0
    for line in own:
        found = [page for page, edge in edges.items() if any(alike(line, one) for one in edge)]
        is_first = bool(found) and min(found) > line.page
        if len(found) < _MIN_MATCHES or (is_first and not also_first):
            return count
        count = line.position + 1
    return None


@lru_cache(maxsize=4 * WINDOW)
def _edges(page: int, text: str) -> tuple[list[_Line], list[_Line]]:
    """The lines that may be furniture, from the top and from the bottom. Neighbours ask again."""
    lines = text.split("\n")
    return _edge(page, lines), _edge(page, lines[::-1])


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
