"""Turns a page of pdfium into text: words first, then their layout."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pypdfium2.raw as pdfium_c

from core.pdf.annotation_words import with_annotations
from core.pdf.annotations import Annotation
from core.pdf.errors import too_complex
from core.pdf.layout.lines import SEGMENT_GAP
from core.pdf.layout.overleaf import TableHead
from core.pdf.layout.reading import Reading, read_layout
from core.pdf.layout.text import Token
from core.pdf.layout.words import Word
from core.pdf.pdfium_words import PageFrame, WordReader
from core.pdf.ruling import find_rules
from core.pdf.visibility import visible_words

# A page with more characters is read without its layout; it is not made for people.
_MAX_LAYOUT_CHARS = 60_000
_MIN_CELLS = 3


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page's text before cleaning, and what its layout says of tables that go on overleaf.

    The other fields are those of `core.pdf.layout.reading.Reading`.
    """

    text: str
    wants_head: bool = False
    head: TableHead | None = None
    caption: str = ""


def read_page(
    page: Any,
    *,
    max_chars: int,
    plain: bool = False,
    annotations: Sequence[Annotation] = (),
    above: TableHead | None = None,
) -> RawPage:
    """The page's text. Raises Unreadable if it has more than `max_chars`.

    `plain` gives pdfium's own text and order, without drawing the page. `annotations` are
    those that the page's text lacks. `above` is the head of the table at the end of the page
    before.
    """
    with open_text_page(page) as text_page:
        text = _all_text(text_page, max_chars)
        noted = any(one.kind in ("check", "field") for one in annotations)
        empty = not text.strip() and not noted
        if plain or empty or len(text) > _MAX_LAYOUT_CHARS:
            return RawPage(text)
        try:
            reading = _read_layout(page, text_page, text, annotations, above)
            return RawPage(reading.text(), reading.wants_head, reading.head, reading.caption)
        except MemoryError:
            raise
        except Exception:
            return RawPage(text)  # hostile files: coordinates that are no numbers, infinite boxes


def read_raw_text(page: Any, *, max_chars: int) -> str:
    """pdfium's own text. Raises Unreadable if it has more than `max_chars`."""
    with open_text_page(page) as text_page:
        return _all_text(text_page, max_chars)


def read_tokens(
    page: Any, annotations: Sequence[Annotation] = (), above: TableHead | None = None
) -> list[Token]:
    """The page's text as tokens that know their words; empty if the page is read without layout."""
    with open_text_page(page) as text_page:
        count = text_page.count_chars()
        if not 0 < count <= _MAX_LAYOUT_CHARS:
            return []
        try:
            text = _all_text(text_page, count)
            return _read_layout(page, text_page, text, annotations, above).tokens
        except MemoryError:
            raise
        except Exception:
            return []


@contextmanager
def open_text_page(page: Any) -> Iterator[Any]:
    """The page's text, closed at the end: the garbage collector would not free pdfium's memory."""
    text_page = page.get_textpage()
    try:
        yield text_page
    finally:
        text_page.close()


def _read_layout(
    page: Any,
    text_page: Any,
    text: str,
    annotations: Sequence[Annotation],
    above: TableHead | None,
) -> Reading:
    frame = PageFrame(page)
    size = {"width": frame.width, "height": frame.height}
    words = WordReader(text_page, frame, text).words()
    seen = visible_words(page, text_page, words, **size)
    found = with_annotations(seen, annotations, frame)
    rules = find_rules(page, frame, has_cells=_has_cells(found))
    return read_layout(found, **size, above=above, rules=rules)


def _has_cells(words: Sequence[Word]) -> bool:
    """Whether some words of a line are apart from the words before them, as in a table's rows."""
    apart = sum(
        two.baseline == one.baseline and two.left - one.right > SEGMENT_GAP * (two.bottom - two.top)
        for one, two in pairwise(words)
    )
    return apart >= _MIN_CELLS


def _all_text(text_page: Any, max_chars: int) -> str:
    """pdfium's text, in which each index is the number of a character of the page."""
    count = text_page.count_chars()
    if count > max_chars:
        raise too_complex()
    if count <= 0:
        return ""
    buffer = (ctypes.c_ushort * (count * 2 + 1))()
    written = pdfium_c.FPDFText_GetText(text_page, 0, count, buffer)
    text = bytes(buffer)[: max(written - 1, 0) * 2].decode("utf-16-le", errors="replace")
    return text if len(text) == count else _text_by_characters(text_page, count)


def _text_by_characters(text_page: Any, count: int) -> str:
    """The text, one character at a time: pdfium skips some, and needs two units for others."""
    codes = (pdfium_c.FPDFText_GetUnicode(text_page, index) for index in range(count))
    return "".join(chr(code) if code and code < 0x110000 else " " for code in codes)
