"""What the parser gives and takes: plain values that cross the process border as JSON."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Engine = Literal["auto", "pypdf", "pdfium"]
# Where a page's text came from: its text layer or OCR. A scan has no text of its own, or no
# more than a stamp; an unreadable page's text layer has no mapping to characters.
Reading = Literal["text", "ocr", "scan", "unreadable"]

# Counts up when the same file gives another text than before.
READER_VERSION = 2

# ISO 32000-2, 7.5.2. Readers accept something in front of it, a mail's headers for one:
# Acrobat 1024 bytes, pypdf more.
PDF_MARK = b"%PDF-"
HEAD_BYTES = 8 * 1024  # as far as the mark is sought


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
    """How pages are labelled from `page` (from 1) on: `prefix` and a number from `start`.

    `style` is a letter of ISO 32000-2, 12.4.2: D, R, r, A, a; empty for no number.
    """

    page: int
    style: str
    prefix: str
    start: int


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """The facts about a file that need none of its text. `title` is that of its metadata."""

    page_count: int
    title: str | None
    outline: tuple[OutlineEntry, ...]
    notes: tuple[DocumentNote, ...] = ()
    labels: tuple[LabelRange, ...] = ()


class OcrWord(NamedTuple):
    """A word that OCR found; its box in shares (0 to 1) of the displayed page, from top left."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class PageText:
    """One page's cleaned text, lines kept; `number` counts from 1, `engine` read it.

    The text may be empty (a scan), or noise where `reading` says that it is unreadable. It
    holds no NUL and no surrogate, so PostgreSQL can store it. `label` is the page's number
    as the file prints it (ISO 32000-2, 12.4.2), None if it prints none. `notes` are codes
    of what is on the page and was not read, `words` those that OCR found, empty without OCR.
    """

    number: int
    text: str
    engine: str
    label: str | None = None
    reading: Reading = "text"
    notes: tuple[str, ...] = ()
    words: tuple[OcrWord, ...] = ()


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """What one call may cost before it ends in `pdf_too_complex`.

    `timeout_seconds` bounds wall and processor time of a call, `page_seconds`
    the processor time of one page, `ocr_seconds` that of its OCR, `memory_mb` the
    address space of the child process, `max_page_chars` the raw text of one page.
    `recycle_mb` bounds nothing: a child whose resident memory has grown past it is
    replaced after the call.
    """

    timeout_seconds: float = 60.0
    memory_mb: int = 1024
    max_pages: int = 10_000
    page_seconds: float = 10.0
    max_page_chars: int = 1_000_000
    recycle_mb: int = 192
    ocr_seconds: float = 45.0
