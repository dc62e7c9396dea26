"""Arguments and results of the parser: plain values that are sent to the child as JSON."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Engine = Literal["auto", "pypdf", "pdfium"]
# The source of a page's text: its text layer or OCR. A `scan` has no text, or only a stamp. The
# text layer of an `unreadable` page has no mapping to characters.
Reading = Literal["text", "ocr", "scan", "unreadable"]

# Increase it when the reader's text for the same file changes.
READER_VERSION = 6

# ISO 32000-2, 7.5.2. Readers accept bytes before it, such as the headers of a mail: Acrobat
# 1024 bytes, pypdf more.
PDF_MARK = b"%PDF-"
HEAD_BYTES = 8 * 1024  # the mark must be in these first bytes


@dataclass(frozen=True, slots=True)
class OutlineEntry:
    """A bookmark. `level` counts from 0 at the top, `page` from 1."""

    level: int
    title: str
    page: int


@dataclass(frozen=True, slots=True)
class DocumentNote:
    """Something in the file that was not read: a stable `code` and a sentence for people."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class LabelRange:
    """The labels of pages from `page` (from 1) on: `prefix` and a number that begins at `start`.

    `style` is a letter of ISO 32000-2, 12.4.2: D, R, r, A, a; empty for no number.
    """

    page: int
    style: str
    prefix: str
    start: int


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """Facts about a file apart from its text. `title` is that of its metadata.

    `known_words` are words that a line end breaks, as other pages write them
    (`core.pdf.known_words`).
    """

    page_count: int
    title: str | None
    outline: tuple[OutlineEntry, ...]
    notes: tuple[DocumentNote, ...] = ()
    labels: tuple[LabelRange, ...] = ()
    known_words: tuple[str, ...] = ()


class OcrWord(NamedTuple):
    """A word that OCR found; its box in shares (0 to 1) of the displayed page, from top left."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class PageText:
    """One page's cleaned text, with its lines. `number` counts from 1; `engine` has read it.

    The text may be empty (a scan), or noise if `reading` is `unreadable`. It has no NUL and no
    surrogate, so PostgreSQL can store it. `label` is the page's printed number by its page
    label (ISO 32000-2, 12.4.2), None if it has none. `notes` are codes for content of the page
    that was not read. `words` are those that OCR found, empty without OCR. `caption` is that of
    the table with which the page goes on from the page before, with its unit; else empty. `title`
    is a running title that was taken out of `text`; else empty.
    """

    number: int
    text: str
    engine: str
    label: str | None = None
    reading: Reading = "text"
    notes: tuple[str, ...] = ()
    words: tuple[OcrWord, ...] = ()
    caption: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """Limits of one call. A call that exceeds one fails with `pdf_too_complex`.

    `timeout_seconds` limits wall and processor time of a call, `page_seconds`
    the processor time of one page, `ocr_seconds` that of its OCR, `memory_mb` the
    address space of the child process, `max_page_chars` the raw text of one page.
    `words_seconds` is the processor time for finding a document's known words; the pages after it
    are not looked at. `recycle_mb` is no limit: a child with more resident memory is replaced after
    the call.
    """

    timeout_seconds: float = 60.0
    memory_mb: int = 1024
    max_pages: int = 10_000
    page_seconds: float = 10.0
    max_page_chars: int = 1_000_000
    recycle_mb: int = 192
    ocr_seconds: float = 45.0
    words_seconds: float = 3.0
