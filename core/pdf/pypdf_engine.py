"""pypdf: checks the file, and reads the pages that it reads better than pdfium."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pypdf
from pypdf.errors import FileNotDecryptedError

from core.pdf.errors import Unreadable, encrypted, malformed, too_complex
from core.pdf.labels import read_labels
from core.pdf.unread import find_unread
from core.pdf.values import DocumentNote, LabelRange, OutlineEntry

_OUTLINE_MAX_ENTRIES = 10_000
# pypdf's defaults allow 75 MB per stream and do not limit their sum; a page has some 100 kB.
_CONFIGURATION = pypdf.Configuration(
    zlib_maximum_output_length=30_000_000,
    lzw_maximum_output_length=30_000_000,
    run_length_maximum_output_length=30_000_000,
    array_based_stream_maximum_output_length=30_000_000,
    stream_decoding_work_maximum_length=60_000_000,
    stream_parsing_work_maximum_count=500_000,
    outline_maximum_entries=_OUTLINE_MAX_ENTRIES,
    jbig2dec_binary=None,
    disable_legacy_handling=True,
)


class PypdfDocument:
    """One open file. pypdf keeps all parsed objects, so memory grows with every page."""

    name = "pypdf"

    def __init__(self, path: str | BytesIO) -> None:
        pypdf.overwrite_configuration(_CONFIGURATION)
        try:
            self._reader = pypdf.PdfReader(path)
            if self._reader.is_encrypted and not self._reader.decrypt(""):
                raise encrypted()
            self.page_count = len(self._reader.pages)
        except MemoryError:
            raise
        except Exception as error:
            raise _opening_error(error) from None

    def read_page(self, number: int, *, max_chars: int) -> str | None:
        """The page's raw text; None if pypdf cannot read the page."""
        try:
            text = self._reader.pages[number - 1].extract_text()
        except MemoryError:
            raise
        except Exception:
            # pypdf also raises errors outside its own tree, such as NotImplementedError,
            # AttributeError and RecursionError.
            return None
        if len(text) > max_chars:
            raise too_complex()
        return text

    def title(self) -> str | None:
        metadata = self._reader.metadata
        return str(metadata.title) if metadata and metadata.title else None

    def unread(self) -> list[DocumentNote]:
        """Parts of the file that are not read."""
        return find_unread(self._reader.root_object)

    def labels(self) -> list[LabelRange]:
        """The ranges of page labels, in the order of their pages."""
        return read_labels(self._reader.root_object)

    def outline(self) -> Iterator[OutlineEntry]:
        """The bookmarks that point to a page, depth first."""
        yield from self._flatten(self._reader.outline, 0)

    def close(self) -> None:
        self._reader.close()

    def _flatten(self, entries: list[Any], level: int) -> Iterator[OutlineEntry]:
        for entry in entries:
            if isinstance(entry, list):
                yield from self._flatten(entry, level + 1)
                continue
            index = self._reader.get_destination_page_number(entry)
            if index is not None and index >= 0:
                yield OutlineEntry(level, str(entry.title), index + 1)


def _opening_error(error: Exception) -> Unreadable:
    if isinstance(error, Unreadable):
        return error
    # NotImplementedError: a security handler that pypdf does not know.
    return (
        encrypted()
        if isinstance(error, FileNotDecryptedError | NotImplementedError)
        else malformed()
    )
