"""Pages to chunks: about `size` tokens of whole sentences, each from a known page. Pure.

A document is cut in ranges of pages by workers that know nothing of each
other, so what happens at a page's edge is decided by the two pages at it
(`sentences.continues`): a sentence that runs on belongs to the page where it
begins, and the range of the following page skips exactly what completes it.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.pdf import OutlineEntry, PageText
from core.sentences import Segment, continues, split_sentences

CountTokens = Callable[[str], int]

# A new section starts a chunk of its own once the one before is this full.
_SECTION_FILL = 0.35
# Tokenizers call a word of any length one unknown token; text has some 4 characters a token.
_MAX_CHARS_PER_TOKEN = 10
_MAX_OVERLAP_SHARE = 0.25
_MAX_HEADING_CHARS = 200


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk before it has an id and a vector.

    On one page, `text` stands word for word in that page's text. From
    `page_start` to `page_end` it is two such parts with a space between.
    `heading` is the section's, None where none was found.
    """

    text: str
    page_start: int
    page_end: int
    heading: str | None


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece of a page that is not divided: `texts[page][start:end]`."""

    page: int
    start: int
    end: int
    tokens: int
    heading: bool = False


def chunk_pages(
    pages: Sequence[PageText],
    *,
    first: int,
    last: int,
    count_tokens: CountTokens,
    size: int = 200,
    overlap: int = 0,
    outline: Sequence[OutlineEntry] = (),
) -> list[ChunkDraft]:
    """The chunks of pages `first` to `last`, in reading order.

    `pages` are these and, where the document has them, pages `first - 1` and
    `last + 1`. `count_tokens` counts without special tokens; it is called
    about once per sentence. A chunk has at most `size` tokens and repeats, with
    `overlap`, up to that many sentences of the one before on the same page.
    The chunks of all ranges of a document hold each sentence once (with
    `overlap` 0), however it is cut into ranges.
    """
    texts = {page.number: page.text for page in pages}
    cutter = _Cutter(texts=texts, count_tokens=count_tokens, size=size)
    headings = _Headings(texts, outline)
    drafts = []
    for number in range(first, last + 1):
        if number in texts:
            units = cutter.units(number)
            for start, chunk in _pack(units, size=size, overlap=overlap):
                drafts.append(_draft(chunk, texts, headings.at(number, start)))
    return drafts


class _Cutter:
    """Cuts pages into units; remembers the segments of the pages it has seen."""

    def __init__(self, *, texts: dict[int, str], count_tokens: CountTokens, size: int) -> None:
        self._texts = texts
        self._count_tokens = count_tokens
        self._size = size
        self._segments: dict[int, list[Segment]] = {}

    def units(self, number: int) -> list[_Unit]:
        """The units that page `number` is to be chunked from, the end of its last sentence too."""
        segments = self._split(number)
        if self._runs_into(number):
            segments = segments[1:]
        units = [unit for segment in segments for unit in self._divide(number, segment)]
        if segments and self._runs_into(number + 1):
            units += self._divide(number + 1, self._split(number + 1)[0])
        return units

    def _split(self, number: int) -> list[Segment]:
        if number not in self._segments:
            self._segments[number] = split_sentences(self._texts[number])
        return self._segments[number]

    def _runs_into(self, number: int) -> bool:
        """Whether page `number` begins with the end of a sentence of the page before."""
        before, after = self._texts.get(number - 1), self._texts.get(number)
        return before is not None and after is not None and continues(before, after)

    def _divide(self, page: int, segment: Segment) -> Iterator[_Unit]:
        """The segment as units of at most `size` tokens: whole, by lines, by words."""
        text = self._texts[page]
        spans = [(segment.start, segment.end)]
        while spans:
            start, end = spans.pop()
            tokens = self._count_tokens(text[start:end])
            if self._fits(tokens, end - start):
                yield _Unit(page, start, end, tokens, segment.heading)
            else:
                spans.extend(reversed(_halve(text, start, end)))

    def _fits(self, tokens: int, chars: int) -> bool:
        return chars <= 1 or (tokens <= self._size and chars <= self._size * _MAX_CHARS_PER_TOKEN)


def _halve(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Two parts, cut at the line break nearest to the middle; else at a space; else there."""
    middle = (start + end) // 2
    for separator in ("\n", " "):
        left = text.rfind(separator, start, middle)
        right = text.find(separator, middle, end)
        cuts = [cut for cut in (left, right) if start < cut < end - 1]
        if cuts:
            cut = min(cuts, key=lambda position: abs(position - middle))
            return [_strip(text, start, cut), _strip(text, cut, end)]
    return [(start, middle), (middle, end)]


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _pack(units: Sequence[_Unit], *, size: int, overlap: int) -> Iterator[tuple[int, list[_Unit]]]:
    """Runs of units that make a chunk, with the place where its own text begins.

    Chunks of a page are made about equally full: 120 + 120 rather than 200 + 40.
    """
    groups = _glue_headings(units, size)
    left = sum(unit.tokens for unit in units)
    chunk: list[_Unit] = []
    carried: list[_Unit] = []
    used, target = 0, _target(left, size)
    for group in groups:
        tokens = sum(unit.tokens for unit in group)
        if chunk and _is_full(used, tokens, target, size, group[0].heading):
            yield chunk[0].start, carried + chunk
            left -= used
            carried = _carry(chunk, overlap, size)
            chunk, used, target = [], 0, _target(left, size)
        chunk += group
        used += tokens
    if chunk:
        yield chunk[0].start, carried + chunk


