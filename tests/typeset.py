"""PDFs set line by line, in any script and without a font file: for quotes and highlights.

Each page has its own font, whose glyph numbers a ToUnicode table maps to text (ISO 32000-1,
9.10.3). A reader knows the text and place of such glyphs, even if it cannot draw them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.pdfs import build_pdf

SIZE = 12
_LEADING = 18
_FAMILY = 6  # objects per page: page, content, font, its descendant, descriptor, table


@dataclass(frozen=True)
class Column:
    """Lines of glyphs from left to right, the first at the top. `left` is in points.

    Right-to-left text must be given in the order of its glyphs (`right_to_left`).
    """

    lines: Sequence[str]
    left: float = 60
    wide: bool = False


def right_to_left(text: str) -> str:
    """A line in the order of its glyphs on paper. Numbers run from left to right."""
    return re.sub(r"\d+", lambda number: number[0][::-1], text)[::-1]


def typeset(pages: Sequence[Sequence[Column]]) -> bytes:
    """A PDF of these pages, each of one or more columns."""
    kids = b" ".join(b"%d 0 R" % (3 + _FAMILY * index) for index in range(len(pages)))
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [" + kids + b"] /Count %d >>" % len(pages),
    }
    for index, columns in enumerate(pages):
        objects |= _page(3 + _FAMILY * index, columns)
    return build_pdf(objects)


def _page(first: int, columns: Sequence[Column]) -> dict[int, bytes]:
    letters = sorted({letter for column in columns for line in column.lines for letter in line})
    glyphs = {letter: number for number, letter in enumerate(letters, start=1)}
    width = 1000 if any(column.wide for column in columns) else 600
    return {
        first: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
        b" /Resources << /Font << /F1 %d 0 R >> >> >>" % (first + 1, first + 2),
        first + 1: _stream(_content(columns, glyphs)),
        first + 2: b"<< /Type /Font /Subtype /Type0 /BaseFont /Sample /Encoding /Identity-H"
        b" /DescendantFonts [%d 0 R] /ToUnicode %d 0 R >>" % (first + 3, first + 5),
        first + 3: b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Sample /DW %d"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >>"
        b" /FontDescriptor %d 0 R >>" % (width, first + 4),
        first + 4: b"<< /Type /FontDescriptor /FontName /Sample /Flags 4 /ItalicAngle 0"
        b" /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 /FontBBox [0 -200 1000 800] >>",
        first + 5: _stream(_to_unicode(glyphs)),
    }


def _content(columns: Sequence[Column], glyphs: dict[str, int]) -> bytes:
    drawn = [b"BT /F1 %d Tf" % SIZE]
    for column in columns:
        for row, line in enumerate(column.lines):
            codes = "".join(f"{glyphs[letter]:04x}" for letter in line).encode()
            height = 780 - _LEADING * row
            drawn.append(b"1 0 0 1 %.1f %d Tm <%b> Tj" % (column.left, height, codes))
    return b"\n".join([*drawn, b"ET"])


def _to_unicode(glyphs: dict[str, int]) -> bytes:
    rows = [
        f"<{number:04x}> <{letter.encode('utf-16-be').hex()}>" for letter, number in glyphs.items()
    ]
    blocks = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    mapped = "\n".join(
        f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks
    )
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CMapName /Sample def /CMapType 2 def\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{mapped}\nendcmap CMapName currentdict /CMap defineresource pop end end"
    ).encode()


def _stream(data: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%b\nendstream" % (len(data), data)
