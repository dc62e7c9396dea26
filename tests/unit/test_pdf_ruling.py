"""Lines that are drawn on generated pages, also inside of form XObjects (ISO 32000-2, 8.10)."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pypdfium2 as pdfium
import pytest

from core.pdf.page_reader import read_page
from core.pdf.pdfium_words import PageFrame
from core.pdf.ruling import find_rules
from tests.pdfs import build_pdf

GRID = b" ".join(
    [
        *(b"60 %d m 360 %d l S" % (y, y) for y in (700, 680, 660, 640)),
        *(b"%d 640 m %d 700 l S" % (x, x) for x in (60, 160, 260, 360)),
    ]
)
CELLS = [["Part", "Material", "Colour"], ["Mast", "oak", "brown"], ["Sail", "linen", "white"]]
WORDS = b" ".join(
    b"BT /T 10 Tf %d %d Td (%b) Tj ET" % (66 + 100 * column, 686 - 20 * row, text.encode())
    for row, texts in enumerate(CELLS)
    for column, text in enumerate(texts)
)
RESOURCES = b"/Resources << /Font << /T << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> "


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), entries, data)


def form(data: bytes, matrix: bytes, xobjects: bytes = b"") -> bytes:
    box = b"/Type /XObject /Subtype /Form /BBox [-900 -900 1900 1900] /Matrix [%b]" % matrix
    return stream(data, b"%b %b /XObject << %b >> >>" % (box, RESOURCES, xobjects))


def page(content: bytes, forms: dict[int, bytes] | None = None) -> bytes:
    box = b"/Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R"
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< %b %b /XObject << /A 5 0 R >> >> >>" % (box, RESOURCES),
        4: stream(content),
    }
    return build_pdf(objects | (forms or {}))


def in_forms(content: bytes) -> bytes:
    """A page with this content in a form inside of a form. Their matrices undo each other."""
    return page(
        b"q 1 0 0 1 0 30 cm /A Do Q",
        {
            5: form(b"q 0.5 0 0 0.5 10 0 cm /B Do Q", b"1 0 0 1 -10 -30", b"/B 6 0 R"),
            6: form(content, b"2 0 0 2 0 0"),
        },
    )


@contextmanager
def first_page(file: bytes) -> Iterator[pdfium.PdfPage]:
    with closing(pdfium.PdfDocument(file)) as document, closing(document[0]) as opened:
        yield opened


def test_lines_inside_of_forms_are_where_they_are_drawn() -> None:
    found = []
    for file in (page(GRID), in_forms(GRID)):
        with first_page(file) as opened:
            boxes = find_rules(opened, PageFrame(opened))
            found.append([((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes])
    assert len(found[0]) == 8
    assert found[1] == [pytest.approx(place, abs=0.5) for place in found[0]]


def test_a_table_inside_of_forms_is_read_by_its_lines() -> None:
    with first_page(in_forms(GRID + b" " + WORDS)) as opened:
        text = read_page(opened, max_chars=1000).text
    assert text.endswith(
        "Mast | Material: oak | Colour: brown\nSail | Material: linen | Colour: white"
    )


def test_a_page_of_many_objects_is_searched_if_it_may_have_a_table() -> None:
    letters = b" ".join(b"BT /T 4 Tf %d %d Td (1) Tj ET" % (n % 60, n // 60) for n in range(1600))
    with first_page(page(GRID + b" " + letters)) as opened:
        frame = PageFrame(opened)
        assert find_rules(opened, frame, has_cells=False) == []
        assert len(find_rules(opened, frame)) == 8
