"""Reads annotations of a page: form fields, stamps, notes, attached files.

Fields, free text and stamps are drawn into the page ("flattened"), so that its text and its
image show them where a person sees them. Flattening removes all annotations, so notes and the
states of check boxes are read before. See ISO 32000-2, 12.5 and 12.7.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pypdfium2.raw as pdfium_c

from core.pdf.cleaning import clean_line

Box = tuple[float, float, float, float]
# `field` is a field that is not drawn, `value` one whose value becomes text of the page.
Kind = Literal["note", "check", "field", "value", "file"]

_MAX_ANNOTATIONS = 2000  # of a page; forms have some 200
_MAX_CHARS = 10_000  # of one note or field
_TINY = 0.02  # pixels per point, for drawing only for its side effect
_UNSEEN = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN | pdfium_c.FPDF_ANNOT_FLAG_NOVIEW
_NEVER_DRAWN = {pdfium_c.FPDF_ANNOT_LINK, pdfium_c.FPDF_ANNOT_POPUP}
_COMMENTED = {
    pdfium_c.FPDF_ANNOT_TEXT,
    pdfium_c.FPDF_ANNOT_LINE,
    pdfium_c.FPDF_ANNOT_SQUARE,
    pdfium_c.FPDF_ANNOT_CIRCLE,
    pdfium_c.FPDF_ANNOT_POLYGON,
    pdfium_c.FPDF_ANNOT_POLYLINE,
    pdfium_c.FPDF_ANNOT_HIGHLIGHT,
    pdfium_c.FPDF_ANNOT_UNDERLINE,
    pdfium_c.FPDF_ANNOT_SQUIGGLY,
    pdfium_c.FPDF_ANNOT_STRIKEOUT,
    pdfium_c.FPDF_ANNOT_INK,
    pdfium_c.FPDF_ANNOT_CARET,
}


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation that the text of the flattened page lacks, or has in another place.

    `box` is (left, bottom, right, top) in points of the page's own coordinates. Notes and
    undrawn fields have a `text`, check boxes have `checked`.
    """

    kind: Kind
    box: Box
    text: str = ""
    checked: bool = False


def take_annotations(page: Any) -> tuple[list[Annotation], bool]:
    """Returns the page's notes, check boxes and attached files, and whether the page has changed.

    Draws fields, stamps and free text into the page's content, in memory only. If the page
    has changed, load it again: this handle shows the old content. Hidden annotations and
    those after the first 2000 are ignored.
    """
    found = _read_all(page)
    if any(one.kind == "field" for one in found):
        # The file has no appearances for its fields (NeedAppearances). pdfium makes them when it
        # draws the page.
        page.render(scale=_TINY)
        found = _read_all(page)
    return found, _flatten(page)


def _read_all(page: Any) -> list[Annotation]:
    return [found for handle in _handles(page) for found in _read(handle)]


def _flatten(page: Any) -> bool:
    if not any(_is_drawn(handle) for handle in _handles(page)):
        return False
    # If the page inherits its box, flattening gives it a box of US Letter.
    box = page.get_bbox()
    if pdfium_c.FPDFPage_Flatten(page, pdfium_c.FLAT_NORMALDISPLAY) != pdfium_c.FLATTEN_SUCCESS:
        return False
    page.set_mediabox(*box)
    page.set_cropbox(*box)
    return True


def _handles(page: Any) -> Iterator[Any]:
    """The page's annotations. Each is closed before the next one is opened."""
    for index in range(min(pdfium_c.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        handle = pdfium_c.FPDFPage_GetAnnot(page, index)
        if not handle:
            continue
        try:
            yield handle
        finally:
            pdfium_c.FPDFPage_CloseAnnot(handle)


def _is_drawn(handle: Any) -> bool:
    kind = pdfium_c.FPDFAnnot_GetSubtype(handle)
    return kind not in _NEVER_DRAWN and bool(pdfium_c.FPDFAnnot_HasKey(handle, b"AP"))


def _read(handle: Any) -> Iterator[Annotation]:
    kind = pdfium_c.FPDFAnnot_GetSubtype(handle)
    if pdfium_c.FPDFAnnot_GetFlags(handle) & _UNSEEN:
        return
    drawn = _is_drawn(handle)
    if kind == pdfium_c.FPDF_ANNOT_FILEATTACHMENT:
        yield Annotation("file", _box(handle))
    elif kind == pdfium_c.FPDF_ANNOT_WIDGET and (state := _text(handle, b"AS")):
        yield Annotation("check", _box(handle), checked=state != "Off")
    elif kind == pdfium_c.FPDF_ANNOT_WIDGET and not drawn:
        yield from _with_text(handle, "field", b"V")
    elif kind == pdfium_c.FPDF_ANNOT_WIDGET:
        yield Annotation("value", _box(handle))
    elif kind in _COMMENTED or (kind == pdfium_c.FPDF_ANNOT_FREETEXT and not drawn):
        yield from _with_text(handle, "note", b"Contents")


def _with_text(handle: Any, kind: Kind, key: bytes) -> Iterator[Annotation]:
    if text := clean_line(_text(handle, key)):
        yield Annotation(kind, _box(handle), text)


def _box(handle: Any) -> Box:
    rect = pdfium_c.FS_RECTF()
    if not pdfium_c.FPDFAnnot_GetRect(handle, rect):
        return 0.0, 0.0, 0.0, 0.0
    return rect.left, rect.bottom, rect.right, rect.top


def _text(handle: Any, key: bytes) -> str:
    """The annotation's string or name under `key`; empty if it has none."""
    size = pdfium_c.FPDFAnnot_GetStringValue(handle, key, None, 0)
    if not 2 < size <= 2 * _MAX_CHARS:
        return ""
    buffer = ctypes.create_string_buffer(size)
    target = ctypes.cast(buffer, ctypes.POINTER(pdfium_c.FPDF_WCHAR))
    pdfium_c.FPDFAnnot_GetStringValue(handle, key, target, size)
    return buffer.raw[: size - 2].decode("utf-16-le", errors="ignore")
