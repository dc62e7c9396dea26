"""Form fields, annotations, page labels, and unread parts of files."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from core.pdf import PdfParser
from tests import forms, pdfs

FIELDS = [("Tenant:", "Sunniva Brandt"), ("Rent:", "1,240 euros"), ("City:", "Odda")]


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser() as shared:
        yield shared


@pytest.fixture
def write(tmp_path: Path):
    def write(data: bytes) -> Path:
        path = tmp_path / "a.pdf"
        path.write_bytes(data)
        return path

    return write


def text_of(parser: PdfParser, path: Path, number: int = 1) -> str:
    return parser.read_pages(path, first=number, last=number)[0].text


def picture(parser: PdfParser, path: Path, highlight: str | None = None) -> Image.Image:
    image = parser.render_page(path, number=1, highlight=highlight)
    return Image.open(io.BytesIO(image)).convert("L")


@pytest.mark.parametrize("appearances", [True, False], ids=["drawn", "left to the reader"])
def test_fields_are_read(parser: PdfParser, write, appearances: bool) -> None:
    path = write(forms.make_form(FIELDS, appearances=appearances))
    text = text_of(parser, path)
    for label, value in FIELDS:
        assert label in text
        assert value in text


@pytest.mark.parametrize("appearances", [True, False], ids=["drawn", "left to the reader"])
def test_the_picture_shows_fields_and_marks_quotes_in_them(
    parser: PdfParser, write, appearances: bool
) -> None:
    path = write(forms.make_form(FIELDS, appearances=appearances))
    filled = picture(parser, path)
    marked = picture(parser, path, "Sunniva Brandt")
    assert filled.height == 842 * 1.5, "the page's own box is kept"
    empty = picture(parser, write(forms.make_form([(label, "") for label, _ in FIELDS])))
    box = ImageChops.difference(filled, empty).getbbox()
    assert box is not None
    assert box[0] >= 200 * 1.5 - 2, "values are right of their labels"
    mark = ImageChops.difference(filled, marked).getbbox()
    assert mark is not None
    top, bottom = (842 - 775) * 1.5, (842 - 755) * 1.5  # of the first field
    assert mark[1] < bottom
    assert mark[3] > top
    assert mark[3] - mark[1] < 30, "one line is marked"


def test_ticks_and_choices_are_in_line_with_their_labels(parser: PdfParser, write) -> None:
    ticks = [("Smoker", False), ("Pets allowed", True)]
    text = text_of(parser, write(forms.make_form(FIELDS, ticks=ticks)))
    lines = text.split("\n")
    assert [f"{label} {value}" in lines for label, value in FIELDS] == [True, True, True]
    assert "☐ Smoker" in lines
    assert "☑ Pets allowed" in lines


def test_a_value_a_little_off_the_line_of_its_label_is_on_it(parser: PdfParser, write) -> None:
    text = text_of(parser, write(forms.make_form(FIELDS, offset=5)))
    assert "Tenant: Sunniva Brandt" in text


def test_the_picture_shows_notes_and_marks_quotes_from_them(parser: PdfParser, write) -> None:
    plain = picture(parser, write(forms.make_annotated(["One."])))
    path = write(forms.make_annotated(["One."], notes=["Ask Ulrike about clause 4"]))
    noted = picture(parser, path)
    assert ImageChops.difference(plain, noted).getbbox() is not None
    marked = ImageChops.difference(noted, picture(parser, path, "Note: Ask Ulrike")).getbbox()
    assert marked is not None
    assert marked[2] - marked[0] > 100, "the note's words are shown"
    assert ImageChops.difference(noted, picture(parser, path, "Someone else")).getbbox() is None


def test_the_text_is_the_same_however_often_a_page_is_read(parser: PdfParser, write) -> None:
    path = write(forms.make_annotated(["One."], stamps=["SEEN"], notes=["Ask Ulrike."]))
    parser.render_page(path, number=1)
    first = text_of(parser, path)
    assert text_of(parser, path) == first
    with PdfParser() as fresh:
        assert text_of(fresh, path) == first


def test_visible_annotations_are_text_and_notes_are_notes(parser: PdfParser, write) -> None:
    made = forms.make_annotated(
        ["The fee is 3 percent."],
        free_texts=["Changed: the fee is 4 percent"],
        stamps=["SIGNED 9 JUNE 2026"],
        notes=["Legal wants clause 7 out"],
        hidden=["The fee is 9 percent"],
    )
    text = text_of(parser, write(made))
    assert "Changed: the fee is 4 percent" in text
    assert "SIGNED 9 JUNE 2026" in text
    assert "Note: Legal wants clause 7 out" in text
    assert text.count("clause 7") == text.count("SIGNED") == 1
    assert "9 percent" not in text


def test_pages_have_the_labels_that_the_file_gives_them(parser: PdfParser, write) -> None:
    path = write(forms.make_labelled([f"Text {n}." for n in range(1, 6)], roman=2))
    labels = parser.inspect(path).labels
    pages = parser.read_pages(path, first=1, last=5, labels=labels)
    assert [page.label for page in pages] == ["i", "ii", "1", "2", "3"]
    assert parser.inspect(write(pdfs.make_pdf(["One.", "Two."]))).labels == ()


def test_a_tree_of_labels_that_contains_itself_breaks_nothing(parser: PdfParser, write) -> None:
    data = pdfs.build_pdf(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R /PageLabels 4 0 R >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>",
            4: b"<< /Kids [4 0 R 4 0 R] /Limits [0 9] >>",
        }
    )
    assert parser.inspect(write(data)).labels == ()
    assert [page.text for page in parser.read_pages(write(data), first=1, last=1)] == [""]


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [
        (forms.make_with_attachments(["x"], {"a.csv": b"1"}), "attachments_not_read", "a.csv"),
        (
            forms.make_with_attachments(["x"], {"a.pdf": b"1", "b.pdf": b"2"}, portfolio=True),
            "portfolio_not_read",
            "b.pdf",
        ),
        (forms.make_xfa(["x"]), "xfa_form_not_read", "XFA"),
    ],
    ids=["attachment", "portfolio", "xfa"],
)
def test_unread_parts_are_named(
    parser: PdfParser, write, data: bytes, code: str, told: str
) -> None:
    [note] = parser.inspect(write(data)).notes
    assert note.code == code
    assert told in note.detail


def test_an_ordinary_file_has_no_notes(parser: PdfParser, write) -> None:
    assert parser.inspect(write(forms.make_form(FIELDS))).notes == ()


def test_a_file_pinned_to_a_page_is_named_with_the_page(parser: PdfParser, write) -> None:
    path = write(forms.make_file_annotation(["One.", "Two."], on_page=2))
    pages = parser.read_pages(path, first=1, last=2)
    assert [page.notes for page in pages] == [(), ("attachments_not_read",)]
