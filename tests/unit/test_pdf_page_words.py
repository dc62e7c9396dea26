"""Words that pdfium finds on generated pages: their text, and whether a person sees them."""

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pypdfium2 as pdfium
import pytest
from fpdf import FPDF
from pypdf import PdfReader, PdfWriter

from core.pdf.page_reader import read_page


@contextmanager
def first_page(pdf: FPDF, rotation: int = 0) -> Iterator[pdfium.PdfPage]:
    writer = PdfWriter(PdfReader(io.BytesIO(bytes(pdf.output()))))
    writer.pages[0].rotate(rotation)
    file = io.BytesIO()
    writer.write(file)
    with closing(pdfium.PdfDocument(file.getvalue())) as document, closing(document[0]) as page:
        yield page


def read(pdf: FPDF, rotation: int = 0) -> str:
    with first_page(pdf, rotation) as page:
        return read_page(page, max_chars=10_000).text


def make_page() -> FPDF:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    return pdf


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_page_has_the_same_words_however_it_is_turned(rotation: int) -> None:
    pdf = make_page()
    pdf.write(8, "In 2022, McDonald of the USA (note 7) earned 12,500")
    pdf.char_vpos = "SUP"
    pdf.write(8, "3")
    pdf.char_vpos = "LINE"
    pdf.write(8, " dollars.\nThe next line has 31% of it.")
    assert read(pdf, rotation).split("\n") == [
        "In 2022, McDonald of the USA (note 7) earned 12,500^3 dollars.",
        "The next line has 31% of it.",
    ]


def test_a_raised_digit_before_a_full_stop_is_apart() -> None:
    pdf = make_page()
    pdf.write(8, "It earned 12,500")
    pdf.char_vpos = "SUP"
    pdf.write(8, "3")
    pdf.char_vpos = "LINE"
    pdf.write(8, ".")
    assert read(pdf) == "It earned 12,500^3."


@pytest.mark.parametrize(
    ("paper", "ink", "seen"),
    [
        (255, 0, True),
        (255, 200, True),
        (60, 255, True),
        (200, 150, True),
        (255, 255, False),
        (255, 250, False),
        (0, 0, False),
        (205, 200, False),
    ],
)
def test_words_need_contrast(paper: int, ink: int, seen: bool) -> None:
    pdf = make_page()
    pdf.write(8, "Beginning\n")
    pdf.set_fill_color(paper)
    pdf.rect(10, 40, 120, 20, style="F")
    pdf.set_text_color(ink)
    pdf.text(12, 50, "payable - in - 12,500 days")
    assert ("payable - in - 12,500 days" in read(pdf)) is seen
    assert ("payable" in read(pdf)) is seen


def test_covered_words_are_not_read() -> None:
    pdf = make_page()
    pdf.text(12, 50, "covered")
    pdf.set_fill_color(255)
    pdf.rect(10, 40, 120, 20, style="F")
    pdf.text(12, 80, "open")
    assert read(pdf) == "open"


def test_a_word_in_italics_may_lean_over_the_space_before_it() -> None:
    pdf = make_page()
    pdf.text(20, 20, "As noted, see")
    end = 20 + pdf.get_string_width("As noted, see")
    pdf.set_font("Helvetica", "I", 12)
    pdf.text(end - 0.3, 20, "Certain McDonald items")
    assert read(pdf) == "As noted, see Certain McDonald items"
