"""PDFs with fields, notes, stamps, page labels and attachments."""

import io
from collections.abc import Mapping, Sequence

from pypdf import PdfReader, PdfWriter
from pypdf.constants import PageLabelStyle
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    NameObject,
    TextStringObject,
)

from tests.pdfs import build_pdf, make_pdf

_HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
_DINGBATS = b"<< /Type /Font /Subtype /Type1 /BaseFont /ZapfDingbats >>"
_FIRST = 10  # number of the first annotation's object
_TOP, _STEP = 760, 40  # points; the place of the first line, and the distance between lines


def make_form(
    fields: Sequence[tuple[str, str]],
    *,
    ticks: Sequence[tuple[str, bool]] = (),
    appearances: bool = True,
    offset: int = 0,
) -> bytes:
    """A page with a line per field (printed label, value) and per check box (label, ticked).

    Values are `offset` points above the line of their labels.

    Without `appearances` the reader is asked to draw the values (NeedAppearances). The page
    inherits its box from the page tree.
    """
    printed, objects, widgets = [], {}, []
    for row, (label, value) in enumerate(fields):
        number, y = _FIRST + 2 * row, _TOP - _STEP * row
        printed.append((60, y, label))
        widgets.append(number)
        objects |= _field(number, value, y=y + offset, drawn=appearances)
    for row, (label, ticked) in enumerate(ticks):
        number, y = 500 + row, _TOP - _STEP * (len(fields) + row)
        printed.append((90, y, label))
        widgets.append(number)
        objects[number] = _check_box(ticked, y=y)
    return _page(printed, objects, widgets, form=True, need=not appearances)


def make_annotated(
    lines: Sequence[str],
    *,
    free_texts: Sequence[str] = (),
    stamps: Sequence[str] = (),
    notes: Sequence[str] = (),
    hidden: Sequence[str] = (),
) -> bytes:
    """A page of `lines` with visible annotations below them; `hidden` free texts are not drawn."""
    printed = [(60, _TOP - _STEP * row, line) for row, line in enumerate(lines)]
    objects: dict[int, bytes] = {}
    y = _TOP - _STEP * len(lines)
    for kind, texts in (("FreeText", free_texts), ("Stamp", stamps), ("FreeText", hidden)):
        for text in texts:
            number, flags = _FIRST + 2 * len(objects), 2 if text in hidden else 4
            objects |= _drawn(number, kind, text, y=y, flags=flags)
            y -= _STEP
    numbers = [number for number in objects if number % 2 == 0]
    for text in notes:
        number = 500 + len(numbers)
        objects[number] = (
            b"<< /Type /Annot /Subtype /Text /F 4 /Rect [400 %d 420 %d] /Contents (%b) >>"
            % (y, y + 20, text.encode("latin-1"))
        )
        numbers.append(number)
    return _page(printed, objects, numbers)


def make_labelled(pages: Sequence[str], *, roman: int) -> bytes:
    """A PDF whose first `roman` pages are labelled i, ii, iii … and the others 1, 2, 3 …"""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(pages))))
    writer.set_page_label(0, roman - 1, style=PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(roman, len(pages) - 1, style=PageLabelStyle.DECIMAL)
    return _bytes(writer)


def make_with_attachments(
    pages: Sequence[str], files: Mapping[str, bytes], *, portfolio: bool = False
) -> bytes:
    """A PDF with embedded files; optionally a portfolio."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(pages))))
    for name, data in files.items():
        writer.add_attachment(name, data)
    if portfolio:
        collection = DictionaryObject({NameObject("/View"): NameObject("/D")})
        writer.root_object[NameObject("/Collection")] = collection
    return _bytes(writer)


def make_file_annotation(pages: Sequence[str], *, on_page: int) -> bytes:
    """A PDF with a file pinned to one page."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(pages))))
    pinned = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Annot"),
            NameObject("/Subtype"): NameObject("/FileAttachment"),
            NameObject("/Contents"): TextStringObject("figures.csv"),
        }
    )
    pinned[NameObject("/Rect")] = ArrayObject([NameObject("0")] * 0)
    writer.pages[on_page - 1][NameObject("/Annots")] = ArrayObject([pinned])
    return _bytes(writer)


