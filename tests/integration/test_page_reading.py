"""Pages are read as a person sees them: generated files, and a private set if it is there."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image, ImageChops

from core.documents.chunking import chunk_pages
from core.pdf import PdfLimits, PdfParser
from tests.pdfs import build_pdf, make_pdf, make_slow_pdf

Draw = Callable[[FPDF], None]
Read = Callable[[bytes], list[str]]


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser(limits=PdfLimits()) as shared:
        yield shared


@pytest.fixture
def read(parser: PdfParser, tmp_path: Path) -> Read:
    def read(data: bytes) -> list[str]:
        path = tmp_path / "page.pdf"
        path.write_bytes(data)
        count = parser.inspect(path).page_count
        return [page.text for page in parser.read_pages(path, first=1, last=count)]

    return read


def drawn(*pages: Draw) -> bytes:
    """A PDF of A4 pages in points, 12-point Helvetica."""
    pdf = FPDF(unit="pt", format="A4")
    pdf.set_auto_page_break(auto=False)
    for draw in pages:
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        draw(pdf)
    return bytes(pdf.output())


def seen_and_hidden(hide: Draw) -> bytes:
    def draw(pdf: FPDF) -> None:
        pdf.text(72, 100, "The award is 485 dollars.")
        hide(pdf)
        pdf.set_text_color(0)
        pdf.text(72, 200, "It ends in May.")

    return drawn(draw)


def white(pdf: FPDF) -> None:
    pdf.set_text_color(255)
    pdf.text(72, 150, "hidden words")


def same_colour_as_its_box(pdf: FPDF) -> None:
    pdf.set_fill_color(20, 60, 120)
    pdf.rect(60, 130, 200, 40, style="F")
    pdf.set_text_color(20, 60, 120)
    pdf.text(72, 150, "hidden words")


def covered(pdf: FPDF) -> None:
    pdf.text(72, 150, "hidden words")
    pdf.set_fill_color(0)
    pdf.rect(60, 130, 200, 40, style="F")


def clipped(pdf: FPDF) -> None:
    with pdf.rect_clip(300, 300, 50, 50):
        pdf.text(72, 150, "hidden words")


def outside(pdf: FPDF) -> None:
    pdf.text(72, -30, "hidden words")


def tiny(pdf: FPDF) -> None:
    pdf.set_font("Helvetica", size=0.5)
    pdf.text(72, 150, "hidden words")
    pdf.set_font("Helvetica", size=12)


def without_ink(pdf: FPDF) -> None:
    with pdf.local_context(text_mode="INVISIBLE"):
        pdf.text(72, 150, "hidden words")


@pytest.mark.parametrize(
    "hide", [white, same_colour_as_its_box, covered, clipped, outside, tiny, without_ink]
)
def test_invisible_text_is_not_read(read: Read, hide: Draw) -> None:
    assert read(seen_and_hidden(hide)) == ["The award is 485 dollars.\n\nIt ends in May."]


def light_on_dark(pdf: FPDF) -> None:
    pdf.set_fill_color(20, 60, 120)
    pdf.rect(60, 130, 200, 40, style="F")
    pdf.set_text_color(255)
    pdf.text(72, 150, "shown words = 3")


def as_bright_as_its_box(pdf: FPDF) -> None:
    pdf.set_fill_color(0, 128, 0)  # both are the same grey
    pdf.rect(60, 130, 200, 40, style="F")
    pdf.set_text_color(251, 0, 0)
    pdf.text(72, 150, "shown words = 3")


@pytest.mark.parametrize("show", [light_on_dark, as_bright_as_its_box])
def test_text_in_another_colour_than_its_background_is_read(read: Read, show: Draw) -> None:
    assert "shown words = 3" in read(seen_and_hidden(show))[0]


def test_a_page_that_is_printed_small_throughout_is_read(read: Read) -> None:
    def draw(pdf: FPDF) -> None:
        pdf.set_font("Helvetica", size=1.2)
        pdf.text(72, 100, "A very small print.")

    assert read(drawn(draw)) == ["A very small print."]


def test_invisible_text_over_a_picture_is_read(read: Read) -> None:
    """It is the OCR text of a scan."""
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R /Resources"
        b" << /Font << /F1 5 0 R >> /XObject << /I 6 0 R >> >> >>",
        4: stream(
            b"q 400 0 0 400 0 0 cm /I Do Q BT 3 Tr /F1 12 Tf 50 300 Td (Scanned words) Tj ET"
        ),
        5: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        6: stream(
            bytes(255 * (x + y & 1) for y in range(64) for x in range(64)),
            b"/Type /XObject /Subtype /Image /Width 64 /Height 64 /BitsPerComponent 8"
            b" /ColorSpace /DeviceGray",
        ),
    }
    assert read(build_pdf(objects)) == ["Scanned words"]


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), entries, data)


def test_a_layer_that_is_off_is_not_read(read: Read) -> None:
    """Optional content, ISO 32000-2, 8.11."""
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R /OCProperties << /OCGs [6 0 R 7 0 R]"
        b" /D << /OFF [7 0 R] >> >> >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R /Resources"
        b" << /Font << /F1 5 0 R >> /Properties << /On 6 0 R /Off 7 0 R >> >> >>",
        4: stream(
            b"BT /F1 12 Tf /OC /On BDC 50 300 Td (Costs 1200 dollars.) Tj EMC"
            b" /OC /Off BDC 0 -20 Td (Costs 640 dollars.) Tj EMC ET"
        ),
        5: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        6: b"<< /Type /OCG /Name (retail) >>",
        7: b"<< /Type /OCG /Name (wholesale) >>",
    }
    assert read(build_pdf(objects)) == ["Costs 1200 dollars."]


def test_a_page_that_takes_too_long_to_draw_is_read_without_its_layout(tmp_path: Path) -> None:
    slow = make_slow_pdf().replace(b"/S sh", b"/S sh BT /F1 12 Tf 50 300 Td (Still read.) Tj ET")
    path = tmp_path / "slow.pdf"
    path.write_bytes(slow)
    with PdfParser(limits=PdfLimits(page_seconds=1)) as parser:
        parser.inspect(path)
        assert [page.text for page in parser.read_pages(path, first=1, last=1)] == ["Still read."]


def narrow_spaces(pdf: FPDF) -> None:
    pdf.text(72, 100, "Master of")
    pdf.text(72 + pdf.get_string_width("Master of") + 1.4, 100, "Science")


def test_narrow_spaces_separate_words(read: Read) -> None:
    assert read(drawn(narrow_spaces)) == ["Master of Science"]


def raised(pdf: FPDF) -> None:
    pdf.text(72, 100, "In 2024 the town had 12,500")
    end = 72 + pdf.get_string_width("In 2024 the town had 12,500")
    pdf.set_font("Helvetica", size=7)
    pdf.text(end, 96, "3")
    pdf.set_font("Helvetica", size=12)
    pdf.text(end + 8, 100, "inhabitants.")


def test_a_raised_digit_is_no_digit_of_the_number_before_it(read: Read) -> None:
    assert read(drawn(raised)) == ["In 2024 the town had 12,500^3 inhabitants."]


def turned(pdf: FPDF) -> None:
    with pdf.rotation(90, 40, 400):
        pdf.text(40, 400, "Confidential draft")
    pdf.text(72, 100, "The text of the page.")


def test_turned_text_comes_after_the_page(read: Read) -> None:
    assert read(drawn(turned)) == ["The text of the page.\n\nConfidential draft"]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_page_has_the_same_text(read: Read, rotation: int) -> None:
    data = make_pdf(["First line of the page\nSecond line of the page"])
    turned = data.replace(b"/Type /Page\n", b"/Type /Page /Rotate %d\n" % rotation)
    assert turned != data
    assert read(turned) == ["First line of the page\nSecond line of the page"]


def table_page(pdf: FPDF) -> None:
    pdf.text(200, 86, "Year ended May 31,")
    for row, cells in enumerate(
        (("", "2023", "2022"), ("Pumps", "410", "433"), ("Seals", "9", "8"))
    ):
        for x, cell in zip((72, 200, 280), cells, strict=True):
            pdf.text(x, 100 + 16 * row, cell)


def test_a_quoted_row_is_marked_with_its_headers(
    read: Read, parser: PdfParser, tmp_path: Path
) -> None:
    row = "Seals | Year ended May 31, 2023: 9 | Year ended May 31, 2022: 8"
    assert row in read(drawn(table_page))[0]
    plain, marked = (
        Image.open(io.BytesIO(parser.render_page(tmp_path / "page.pdf", number=1, highlight=text)))
        for text in (None, "Seals | Year ended May 31, 2023: 9")
    )
    changed = (
        ImageChops.difference(plain, marked).convert("L").point(lambda value: 255 * (value > 8))
    )
    seen = [
        changed.crop([round(1.5 * side) for side in box]).getbbox() is not None
        for box in (
            (72, 120, 110, 136),  # Seals
            (200, 120, 230, 136),  # 9
            (200, 76, 290, 88),  # the header over both years
            (200, 92, 230, 102),  # 2023
            (280, 92, 320, 102),  # 2022
            (72, 106, 110, 118),  # Pumps
        )
    ]
    assert seen == [True, True, True, True, False, False]


# Modelled on public bug reports of other systems. Its README has the right text of each page.
HARD_PAGES = Path(__file__).resolve().parents[3] / "shared" / "data" / "pages"
IN_ONE_CHUNK = {
    "invoices.pdf": [[f"Invoice 2026-10{n}"] for n in range(1, 7)]
    + [["Invoice 2026-104", "17.25 EUR"]],
    "articles.pdf": [[f"Article {n}"] for n in range(1, 9)] + [["Article 5", "August"]],
    "hyphen_lines.pdf": [
        ["COVID-19", "KX-200", "B-12", "non-EU", "self-employed", "A-7", "e-mail"],
        ["Anne-Marie", "anti-American", "2019-2020"],
    ],
    "flattened_form.pdf": [
        ["Tenant: Ottoline Grieve\n", "Monthly rent: 870 euros\n", "Deposit: 1,740 euros\n"],
        ["Landlord: Bastian Kofoed"],
    ],
    "table_colwise.pdf": [
        ["Corvath | Output 2023: 962 | Output 2024: 1,004 | Staff: 150"],
        ["Night loading | Refused on 2 April 2026 | Fee waived"],
    ],
    "two_col_rows.pdf": [
        ["63 barrels were landed on\nthe ninth of March"],
        ["keeper at Vesk earned\n210 crowns"],
    ],
    "hidden_text.pdf": [["485,000 USD"]],
    "hidden_layer.pdf": [["1200 dollars"]],
    "superscript.pdf": [
        ["10^6 litres", "12,500^3 inhabitants", "850 m²", "9,400 m³.", "10^-4", "CO2 at"],
        ["Carnol | Boils at: 250^9 | Melts at: 41", "Dravite | Boils at: 318^2 | Melts at: 77^1"],
    ],
    "vertical_ja.pdf": [
        [
            "港の灯台は明治十二年に建てられた。",
            "灯台守の名は佐藤兼吉で、三十年のあいだ火を守り続けた。",
        ],
    ],
    "nospace.pdf": [["Master of Science", "near Skagen", "Advisor Professor"]],
    "footnote2.pdf": [["runs for a term of ninety-nine years"]],
    "table_long.pdf": [
        ["V-050 | Driver: Birkson50 | Odometer km: 56850 | Tank litres: 40"],
        ["V-060 | Driver: Elmson60 | Odometer km: 60020 | Tank litres: 50 | Next check: 5.1.2027"],
    ],
    "toc_leaders.pdf": [["Storing the pump in winter | 12\n"]],
}
ON_NO_PAGE = {
    "hidden_text.pdf": ["1 USD", "7 USD", "tiny print"],
    "hidden_layer.pdf": ["640"],
    "hyphen_lines.pdf": ["COVID19", "selfemployed"],
}


@pytest.mark.skipif(not HARD_PAGES.is_dir(), reason="needs the private set of hard pages")
@pytest.mark.parametrize("name", IN_ONE_CHUNK)
def test_hard_pages_are_read_as_a_person_reads_them(parser: PdfParser, name: str) -> None:
    path = HARD_PAGES / name
    count = parser.inspect(path).page_count
    pages = parser.read_pages(path, first=1, last=count, page_count=count)
    chunks = [
        chunk.text
        for chunk in chunk_pages(
            pages, first=1, last=count, count_tokens=lambda text: len(text.split())
        )
    ]
    for wanted in IN_ONE_CHUNK[name]:
        assert any(all(part in chunk for part in wanted) for chunk in chunks), wanted
    for unwanted in ON_NO_PAGE.get(name, []):
        assert not any(unwanted in chunk for chunk in chunks)
