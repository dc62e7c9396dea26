"""Pages to chunks: about `size` tokens of whole sentences, each from a known page. Pure.

Workers that know nothing of each other chunk ranges of one document. So the two
pages at a page's edge decide alone (`sentences.continues`) whether a sentence runs
over it. Such a sentence belongs to the page where it begins, and the range of the
following page skips exactly the segment that completes it. Footnotes between the
two parts of the sentence go into a chunk of their own.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.pdf import OutlineEntry, PageText
from core.text.sentences import Segment, continues, split_sentences

CountTokens = Callable[[str], int]
Texts = Mapping[int, str]
Segments = Mapping[int, Sequence[Segment]]

# A tokenizer makes one unknown token of a word of any length. Text has some 4 characters a token.
_MAX_CHARS_PER_TOKEN = 10
_MAX_OVERLAP_SHARE = 0.25
_MAX_HEADING_CHARS = 200
_MAX_ENTRIES_PER_PAGE = 50
_TITLE_WORDS = 12
# A note's mark and its text, or the page's number below it.
_NOTE = re.compile(r"(?:\^?\d{1,2}|[*†‡§¶]{1,3}|\([a-z\d]\)|\[\d{1,2}\]) ?[^\W\d_]")
_PAGE_NUMBER = re.compile(r"\d{1,4}")


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk before it has an id and a vector.

    On one page, `text` is a slice of that page's text. From `page_start` to `page_end` it is two
    such slices with a space between them, the second from `page_break` on. `heading` is the
    section's, or None.
    """

    text: str
    page_start: int
    page_end: int
    heading: str | None
    page_break: int | None = None


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece of a page that stays whole: `texts[page][start:end]`."""

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
    size: int = 230,
    overlap: int = 0,
    outline: Sequence[OutlineEntry] = (),
) -> list[ChunkDraft]:
    """The chunks of pages `first` to `last`, in reading order.

    `pages` holds them and, if the document has them, pages `first - 1` and `last + 1`.
    `count_tokens` counts without special tokens and is called about once per sentence. A chunk
    has at most `size` tokens. With `overlap` it repeats up to that many sentences of the chunk
    before it on the same page. With `overlap` 0 the chunks of all ranges hold each sentence
    once, however the document is split into ranges.
    """
    texts = {page.number: page.text for page in pages}
    segments = {number: split_sentences(text) for number, text in texts.items()}
    cutter = _Cutter(texts=texts, segments=segments, count_tokens=count_tokens, size=size)
    headings = _Headings(texts, segments, outline)
    drafts = []
    for number in range(first, last + 1):
        if number in texts:
            for units in cutter.streams(number):
                for start, chunk in _pack(units, size=size, overlap=overlap):
                    drafts.append(_draft(chunk, texts, headings.at(number, start)))
    return drafts


class _Cutter:
    """Cuts pages into units."""

    def __init__(
        self, *, texts: Texts, segments: Segments, count_tokens: CountTokens, size: int
    ) -> None:
        self._texts = texts
        self._segments = segments
        self._count_tokens = count_tokens
        self._size = size

    def streams(self, number: int) -> list[list[_Unit]]:
        """The units of page `number` with the end of its last sentence; then notes before that."""
        segments = list(self._segments[number])
        if self._runs_into(number):
            segments = segments[1:]
        if not segments or not self._runs_into(number + 1):
            return [self._units(number, segments)]
        main = self._main_segments(number)
        count = max(0, len(segments) - (len(self._segments[number]) - len(main)))
        own, notes = segments[:count], segments[count:]
        end = self._units(number + 1, self._segments[number + 1][:1])
        return [self._units(number, own) + end, self._units(number, notes)]

    def _units(self, number: int, segments: Sequence[Segment]) -> list[_Unit]:
        return [unit for segment in segments for unit in self._divide(number, segment)]

    def _runs_into(self, number: int) -> bool:
        """Whether page `number` begins with the end of a sentence of the page before."""
        if number - 1 not in self._texts or number not in self._texts:
            return False
        return self._continues(self._main_segments(number - 1), number)

    def _continues(self, segments: Sequence[Segment], number: int) -> bool:
        before = self._texts[number - 1], segments
        return continues(*before, self._texts[number], self._segments[number])

    def _main_segments(self, number: int) -> Sequence[Segment]:
        """The page's segments without the footnotes that part a sentence from its end overleaf."""
        main = self._without_notes(number)
        parts = len(main) < len(self._segments[number]) and self._continues(main, number + 1)
        return main if parts else self._segments[number]

    def _without_notes(self, number: int) -> Sequence[Segment]:
        """The page's segments before the paragraphs at its end that begin with a note's mark."""
        text, segments = self._texts[number], self._segments[number]
        end = len(segments)
        for index in range(len(segments) - 1, 0, -1):
            start = segments[index].start
            part = text[start : segments[index].end]
            if not _PAGE_NUMBER.fullmatch(part) and text[max(0, start - 2) : start] == "\n\n":
                if not _NOTE.match(part):
                    break
                end = index
            elif _PAGE_NUMBER.fullmatch(part) and end == index + 1:
                end = index
        return segments[:end]

    def _divide(self, page: int, segment: Segment) -> Iterator[_Unit]:
        """The segment as units of at most `size` tokens: whole, by lines, by words."""
        text = self._texts[page]
        spans = [(segment.start, segment.end)]
        while spans:
            start, end = spans.pop()
            tokens = self._measure(text[start:end])
            if tokens <= self._size or end - start == 1:
                yield _Unit(page, start, end, tokens, segment.heading)
            else:
                spans.extend(reversed(_halve(text, start, end)))

    def _measure(self, text: str) -> int:
        return max(self._count_tokens(text), -(-len(text) // _MAX_CHARS_PER_TOKEN))


def _halve(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Split at the line break nearest to the middle, else at a space, else in the middle."""
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
    """Runs of units that fill a chunk, with the place where its own text begins."""
    chunk: list[_Unit] = []
    carried: list[_Unit] = []
    for group in _glue_headings(units, size):
        if chunk and _tokens(carried) + _tokens(chunk) + _tokens(group) > size:
            yield chunk[0].start, carried + chunk
            carried = _carry(chunk, overlap, size)
            carried = carried if _tokens(carried) + _tokens(group) <= size else []
            chunk = []
        chunk = chunk + group
    if chunk:
        yield chunk[0].start, carried + chunk


def _glue_headings(units: Sequence[_Unit], size: int) -> list[list[_Unit]]:
    """Groups that stay together: a heading and its text, a sentence and its end overleaf."""
    groups: list[list[_Unit]] = []
    for unit in units:
        joined = groups and (groups[-1][-1].heading or groups[-1][-1].page != unit.page)
        if joined and _tokens(groups[-1]) + unit.tokens <= size:
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return groups


def _tokens(units: Sequence[_Unit]) -> int:
    return sum(unit.tokens for unit in units)


def _carry(chunk: Sequence[_Unit], overlap: int, size: int) -> list[_Unit]:
    """The last sentences of a chunk, if they are short: the next chunk begins with them."""
    carried: list[_Unit] = []
    for unit in reversed(chunk[-overlap:] if overlap else []):
        if _tokens(carried) + unit.tokens > _MAX_OVERLAP_SHARE * size:
            break
        carried.insert(0, unit)
    return carried


def _draft(units: Sequence[_Unit], texts: Texts, heading: str | None) -> ChunkDraft:
    """One slice per page: a page's units follow each other, so the space between them is kept."""
    first, last = units[0].page, units[-1].page
    parts = []
    for page in range(first, last + 1):
        own = [unit for unit in units if unit.page == page]
        if own:
            parts.append(texts[page][own[0].start : own[-1].end])
    page_break = len(parts[0]) + 1 if len(parts) > 1 else None
    return ChunkDraft(" ".join(parts), first, last, heading, page_break)


class _Headings:
    """Finds the section of a place by the page's own headings, then by the outline.

    A page without either takes the last heading of the page before it. It looks no further
    back, because another range could not see that far.
    """

    def __init__(self, texts: Texts, segments: Segments, outline: Sequence[OutlineEntry]) -> None:
        self._texts = texts
        self._segments = segments
        self._outline = sorted(outline, key=lambda entry: entry.page)
        self._found: dict[int, list[tuple[int, str]]] = {}

    def at(self, page: int, position: int) -> str | None:
        """The heading of the section at `texts[page][position]`."""
        found = self._on_page(page)
        index = bisect_right(found, position, key=lambda item: item[0])
        if index:
            return found[index - 1][1]
        index = bisect_right(self._outline, page - 1, key=lambda entry: entry.page)
        if index:
            return self._outline[index - 1].title[:_MAX_HEADING_CHARS]
        before = self._on_page(page - 1)
        return before[-1][1] if before else None

    def _on_page(self, page: int) -> list[tuple[int, str]]:
        if page not in self._found:
            self._found[page] = sorted([*self._outlined(page), *self._printed(page)])
        return self._found[page]

    def _outlined(self, page: int) -> Iterator[tuple[int, str]]:
        """The outline's entries for this page, at the place of their words, else at its top."""
        start = bisect_left(self._outline, page, key=lambda entry: entry.page)
        end = bisect_right(self._outline, page, key=lambda entry: entry.page)
        text = self._texts.get(page, "")
        for entry in self._outline[start : min(end, start + _MAX_ENTRIES_PER_PAGE)]:
            words = r"\s+".join(map(re.escape, entry.title.split()[:_TITLE_WORDS]))
            match = re.search(words, text, re.IGNORECASE)
            yield match.start() if match else 0, entry.title[:_MAX_HEADING_CHARS]

    def _printed(self, page: int) -> Iterator[tuple[int, str]]:
        text = self._texts.get(page, "")
        for segment in self._segments.get(page, ()):
            if segment.heading:
                yield segment.start, " ".join(text[segment.start : segment.end].split())
