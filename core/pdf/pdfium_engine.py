"""pdfium through pypdfium2: fast, reads most, and draws the page images."""

import io
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from core.pdf.annotations import Annotation, take_annotations
from core.pdf.cleaning import HAS_BREAK
from core.pdf.errors import Unreadable, encrypted, malformed
from core.pdf.known_words import find_known_words
from core.pdf.layout.overleaf import TableHead
from core.pdf.page_reader import RawPage, read_page, read_raw_text
from core.pdf.text_layer import judge
from core.pdf.unread import describe_unread
from core.pdf.values import HEAD_BYTES, PDF_MARK, DocumentNote, LabelRange, OutlineEntry, Reading

_OUTLINE_MAX_ENTRIES = 10_000
_OUTLINE_MAX_DEPTH = 15
_MAX_ATTACHMENTS = 1000
_SAMPLED_PAGES = 12
_XFA = (pdfium_c.FORMTYPE_XFA_FULL, pdfium_c.FORMTYPE_XFA_FOREGROUND)
_HEADER_WITHIN = 1000  # pdfium looks for the header in the first 1024 bytes


class PdfiumDocument:
    """One open file. Each call loads its page and closes it, so memory does not grow."""

    name = "pdfium"

    def __init__(self, path: str) -> None:
        # Reset pdfium's last error by loading nothing, because a file without pages sets none.
        pdfium_c.FPDF_LoadMemDocument(b"", 0, None)
        try:
            self._pdf = pdfium.PdfDocument(_readable(path))
        except pdfium.PdfiumError as error:
            raise _opening_error(error) from None
        self.page_count = len(self._pdf)
        self._annotations: dict[int, list[Annotation]] = {}
        self._readings: dict[int, Reading] = {}

    def read_page(
        self, number: int, *, max_chars: int, plain: bool = False, above: TableHead | None = None
    ) -> RawPage | None:
        """The page before cleaning; None if the page is damaged.

        `above` is the head of the table at the end of the page before, for a page that wants it.
        """
        try:
            with self.open_page(number) as page:
                read = read_page(
                    page,
                    max_chars=max_chars,
                    plain=plain,
                    annotations=self._annotations.get(number, []),
                    above=above,
                )
                self._readings[number] = judge(page, read.text)
                return read
        except pdfium.PdfiumError:
            return None

    def known_words(self, *, max_chars: int, seconds: float) -> list[str]:
        """See `core.pdf.known_words`. Reads pages for about `seconds` of processor time.

        Empty if none of a few pages, spread over the document, has a hyphen at a line end.
        """
        step = max(1, self.page_count // _SAMPLED_PAGES)
        sample = self._raw_texts(range(0, self.page_count, step), max_chars, seconds / 2)
        if not any(map(HAS_BREAK.search, sample)):
            return []
        return find_known_words(self._raw_texts(range(self.page_count), max_chars, seconds))

    def _raw_texts(self, indices: Iterable[int], max_chars: int, seconds: float) -> Iterator[str]:
        end = time.process_time() + seconds
        for index in indices:
            if time.process_time() > end:
                return
            with suppress(pdfium.PdfiumError, Unreadable), closing(self._pdf[index]) as page:
                yield read_raw_text(page, max_chars=max_chars)

    def find_last_page(self, *, at_most: int) -> int:
        """The number of the last page that exists among the first `at_most`; 0 if none does."""
        for number in range(min(self.page_count, at_most), 0, -1):
            with suppress(pdfium.PdfiumError):
                self._pdf.get_page_size(number - 1)
                return number
        return 0

    def cut_page(self, number: int) -> io.BytesIO:
        """A file with only this page, without encryption. Empty if it cannot be made."""
        file = io.BytesIO()
        single = pdfium.PdfDocument.new()
        try:
            single.import_pages(self._pdf, [number - 1])
            single.save(file)
        except pdfium.PdfiumError:
            return io.BytesIO()
        finally:
            single.close()
        file.seek(0)
        return file

    @contextmanager
    def open_page(self, number: int) -> Iterator[Any]:
        """The page with its form fields, stamps and free text drawn into it."""
        page = self._pdf[number - 1]
        try:
            if number not in self._annotations:
                self._annotations[number], changed = take_annotations(page)
                if changed:
                    page.close()
                    page = self._pdf[number - 1]
            yield page
        finally:
            page.close()

    def reading(self, number: int) -> Reading:
        """Whether the text layer of a page that `read_page` has read is usable."""
        return self._readings.get(number, "scan")

    def annotations(self, number: int) -> list[Annotation]:
        """Notes, check boxes and attached files of a page that was opened before."""
        return self._annotations.get(number, [])

    def title(self) -> str | None:
        return self._pdf.get_metadata_value("Title") or None

    def unread(self) -> list[DocumentNote]:
        """Parts of the file that are not read. pdfium does not recognise portfolios."""
        count = min(self._pdf.count_attachments(), _MAX_ATTACHMENTS)
        names = [self._pdf.get_attachment(index).get_name() for index in range(count)]
        has_xfa = self._pdf.get_formtype() in _XFA
        return describe_unread(names=names, is_portfolio=False, has_xfa=has_xfa)

    def labels(self) -> list[LabelRange]:
        """Always empty: a tree of labels that contains itself crashes pdfium."""
        return []

    def outline(self) -> Iterator[OutlineEntry]:
        """At most 10,000 bookmarks that point to a page."""
        bookmarks = self._pdf.get_toc(max_depth=_OUTLINE_MAX_DEPTH)
        for _, bookmark in zip(range(_OUTLINE_MAX_ENTRIES), bookmarks, strict=False):
            target = bookmark.get_dest()
            index = target.get_index() if target else None
            if index is not None:
                yield OutlineEntry(bookmark.level, bookmark.get_title(), index + 1)

    def close(self) -> None:
        self._pdf.close()


def _readable(path: str) -> str | bytes:
    """The path, or the file's bytes from its header on if pdfium would not find the header."""
    with open(path, "rb") as file:
        start = file.read(HEAD_BYTES).find(PDF_MARK)
        if start <= _HEADER_WITHIN:
            return path
        file.seek(start)
        return file.read()


def _opening_error(error: Exception) -> Unreadable:
    code = getattr(error, "err_code", None)
    if code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
        return encrypted()
    return malformed()
