"""Hard pages from a private collection: forms, annotations, labels, noise, scans."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from core.pdf import PageText, PdfParser
from core.pdf.ocr_data import OcrData

PAGES = Path(__file__).resolve().parents[3] / "shared/data/pages"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not PAGES.is_dir(), reason="../shared/data/pages is absent"),
]
DATA = OcrData(str(Path(sys.prefix, "share/tessdata")), ("eng",))


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser(ocr=DATA) as shared:
        yield shared


def read(parser: PdfParser, name: str) -> list[PageText]:
    path = PAGES / f"{name}.pdf"
    info = parser.inspect(path)
    return parser.read_pages(path, first=1, last=info.page_count, labels=info.labels)


def test_a_filled_form(parser: PdfParser) -> None:
    lines = read(parser, "form_filled")[0].text.split("\n")
    assert {
        "Borrower: Marisol Quintero",
        "Device: Thermal camera TC-88",
        "Return date: 14 March 2027",
        "Deposit (EUR): 350",
        "Insurance: Full cover",
        "I accept the terms: ☑",
        "Delivery: ☑ Courier ☐ Pickup",
    } <= set(lines)


@pytest.mark.parametrize(
    ("name", "quote"),
    [
        ("form_filled", "Thermal camera TC-88"),
        ("annots", "penalty is 5 percent"),
        ("annots", "APPROVED BY BOARD 3 MAY 2026"),
        ("annots", "Note: Legal: ask Harwick about clause 9"),
    ],
)
def test_their_pictures_mark_quotes(parser: PdfParser, name: str, quote: str) -> None:
    plain, marked = (
        Image.open(
            io.BytesIO(parser.render_page(PAGES / f"{name}.pdf", number=1, highlight=text))
        ).convert("L")
        for text in (None, quote)
    )
    box = ImageChops.difference(plain, marked).getbbox()
    assert box is not None
    assert box[3] - box[1] < plain.height / 8


def test_annotations(parser: PdfParser) -> None:
    text = read(parser, "annots")[0].text
    assert "Agreed change: penalty is 5 percent per week" in text
    assert "APPROVED BY BOARD 3 MAY 2026" in text
    assert "Note: Legal: ask Harwick" in text


def test_labels(parser: PdfParser) -> None:
    pages = read(parser, "page_labels")
    assert [page.label for page in pages] == ["i", "ii", "iii", "1", "2", "3", "4"]
    assert "1240 degrees" in pages[3].text


def test_noise(parser: PdfParser) -> None:
    pytest.importorskip("tesserocr")
    [page] = read(parser, "no_tounicode")
    assert page.reading == "unreadable"
    recognized = parser.recognize_page(PAGES / "no_tounicode.pdf", number=1)
    assert recognized.reading == "ocr"
    assert "5,400 doses" in recognized.text
    assert "Odile Farrand" in recognized.text


def test_a_scan_with_a_stamp(parser: PdfParser) -> None:
    pytest.importorskip("tesserocr")
    assert [page.reading for page in read(parser, "scan_with_stamp")] == ["scan"] * 3
    texts = [
        parser.recognize_page(PAGES / "scan_with_stamp.pdf", number=number).text
        for number in (1, 2, 3)
    ]
    assert "parcel 88, Mill Lane" in texts[0]
    assert "96,000 crowns" in texts[1]
    assert "notary Aubrey Lask" in texts[2]
    assert all("Land Registry 2026-11-03" in text for text in texts)


@pytest.mark.parametrize(
    "name",
    [
        "annots", "articles", "flattened_form", "footnote2", "form_filled", "hidden_layer",
        "hidden_text", "hyphen_lines", "invoices", "nospace", "page_labels", "superscript",
        "table_colwise", "table_long", "toc_leaders", "two_col_rows", "vertical_ja",
    ],
)  # fmt: skip
def test_pages_with_text_need_no_ocr(parser: PdfParser, name: str) -> None:
    assert {page.reading for page in read(parser, name)} == {"text"}
