"""Cuts pages into chunks of whole sentences, of about `size` tokens, from known pages. Pure.

Several workers chunk ranges of one document, independently. So whether a sentence runs
over the edge of a page depends only on the two pages at the edge (`sentences.continues`).
Such a sentence belongs to the page where it begins, and the range of the following page
skips exactly the segment that completes it. Footnotes between the two parts of the
sentence go into a separate chunk.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from core.documents.captions import caption_above
from core.pdf import OutlineEntry, PageText
from core.text.sentences import Segment, continues, split_sentences
from core.text.table_rows import CELL_END

CountTokens = Callable[[str], int]
Texts = Mapping[int, str]
Segments = Mapping[int, Sequence[Segment]]

# Real text has some 4 characters per token. A limit is needed because the tokenizer turns any
# unknown word, however long, into one token.
_MAX_CHARS_PER_TOKEN = 10
_MAX_OVERLAP_SHARE = 0.25
_MAX_HEADING_CHARS = 200
_MAX_ENTRIES_PER_PAGE = 50
_TITLE_WORDS = 12
_MAX_ROW = 1000  # characters of a table's row within which its first cell ends
# The mark and the first letter of a footnote, and a page number below it.
_NOTE = re.compile(r"(?:\^?\d{1,2}|[*†‡§¶]{1,3}|\([a-z\d]\)|\[\d{1,2}\]) ?[^\W\d_]")
_PAGE_NUMBER = re.compile(r"\d{1,4}")


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk before it has an id and a vector.

    On one page, `text` is a slice of that page's text. On two pages, it is two such slices with
    a space between them, and the second begins at `page_break`. `heading` is the section's, or
    None. `title` is the running title of its first page, `caption` says what the table is of in
    which the chunk begins. Both may be empty.
    """

    text: str
    page_start: int
    page_end: int
    heading: str | None
    page_break: int | None = None
    title: str = ""
    caption: str = ""

    @property
    def context(self) -> str:
        """The running title, the heading and the caption as one line, without repeats."""
        context = ""
        for part in (self.title, self.heading or "", self.caption):
            if part and part not in context:
                context = f"{context}: {part}" if context else part
        return context


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

    `pages` contains them and, if the document has them, pages `first - 1` and `last + 1`.
    `count_tokens` counts without special tokens and is called about once per sentence. A chunk
    has at most `size` tokens, and repeats up to `overlap` sentences of the previous chunk on the
    same page. With `overlap` 0, each sentence is in exactly one chunk of the document, no matter
    how the document is split into ranges.
    """
    texts = {page.number: page.text for page in pages}
    segments = {number: split_sentences(text) for number, text in texts.items()}
    cutter = _Cutter(texts=texts, segments=segments, count_tokens=count_tokens, size=size)
    headings = _Headings(texts, segments, outline)
    by_number = {page.number: page for page in pages}
    drafts = []
    for number in range(first, last + 1):
        if number in texts:
            for units in cutter.streams(number):
                for start, chunk in _pack(units, size=size, overlap=overlap):
                    draft = _draft(chunk, texts, headings.at(number, start))
                    page = by_number[number]
                    caption = caption_above(page.text, start, carried=page.caption)
                    drafts.append(replace(draft, title=page.title, caption=caption))
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
        """The units of page `number`, and those of footnotes inside its last sentence.

        The first list ends with the end of the last sentence, which may be on the next page.
        """
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
        """Whether page `number` begins with the end of a sentence of the previous page."""
        if number - 1 not in self._texts or number not in self._texts:
            return False
        return self._continues(self._main_segments(number - 1), number)

    def _continues(self, segments: Sequence[Segment], number: int) -> bool:
        before = self._texts[number - 1], segments
        return continues(*before, self._texts[number], self._segments[number])

    def _main_segments(self, number: int) -> Sequence[Segment]:
        """The page's segments without footnotes that interrupt its last sentence."""
        main = self._without_notes(number)
        parts = len(main) < len(self._segments[number]) and self._continues(main, number + 1)
        return main if parts else self._segments[number]

    def _without_notes(self, number: int) -> Sequence[Segment]:
        """The page's segments without paragraphs at its end that begin with a footnote's mark."""
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
        """Cut the segment into units of at most `size` tokens: at line ends, else at spaces."""
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
    """Runs of units that fill a chunk, each with the start of its text after the overlap."""
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
    """Group units that stay together: a heading and its text, a sentence and its second part."""
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
    """The last sentences of a chunk that the next chunk repeats, if they are short."""
    carried: list[_Unit] = []
    for unit in reversed(chunk[-overlap:] if overlap else []):
        if _tokens(carried) + unit.tokens > _MAX_OVERLAP_SHARE * size:
            break
        carried.insert(0, unit)
    return carried


def _draft(units: Sequence[_Unit], texts: Texts, heading: str | None) -> ChunkDraft:
    """Join the units to a draft: one slice per page, with the white space between its units."""
    first, last = units[0].page, units[-1].page
    parts = []
    for page in range(first, last + 1):
        own = [unit for unit in units if unit.page == page]
        if own:
            parts.append(texts[page][own[0].start : own[-1].end])
    page_break = len(parts[0]) + 1 if len(parts) > 1 else None
    return ChunkDraft(" ".join(parts), first, last, heading, page_break)


def _names_columns(text: str, end: int) -> bool:
    """Whether the line before `end` is directly above a table's row: its header or a group."""
    return CELL_END in text[end + 1 : end + _MAX_ROW].split("\n", 1)[0]


class _Headings:
    """Finds the section of a position: first by headings on the page, then by the outline.

    Without either, it is the last heading of the previous page. It looks no further back,
    because the pages before that may be in another range.
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
        """The outline's entries for this page, at the position of their words or of its top."""
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
            if segment.heading and not _names_columns(text, segment.end):
                yield segment.start, " ".join(text[segment.start : segment.end].split())