def make_xfa(pages: Sequence[str]) -> bytes:
    """A PDF with pages and an XFA form."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(pages))))
    form = DictionaryObject({NameObject("/Fields"): ArrayObject()})
    form[NameObject("/XFA")] = TextStringObject("<xdp:xdp/>")
    writer.root_object[NameObject("/AcroForm")] = form
    return _bytes(writer)


def _bytes(writer: PdfWriter) -> bytes:
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def _field(number: int, value: str, *, y: int, drawn: bool) -> dict[int, bytes]:
    text = value.encode("latin-1")
    head = b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (f%d) /V (%b) /F 4 /P 3 0 R" % (
        number,
        text,
    )
    rect = b"/Rect [200 %d 520 %d]" % (y - 5, y + 15)
    if not drawn:
        return {number: b"%b %b >>" % (head, rect)}
    return {
        number: b"%b %b /AP << /N %d 0 R >> >>" % (head, rect, number + 1),
        number + 1: _appearance(text),
    }


def _check_box(ticked: bool, *, y: int) -> bytes:
    state = b"Yes" if ticked else b"Off"
    return (
        b"<< /Type /Annot /Subtype /Widget /FT /Btn /T (box%d) /V /%b /AS /%b /F 4 /P 3 0 R"
        b" /Rect [60 %d 75 %d] /AP << /N << /Yes 7 0 R /Off 8 0 R >> >> >>"
        % (y, state, state, y - 3, y + 12)
    )


def _drawn(number: int, kind: str, text: str, *, y: int, flags: int) -> dict[int, bytes]:
    return {
        number: b"<< /Type /Annot /Subtype /%b /F %d /Rect [60 %d 380 %d] /Contents (%b)"
        b" /AP << /N %d 0 R >> >>"
        % (kind.encode(), flags, y - 5, y + 15, text.encode("latin-1"), number + 1),
        number + 1: _appearance(text.encode("latin-1")),
    }


def _appearance(text: bytes) -> bytes:
    return _form(b"/Tx BMC q BT /F1 11 Tf 2 5 Td (%b) Tj ET Q EMC" % text, box=b"0 0 320 20")


def _form(content: bytes, *, box: bytes) -> bytes:
    return (
        b"<< /Type /XObject /Subtype /Form /BBox [%b] /Resources << /Font << /F1 5 0 R"
        b" /F2 6 0 R >> >> /Length %d >>\nstream\n%b\nendstream" % (box, len(content), content)
    )


def _page(
    printed: Sequence[tuple[int, int, str]],
    objects: dict[int, bytes],
    annotations: Sequence[int],
    *,
    form: bool = False,
    need: bool = False,
) -> bytes:
    """A page that inherits its box, A4, from the page tree."""
    lines = b" ".join(
        b"1 0 0 1 %d %d Tm (%b) Tj" % (x, y, text.encode("latin-1")) for x, y, text in printed
    )
    content = b"BT /F1 12 Tf %b ET" % lines
    listed = b" ".join(b"%d 0 R" % number for number in annotations)
    acro = b"/AcroForm << /Fields [%b] /NeedAppearances %b /DA (/F1 11 Tf 0 g)" % (
        listed,
        b"true" if need else b"false",
    )
    catalog = acro + b" /DR << /Font << /F1 5 0 R >> >> >>" if form else b""
    return build_pdf(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R %b >>" % catalog,
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 595 842] >>",
            3: b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Annots [%b]"
            b" /Resources << /Font << /F1 5 0 R >> >> >>" % listed,
            4: b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
            5: _HELVETICA,
            6: _DINGBATS,
            7: _form(b"q BT /F2 12 Tf 2 3 Td (4) Tj ET Q", box=b"0 0 15 15"),
            8: _form(b"", box=b"0 0 15 15"),
        }
        | objects
    )