def _glue_headings(units: Sequence[_Unit], size: int) -> list[list[_Unit]]:
    """Groups that stay together: a heading and what it heads, a sentence and its end overleaf."""
    groups: list[list[_Unit]] = []
    for unit in units:
        joined = groups and (groups[-1][-1].heading or groups[-1][-1].page != unit.page)
        if joined and sum(part.tokens for part in groups[-1]) + unit.tokens <= size:
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return groups


def _target(tokens: int, size: int) -> float:
    chunks = max(1, -(-tokens // size))
    return tokens / chunks


def _is_full(used: int, tokens: int, target: float, size: int, heading: bool) -> bool:
    if used + tokens > size or (heading and used >= _SECTION_FILL * size):
        return True
    return used + tokens / 2 > target


def _carry(chunk: Sequence[_Unit], overlap: int, size: int) -> list[_Unit]:
    """The last sentences of a chunk, if they are short, to begin the next one with."""
    carried: list[_Unit] = []
    for unit in reversed(chunk[-overlap:] if overlap else []):
        if sum(part.tokens for part in carried) + unit.tokens > _MAX_OVERLAP_SHARE * size:
            break
        carried.insert(0, unit)
    return carried


def _draft(units: Sequence[_Unit], texts: dict[int, str], heading: str | None) -> ChunkDraft:
    """One slice per page: units of a page follow each other, so what is between is kept."""
    first, last = units[0].page, units[-1].page
    parts = []
    for page in range(first, last + 1):
        own = [unit for unit in units if unit.page == page]
        if own:
            parts.append(texts[page][own[0].start : own[-1].end])
    return ChunkDraft(" ".join(parts), first, last, heading)


class _Headings:
    """Which section a place belongs to, by the page's own headings, then by the outline.

    A page without either takes the last heading of the page before it; it
    looks no further back, because another range would not see that far.
    """

    def __init__(self, texts: dict[int, str], outline: Sequence[OutlineEntry]) -> None:
        self._texts = texts
        self._outline = sorted(outline, key=lambda entry: entry.page)
        self._found: dict[int, list[tuple[int, str]]] = {}

    def at(self, page: int, position: int) -> str | None:
        """The heading in force at `texts[page][position]`."""
        found = self._on_page(page)
        index = bisect_right(found, position, key=lambda item: item[0])
        if index:
            return found[index - 1][1]
        if entry := self._outlined(page - 1):
            return entry
        before = self._on_page(page - 1)
        return before[-1][1] if before else None

    def _outlined(self, page: int) -> str | None:
        index = bisect_right(self._outline, page, key=lambda entry: entry.page)
        return self._outline[index - 1].title[:_MAX_HEADING_CHARS] if index else None

    def _on_page(self, page: int) -> list[tuple[int, str]]:
        if page not in self._found:
            self._found[page] = list(self._find(page))
        return self._found[page]

    def _find(self, page: int) -> Iterator[tuple[int, str]]:
        text = self._texts.get(page, "")
        for segment in split_sentences(text):
            if segment.heading:
                yield segment.start, " ".join(text[segment.start : segment.end].split())
