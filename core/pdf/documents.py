"""An open document in the child process, read by two engines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any, TypeVar

from core.pdf import rendering, selection
from core.pdf.annotations import Annotation
from core.pdf.cleaning import clean_line, clean_text
from core.pdf.errors import Unreadable, malformed, too_complex, too_many_pages
from core.pdf.furniture import WINDOW, take_furniture
from core.pdf.labels import page_label
from core.pdf.layout.overleaf import TableHead
from core.pdf.limits import BudgetExceeded, budget, fatal_budget
from core.pdf.overleaf import TableHeads
from core.pdf.page_reader import RawPage
from core.pdf.pdfium_engine import PdfiumDocument
from core.pdf.pypdf_engine import PypdfDocument
from core.pdf.recognized import Recognized, Recognizer, Scan, choose_text
from core.pdf.text_layer import is_noise
from core.pdf.values import Engine, LabelRange, OcrWord, PageText, PdfLimits, Reading

T = TypeVar("T")
Key = tuple[str, int, int, str]
_KEPT_PAGES = 64
_KEPT_SCANS = 4
_MAX_SCANS_BACK = 2  # pages before a scan whose OCR it may need; OCR of a page takes seconds
_MAX_TITLE_CHARS = 500


class OpenDocument:
    """An open file and its parsed parts. `key` shows whether the file on disk is the same."""

    def __init__(self, *, path: str, engine: Engine, limits: PdfLimits, key: Key) -> None:
        self.key = key
        self._path = path
        self._engine = engine
        self._limits = limits
        self._pdfium: PdfiumDocument | None = None
        self._pypdf: PypdfDocument | None = None
        self._pages: dict[int, PageText] = {}
        self._plain = False
        self._known_words: frozenset[str] = frozenset()
        self._heads = TableHeads(self._read_with_pdfium)
        self._recognizer: Recognizer | None = None
        self._scans: dict[int, Scan] = {}
        self._scanned_heads = TableHeads(self._recognize_page, max_back=_MAX_SCANS_BACK)

    def inspect(self) -> dict[str, Any]:
        """Page count, title, outline and unread parts, as JSON."""
        judge = self._find_judge()
        count = self._count_pages(judge)
        if count < 1:
            raise malformed()
        if count > self._limits.max_pages:
            raise too_many_pages(count, self._limits.max_pages)
        title, outline = _read_title_and_outline(judge, seconds=self._limits.page_seconds)
        notes = [astuple(note) for note in self._attempt(judge.unread)]
        labels = [astuple(entry) for entry in self._attempt(judge.labels)]
        known_words = self._attempt(self._find_known_words)
        if self._engine == "auto":
            self._close_pypdf()  # only few pages need it again
        return {
            "page_count": count,
            "title": title,
            "outline": outline,
            "notes": notes,
            "labels": labels,
            "known_words": known_words,
        }

    def _find_known_words(self) -> list[str]:
        if self._engine == "pypdf":
            return []
        limits = self._limits
        return self._open_pdfium().known_words(
            max_chars=limits.max_page_chars, seconds=limits.words_seconds
        )

    def read(
        self,
        *,
        first: int,
        last: int,
        page_count: int | None,
        labels: Sequence[LabelRange],
        known_words: frozenset[str] = frozenset(),
        plain: bool = False,
    ) -> list[PageText]:
        """The texts of a range, without running headers and footers.

        `plain` takes pdfium's own text, for pages that take too long to draw.
        """
        self._plain = plain
        if known_words != self._known_words:
            self._known_words = known_words
            self._pages.clear()
        count = page_count or self._page_count()
        if not 1 <= first <= last <= count:
            raise malformed()
        wanted = range(max(1, first - WINDOW), min(count, last + WINDOW) + 1)
        pages = {number: self._read_page(number) for number in wanted}
        texts = {number: page.text for number, page in pages.items()}
        if not plain:
            self._keep(pages)
        return [
            _without_furniture(pages[number], texts, label=page_label(labels, number))
            for number in range(first, last + 1)
        ]

    def recognize(self, recognizer: Recognizer, *, number: int) -> PageText:
        """The page as read by OCR, or its text layer if OCR finds no more.

        Raises Unreadable if there is no such page.
        """
        if not 1 <= number <= self._open_pdfium().page_count:
            raise malformed()
        layer = self._read_page(number)
        self._keep({number: layer})
        self._recognizer = recognizer
        with fatal_budget(self._limits.ocr_seconds):
            recognized = self._scanned_heads.read_page(number)
        return choose_text(layer, recognized or Recognized(""))

    def _recognize_page(self, number: int, above: TableHead | None) -> Recognized | None:
        """The scanned page below a head; None if the page is not a scan."""
        assert self._recognizer is not None
        if number not in self._scans:
            if self._read_page(number).reading == "text":
                return None
            self._scans[number] = self._recognizer.recognize(self._open_pdfium(), number)
            if len(self._scans) > _KEPT_SCANS:
                del self._scans[next(iter(self._scans))]
        return self._scans[number].read(above)

    def render(
        self,
        *,
        number: int,
        highlight: str | None,
        scale: float,
        words: Sequence[OcrWord] = (),
    ) -> bytes:
        """The page as PNG. `words` are those of a page that was read by OCR."""
        document = self._open_pdfium()
        if not 1 <= number <= document.page_count:
            raise malformed()
        with fatal_budget(self._limits.timeout_seconds), document.open_page(number) as page:
            annotations = document.annotations(number)
            return rendering.render(
                page,
                highlight=highlight,
                scale=scale,
                words=words,
                annotations=annotations,
                find_head=lambda: self._heads.above(number),
            )

    def close(self) -> None:
        """Close the file and free the memory."""
        self._close_pypdf()
        if self._pdfium is not None:
            self._pdfium.close()

    def _attempt(self, part: Callable[[], list[T]]) -> list[T]:
        """Call `part`; return an empty list if this part of the file is broken or endless."""
        try:
            with budget(self._limits.page_seconds):
                return part()
        except (Exception, BudgetExceeded):
            return []

    def _find_judge(self) -> PypdfDocument | PdfiumDocument:
        """The engine of the settings, else pypdf if it can open the file, else pdfium."""
        if self._engine == "pdfium":
            return self._open_pdfium()
        try:
            judge = self._open_pypdf()
            if judge.page_count or self._engine == "pypdf":
                return judge
            failure = malformed()
        except Unreadable as error:
            if self._engine == "pypdf":
                raise
            failure = error
        try:
            return self._open_pdfium()
        except Unreadable as error:
            raise _graver(failure, error) from None

    def _count_pages(self, judge: PypdfDocument | PdfiumDocument) -> int:
        """The number of pages. Engines differ for a wrong /Count or a damaged page tree.

        pdfium trusts /Count and numbers lost pages too; pypdf counts the existing pages. If
        they differ, it is the larger count, up to the last page that an engine can open.
        """
        if self._engine == "pypdf":
            return judge.page_count
        try:
            pdfium = self._open_pdfium()
        except Unreadable:
            return judge.page_count
        if judge is not pdfium and judge.page_count == pdfium.page_count:
            return judge.page_count
        with fatal_budget(self._limits.page_seconds):
            last = pdfium.find_last_page(at_most=self._limits.max_pages + 1)
        return last if judge is pdfium else max(judge.page_count, last)

    def _page_count(self) -> int:
        opened = self._pypdf if self._engine == "pypdf" else self._pdfium
        if opened is not None:
            return opened.page_count
        try:
            return (self._open_pypdf if self._engine == "pypdf" else self._open_pdfium)().page_count
        except Unreadable:
            return self._find_judge().page_count

    def _read_page(self, number: int) -> PageText:
        if number in self._pages:
            return self._pages[number]
        texts: dict[str, str | None] = {}
        raw = None
        if self._engine != "pypdf":
            raw = self._read_layout(number)
            texts["pdfium"] = raw.text if raw is not None else None
        if self._engine == "pypdf" or (
            self._engine == "auto" and selection.wants_second_reading(texts["pdfium"])
        ):
            texts["pypdf"] = self._read_with_pypdf(number)
        engine = selection.choose(texts)
        text = clean_text(texts[engine] or "", known_words=self._known_words)
        reading = self._judge(number, engine, text)
        notes = [one for one in self._annotations(number) if one.kind == "note"]
        text = "\n\n".join([text, *(f"Note: {one.text}" for one in notes)]).strip()
        files = any(one.kind == "file" for one in self._annotations(number))
        unread = ("attachments_not_read",) if files else ()
        caption = clean_line(raw.caption) if raw is not None and engine == "pdfium" else ""
        return PageText(number, text, engine, reading=reading, notes=unread, caption=caption)

    def _judge(self, number: int, engine: str, text: str) -> Reading:
        if engine == "pdfium" and self._pdfium is not None:
            return self._pdfium.reading(number)
        if not text:
            return "scan"
        suspect = self._pdfium is not None and self._pdfium.reading(number) == "unreadable"
        return "unreadable" if is_noise(text, unmapped=lambda: float(suspect)) else "text"

    def _annotations(self, number: int) -> list[Annotation]:
        return self._pdfium.annotations(number) if self._pdfium is not None else []

    def _read_layout(self, number: int) -> RawPage | None:
        """The page as pdfium reads it, with the headers of a table that began before it."""
        if self._plain:
            return self._read_with_pdfium(number)
        return self._heads.read_page(number)

    def _read_with_pdfium(self, number: int, above: TableHead | None = None) -> RawPage | None:
        """The page before cleaning, None if pdfium cannot read it."""
        try:
            document = self._open_pdfium()
        except Unreadable:
            if self._engine == "pdfium":
                raise
            return None
        if number > document.page_count:
            return None
        with fatal_budget(self._limits.page_seconds):
            most = self._limits.max_page_chars
            return document.read_page(number, max_chars=most, plain=self._plain, above=above)

    def _read_with_pypdf(self, number: int) -> str | None:
        """The page's raw text, None if pypdf cannot read it in time."""
        try:
            source = self._pdfium if self._engine == "auto" else None
            if source is not None and number <= source.page_count:
                return self._read_single_page(source, number)
            document = self._open_pypdf()
            with budget(self._limits.page_seconds):
                return document.read_page(number, max_chars=self._limits.max_page_chars)
        except (Unreadable, BudgetExceeded, MemoryError):
            if self._engine == "pypdf":
                raise
            return None

    def _read_single_page(self, source: PdfiumDocument, number: int) -> str | None:
        """pypdf's text of a page that pdfium cuts out for it.

        For the first page, pypdf would have to go through the whole file and keep the
        result in memory. For a single page in its own file it returns the same text.
        """
        with fatal_budget(self._limits.page_seconds):
            file = source.cut_page(number)
        with budget(self._limits.page_seconds):
            page = PypdfDocument(file)
            return page.read_page(1, max_chars=self._limits.max_page_chars)

    def _open_pdfium(self) -> PdfiumDocument:
        if self._pdfium is None:
            with fatal_budget(self._limits.page_seconds):
                self._pdfium = PdfiumDocument(self._path)
        return self._pdfium

    def _open_pypdf(self) -> PypdfDocument:
        if self._pypdf is None:
            try:
                with budget(self._limits.page_seconds):
                    self._pypdf = PypdfDocument(self._path)
            except (BudgetExceeded, MemoryError):
                raise too_complex() from None
        return self._pypdf

    def _close_pypdf(self) -> None:
        if self._pypdf is not None:
            self._pypdf.close()
            self._pypdf = None

    def _keep(self, pages: dict[int, PageText]) -> None:
        """Keep the latest pages, because the next range reads the last pages of this one too."""
        self._pages |= pages
        for number in list(self._pages)[: max(0, len(self._pages) - _KEPT_PAGES)]:
            del self._pages[number]


def _without_furniture(page: PageText, texts: Mapping[int, str], label: str | None) -> PageText:
    text, title = take_furniture(page.number, texts)
    return replace(page, text=text, title=title, label=label)


def _read_title_and_outline(
    judge: PypdfDocument | PdfiumDocument, *, seconds: float
) -> tuple[str | None, list[tuple[int, str, int]]]:
    """Metadata title and outline. If they are broken or endless, the document still counts."""
    title, outline = None, []
    try:
        with budget(seconds):
            title = clean_line(judge.title() or "")[:_MAX_TITLE_CHARS] or None
            for entry in judge.outline():
                if heading := clean_line(entry.title)[:_MAX_TITLE_CHARS]:
                    outline.append((entry.level, heading, entry.page))
    except (Exception, BudgetExceeded):
        return title, outline  # the part of it that was read
    return title, outline


def _graver(one: Unreadable, other: Unreadable) -> Unreadable:
    """The more specific of two errors."""
    order = ["pdf_encrypted", "pdf_too_complex", "pdf_malformed"]
    return min(one, other, key=lambda error: order.index(error.code))
