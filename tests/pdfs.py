"""Generates PDFs for the tests: usual, odd, encrypted, broken and hostile ones."""

import io
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

from fpdf import FPDF
from fpdf.encryption import AccessPermission, EncryptionMethod
from PIL import Image, ImageDraw
from pypdf import PdfWriter

_LINE_HEIGHT = 6


def make_pdf(
    pages: Sequence[str],
    *,
    title: str | None = None,
    outline: Sequence[tuple[int, str, int]] = (),
    header: str = "",
    footer: str = "",
) -> bytes:
    """A PDF with one page per text (Latin-1), lines wrapped at the margin, newlines kept.

    `outline` has (level from 0, title, page from 1). `header` and `footer` are
    printed on every page, with its number for `{page}`. A text longer than a
    page is cut off, so that each page has one text.
    """
    pdf = _document()
    if title is not None:
        pdf.set_title(title)
    for number, text in enumerate(pages, start=1):
        pdf.add_page()
        for level, name, _ in (entry for entry in outline if entry[2] == number):
            pdf.start_section(name, level=level)
        _write(pdf, header.format(page=number))
        _write(pdf, text)
        if footer:
            pdf.set_y(-20)
            _write(pdf, footer.format(page=number))
    return bytes(pdf.output())


def make_encrypted_pdf(
    pages: Sequence[str], user_password: str, owner_password: str = "owner"
) -> bytes:
    """Like `make_pdf`, encrypted with AES-256. Everybody can open an empty `user_password`."""
    pdf = _document()
    pdf.set_encryption(
        owner_password=owner_password,
        user_password=user_password or None,
        encryption_method=EncryptionMethod.AES_256,
        permissions=AccessPermission.all(),
    )
    for text in pages:
        pdf.add_page()
        _write(pdf, text)
    return bytes(pdf.output())


def make_scanned_pdf(n: int) -> bytes:
    """`n` pages that are images of text, without a text layer."""
    pdf = _document()
    for number in range(1, n + 1):
        pdf.add_page()
        pdf.image(_picture(f"Scanned page {number}"), x=10, y=10, w=100)
    return bytes(pdf.output())


def make_mixed_pdf(pages: Sequence[str | None]) -> bytes:
    """Like `make_pdf`, with a scanned page for None."""
    pdf = _document()
    for number, text in enumerate(pages, start=1):
        pdf.add_page()
        if text is None:
            pdf.image(_picture(f"Scanned page {number}"), x=10, y=10, w=100)
        else:
            _write(pdf, text)
    return bytes(pdf.output())


def make_zero_page_pdf() -> bytes:
    """A well-formed file without a page."""
    output = io.BytesIO()
    PdfWriter().write(output)
    return output.getvalue()


def make_truncated_pdf(pages: Sequence[str], *, keep: float = 0.5) -> bytes:
    """The first part of a PDF."""
    data = make_pdf(pages)
    return data[: int(len(data) * keep)]


def make_pdf_without_xref(pages: Sequence[str]) -> bytes:
    """A damaged file that a reader can repair: its cross-reference table is wrong."""
    head, _, _ = make_pdf(pages).rpartition(b"startxref")
    return head + b"startxref\n99999999\n%%EOF\n"


def make_flate_bomb(*, megabytes: int = 2000) -> bytes:
    """One page whose content unpacks to `megabytes` of operators through two Flate filters."""
    chunk = b"0 0 m 1 1 l S\n" * 75_000  # about 1 MB
    packer = zlib.compressobj(9)
    inner = b"".join(packer.compress(chunk) for _ in range(megabytes)) + packer.flush()
    stream = zlib.compress(inner, 9)
    return build_pdf(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R >>",
            4: _stream(stream, b"/Filter [/FlateDecode /FlateDecode]"),
        }
    )


def make_text_bomb(*, characters: int = 30_000_000) -> bytes:
    """A small file with one page of very much text."""
    line = b"(" + b"lorem ipsum " * 80 + b") ' "
    text = b"BT /F1 1 Tf 1 TL 1 90 Td " + line * (characters // 960) + b" ET"
    return build_pdf(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 999 999] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> >> >>",
            4: _stream(zlib.compress(text, 9), b"/Filter /FlateDecode"),
            5: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        }
    )


def make_shared_stream_bomb(*, pages: int = 200, megabytes: int = 20) -> bytes:
    """Many pages that share one expensive content stream, which a limit per stream misses."""
    chunk = b"q 1 0 0 1 0 0 cm Q " * 55_000  # about 1 MB
    kids = b" ".join(b"%d 0 R" % (5 + index) for index in range(pages))
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [" + kids + b"] /Count %d >>" % pages,
        3: _stream(zlib.compress(chunk * megabytes, 9), b"/Filter /FlateDecode"),
    }
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 3 0 R >>"
    return build_pdf(objects | {5 + index: page for index in range(pages)})


def make_slow_pdf() -> bytes:
    """One page that takes minutes to draw: a shading whose function is 40,000 operators long."""
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Shading << /S 5 0 R >> >> >>"
    )
    shading = b"<< /ShadingType 1 /ColorSpace /DeviceRGB /Function 6 0 R"
    domain = b"/FunctionType 4 /Domain [0 1 0 1] /Range [0 1 0 1 0 1]"
    return build_pdf(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: page,
            4: _stream(b"/S sh", b""),
            5: shading + b" /Matrix [600 0 0 700 0 0] >>",
            6: _stream(b"{ " + b"sin cos " * 20_000 + b"dup dup }", domain),
        }
    )


def make_cyclic_page_tree() -> bytes:
    """A page tree that contains itself."""
    return build_pdf(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [3 0 R 2 0 R] /Count 2 /Parent 3 0 R >>",
            3: b"<< /Type /Pages /Kids [2 0 R] /Count 1 /Parent 2 0 R >>",
        }
    )


def build_pdf(objects: dict[int, bytes]) -> bytes:
    """A file of these objects with a correct cross-reference table. Object 1 is the catalog."""
    output = io.BytesIO()
    output.write(b"%PDF-1.7\n")
    offsets = {}
    for number, body in objects.items():
        offsets[number] = output.tell()
        output.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start, size = output.tell(), max(objects) + 1
    output.write(b"xref\n0 %d\n0000000000 65535 f \n" % size)
    for number in range(1, size):
        used = number in offsets
        output.write(b"%010d %05d %b \n" % (offsets.get(number, 0), 0, b"n" if used else b"f"))
    output.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start))
    return output.getvalue()


def _document() -> FPDF:
    pdf = FPDF(format="A4")
    pdf.set_auto_page_break(auto=False)
    pdf.creation_date = datetime(2026, 1, 1, tzinfo=UTC)  # the same pages are the same bytes
    pdf.set_font("Helvetica", size=11)
    return pdf


def _write(pdf: FPDF, text: str) -> None:
    if text:
        pdf.multi_cell(0, _LINE_HEIGHT, text, new_x="LMARGIN", new_y="NEXT", align="L")


def _picture(text: str) -> io.BytesIO:
    image = Image.new("L", (400, 120), 255)
    ImageDraw.Draw(image).text((20, 50), text, fill=0)
    output = io.BytesIO()
    image.save(output, format="PNG")
    output.seek(0)
    return output


def _stream(data: bytes, entries: bytes) -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), entries, data)
