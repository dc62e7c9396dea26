"""What the parser gives and takes: plain values that cross the process border as JSON."""

from dataclasses import dataclass
from typing import Literal

Engine = Literal["auto", "pypdf", "pdfium"]

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
class DocumentInfo:
    """What is known of a file before its text is read. `title` is that of its metadata."""

    page_count: int
    title: str | None
    outline: tuple[OutlineEntry, ...]


@dataclass(frozen=True, slots=True)
class PageText:
    """One page's cleaned text, lines kept; `number` counts from 1, `engine` read it.

    The text may be empty (a scan). It holds no NUL and no surrogate, so
    PostgreSQL can store it.
    """

    number: int
    text: str
    engine: str


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """What one call may cost before it ends in `pdf_too_complex`.

    `timeout_seconds` bounds wall and processor time of a call, `page_seconds`
    the processor time of one page, `memory_mb` the address space of the child
    process, `max_page_chars` the raw text of one page. `recycle_mb` bounds
    nothing: a child whose resident memory has grown past it is replaced
    after the call.
    """

    timeout_seconds: float = 60.0
    memory_mb: int = 1024
    max_pages: int = 10_000
    page_seconds: float = 10.0
    max_page_chars: int = 1_000_000
    recycle_mb: int = 192
