"""OCR: scans of every kind through the parser and through ingestion."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image, ImageChops, ImageDraw, ImageFont
from sqlalchemy import select

from core.bootstrap import Services
from core.db.models import Chunk, Document, DocumentPage, Job
from core.documents import ingestion, reading, uploads
from core.errors import DocumentError
from core.pdf import PdfLimits, PdfParser
from core.pdf.ocr_data import OcrData, find_ocr
from core.search import retrieval
from tests import pdfs, scans
from tests.integration.steps import TENANT, ask, ingest, new_session

pytest.importorskip("tesserocr")
DATA = OcrData(str(Path(sys.prefix, "share/tessdata")), ("eng",))
LETTER = [
    "Survey of the harbour at Brennvik\n\n"
    "The mole is 412 metres long and was built between 1931 and 1934 under the engineer\n"
    "Halvor Strand. Its foundation is granite from the quarry at Sorland.\n\n"
    "Deposit: 1,750 kroner. Contract no. HB-2093. Telephone 55 01 42 77.",
    "Second sheet: the lamp at the end of the mole burns acetylene and is tended by\n"
    "Ingeborg Moen, whose salary is 96 kroner a month.",
]

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "noisy": scans.noisy,
    "speckled": lambda image: scans.noisy(image, sigma=5, specks=0.01),
    "faint": scans.faint,
    "bordered": scans.bordered,
    "shaded": scans.shaded,
}

# Several of these tests at once would exceed the time limit of a page.
pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser(ocr=DATA) as shared:
        yield shared


@pytest.fixture
def write(tmp_path: Path):
    def write(data: bytes) -> Path:
        path = tmp_path / "scan.pdf"
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def ocr_services(make_services: Callable[..., Services], parser: PdfParser) -> Iterator[Services]:
    services = make_services()
    services.__dict__["pdf_parser"] = parser
    yield services
    del services.__dict__["pdf_parser"]  # it serves the next test too


def stored(services: Services, document_id: object) -> Document:
    with services.database.transaction(tenant_id=TENANT) as db:
        return db.scalars(select(Document).where(Document.id == document_id)).one()


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("clean", 0.98),
        ("askew", 0.93),
        ("coarse", 0.93),
        ("sideways", 0.93),
        ("upside down", 0.93),
        ("noisy", 0.93),
        ("speckled", 0.93),
        ("faint", 0.98),
        ("bordered", 0.98),
        ("shaded", 0.98),
    ],
)
def test_scans_of_every_kind_are_read(parser: PdfParser, write, kind: str, least: float) -> None:
    printed = pdfs.make_pdf(LETTER)
    if kind == "askew":
        data = scans.scan(printed, dpi=150, quality=30, degrees=3)
    elif kind == "coarse":
        data = scans.scan(printed, dpi=100)
    elif kind in ("sideways", "upside down"):
        data = scans.scan(printed, degrees=90 if kind == "sideways" else 180)
    elif change := CHANGES.get(kind):
        data = scans.scanned([change(image) for image in scans.pictures(printed)])
    else:
        data = scans.scan(printed)
    path = write(data)
    assert [page.reading for page in parser.read_pages(path, first=1, last=2)] == ["scan", "scan"]
    pages = [parser.recognize_page(path, number=number) for number in (1, 2)]
    assert {page.reading for page in pages} == {"ocr"}
    assert scans.recall(" ".join(LETTER), " ".join(page.text for page in pages)) >= least


def test_the_order_of_lines_and_columns_is_kept(parser: PdfParser, write) -> None:
    read = parser.recognize_page(write(scans.scan(pdfs.make_pdf(LETTER))), number=1).text
    places = [read.index(word) for word in ("Survey", "412", "Halvor", "granite", "Deposit")]
    assert places == sorted(places)


def test_a_scan_with_a_stamp_is_a_scan(parser: PdfParser, write) -> None:
    images = scans.pictures(pdfs.make_pdf(LETTER[:1]))
    path = write(scans.scanned(images, stamp="Land Office 2026-03-07 page 1 of 1"))
    layer = parser.read_pages(path, first=1, last=1)[0]
    assert layer.reading == "scan"
    assert "Land Office" in layer.text
    read = parser.recognize_page(path, number=1)
    assert "Halvor Strand" in read.text
    assert "Land Office 2026-03-07" in read.text


def test_a_table_between_lines_is_read(parser: PdfParser, write) -> None:
    """Its columns have single digits, and its lines touch the cells."""
    counts = [(f"Delays of route {n}", n % 10, n * 7 % 10, n * 31) for n in range(1, 25)]
    image = Image.new("L", (1240, 1400), 255)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(28)
    for row, cells in enumerate(counts):
        top = 60 + 44 * row
        for right, cell in zip((500, 700, 900, 1100), cells, strict=True):
            draw.text((right, top), str(cell), font=font, fill=0, anchor="rt")
        for x in range(100, 1100, 24):
            draw.line((x, top + 30, x + 14, top + 30), fill=0, width=4)
    for x in (100, 504, 704, 904, 1104):
        draw.line((x, 40, x, 1110), fill=0, width=5)
    read = parser.recognize_page(write(scans.scanned([image])), number=1).text
    assert scans.recall(" ".join(str(cell) for cells in counts for cell in cells), read) >= 0.95


def test_two_pages_on_one_sheet_are_read_one_after_the_other(parser: PdfParser, write) -> None:
    texts = [
        "\n".join(f"In week {n} the {port} harbour master counted ships." for n in range(20))
        for port in ("northern", "southern")
    ]
    sheet = scans.beside(*scans.pictures(pdfs.make_pdf(texts)))
    read = parser.recognize_page(write(scans.scanned([sheet])), number=1).text
    assert 0 < read.rindex("northern") < read.index("southern")


HEADER = ["Depot", "Crates", "Weight kg"]


def depots(first: int, last: int) -> list[list[str]]:
    return [[f"Depot {n}", f"{n * 7}", f"{n * 1103:,}"] for n in range(first, last + 1)]


def drawn_table(pages: list[list[list[str]]]) -> bytes:
    """A PDF with a table of three columns on each page."""
    pdf = FPDF(unit="pt", format="A4")
    pdf.set_auto_page_break(auto=False)
    for rows in pages:
        pdf.add_page()
        pdf.set_font("Helvetica", size=10)
        for row, (label, *values) in enumerate(rows):
            pdf.text(72, 70 + 16 * row, label)
            for right, value in zip((300, 400), values, strict=True):
                pdf.text(right - pdf.get_string_width(value), 70 + 16 * row, value)
    return bytes(pdf.output())


def test_a_scanned_table_keeps_its_columns_names_overleaf(parser: PdfParser, write) -> None:
    """The child reads page 3 before it has read the page with the header."""
    pages = [[HEADER, *depots(1, 30)], depots(31, 60), depots(61, 70)]
    path = write(scans.scan(drawn_table(pages)))
    third = parser.recognize_page(path, number=3).text
    second = parser.recognize_page(path, number=2).text
    assert "Depot 65 | Crates: 455 | Weight kg: 71,695" in third
    assert "Depot 40 | Crates: 280 | Weight kg: 44,120" in second


def test_an_empty_page_and_a_photograph_give_no_words(parser: PdfParser, write) -> None:
    gradient = Image.linear_gradient("L").resize((1240, 1754))
    path = write(scans.scanned([Image.new("L", (1240, 1754), 245), gradient], dpi=150))
    for number in (1, 2):
        page = parser.recognize_page(path, number=number)
        assert (page.text, page.reading) == ("", "scan")


def test_a_printed_page_with_a_picture_keeps_its_text(parser: PdfParser, write) -> None:
    path = write(scans.scanned([Image.new("L", (1240, 1754), 245)], dpi=150, stamp="Cover 7-B"))
    page = parser.recognize_page(path, number=1)
    assert (page.text, page.reading) == ("Cover 7-B", "text")


def test_a_text_layer_of_noise_is_read_from_the_page(parser: PdfParser, write) -> None:
    path = write(scans.without_mapping(LETTER[0]))
    layer = parser.read_pages(path, first=1, last=1)[0]
    assert layer.reading == "unreadable"
    page = parser.recognize_page(path, number=1)
    assert page.reading == "ocr"
    assert scans.recall(LETTER[0], page.text) >= 0.93


def test_ocr_stays_within_the_limits_of_a_page(write) -> None:
    path = write(scans.scan(pdfs.make_pdf(LETTER)))
    with PdfParser(limits=PdfLimits(ocr_seconds=0.05), ocr=DATA) as hurried:
        with pytest.raises(DocumentError) as caught:
            hurried.recognize_page(path, number=1)
        assert caught.value.code == "pdf_too_complex"
        assert hurried.read_pages(path, first=1, last=1)[0].text == "", "the next call works"
    with PdfParser(limits=PdfLimits(memory_mb=512), ocr=DATA) as small:
        assert "Halvor" in small.recognize_page(path, number=1).text


def test_a_scan_becomes_a_document_with_quotes_in_its_pictures(ocr_services: Services) -> None:
    data = scans.scan(pdfs.make_pdf(LETTER), dpi=150, degrees=2)
    document_id = ingest(ocr_services, data, user_id="alice")
    document = stored(ocr_services, document_id)
    assert (document.status, document.reader_ocr) == ("ready", "eng")
    assert document.pages_ocr == [1, 2]
    assert document.pages_without_text == document.pages_unreadable == []
    question = "Which engineer built the mole?"
    [found] = retrieval.search(
        ocr_services, tenant_id=TENANT, query=question, user_id="alice", top_k=1
    )
    assert "Halvor Strand" in found.quote
    answer = ask(ocr_services, new_session(ocr_services), question)
    assert "Halvor Strand" in answer.content
    assert marked_rows(ocr_services, document_id, found.quote), "the quote is marked in the picture"
    assert marked_rows(ocr_services, document_id, "no such words anywhere") is None


def marked_rows(services: Services, document_id: object, quote: str):
    """The box of the highlight of `quote` on page 1; None if there is none."""
    document = stored(services, document_id)
    plain, marked = (
        Image.open(
            io.BytesIO(uploads.render_page(services, document, number=1, highlight=highlight))
        ).convert("RGB")
        for highlight in (None, quote)
    )
    return ImageChops.difference(plain, marked).getbbox()


def test_a_mark_is_where_the_word_is_printed(parser: PdfParser, write) -> None:
    """The mark on a page turned by a quarter is at most a tenth of the page away."""
    printed = pdfs.make_pdf(LETTER[:1])
    image = scans.pictures(printed)[0]
    upright = parser.recognize_page(write(scans.scanned([image])), number=1)
    sideways = parser.recognize_page(write(scans.scanned([scans.turned(image, 90)])), number=1)
    [one] = [word for word in upright.words if word.text.startswith("Halvor")]
    [other] = [word for word in sideways.words if word.text.startswith("Halvor")]
    # Turned to the left: what was right is up, what was above is left.
    assert other.left == pytest.approx(one.top, abs=0.02)
    assert other.top == pytest.approx(1 - one.right, abs=0.02)


def test_a_recognised_page_is_never_read_again(
    ocr_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is read in a separate turn, as if the worker died after each."""
    data = scans.scan(pdfs.make_pdf([f"{text} Sheet {n}." for n, text in enumerate(LETTER * 3)]))
    numbers: list[int] = []
    parser = ocr_services.pdf_parser
    recognize = parser.recognize_page

    def counting(path: Path, *, number: int):
        numbers.append(number)
        return recognize(path, number=number)

    monkeypatch.setattr(parser, "recognize_page", counting)
    seen = []
    accepted = uploads.accept_upload(
        ocr_services, tenant_id=TENANT, body=io.BytesIO(data), filename="s.pdf", user_id=None,
        session_id=None, metadata={},
    )  # fmt: skip
    monkeypatch.setattr(reading, "OCR_SLICE_SECONDS", 0.0)
    while ingestion.process_next_range(ocr_services):
        with ocr_services.database.transaction(tenant_id=TENANT) as db:
            job = db.scalars(select(Job)).one()
            seen.append((job.stage, job.pages_done))
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    assert ("ocr", 1) in seen
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1] == ("done", 6)
    assert stored(ocr_services, accepted.document.id).pages_ocr == [1, 2, 3, 4, 5, 6]


def test_a_page_whose_ocr_fails_is_named_and_the_others_are_read(
    ocr_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognize = ocr_services.pdf_parser.recognize_page

    def failing(path: Path, *, number: int):
        if number == 2:
            raise DocumentError("Reading the document took too long.", code="pdf_too_complex")
        return recognize(path, number=number)

    monkeypatch.setattr(ocr_services.pdf_parser, "recognize_page", failing)
    document = stored(ocr_services, ingest(ocr_services, scans.scan(pdfs.make_pdf(LETTER))))
    assert (document.status, document.pages_ocr) == ("ready", [1])
    assert document.pages_without_text == [2]
    assert [(note["code"], note["pages"]) for note in document.notes] == [("ocr_failed", [2])]


def test_a_job_that_is_cancelled_during_ocr_keeps_no_page(
    ocr_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "OCR_SLICE_SECONDS", 0.0)
    accepted = uploads.accept_upload(
        ocr_services, tenant_id=TENANT, body=io.BytesIO(scans.scan(pdfs.make_pdf(LETTER))),
        filename="s.pdf", user_id=None, session_id=None, metadata={},
    )  # fmt: skip
    for _ in range(2):
        ingestion.process_next_range(ocr_services)
    uploads.cancel_job(ocr_services, tenant_id=TENANT, job_id=accepted.job.id)
    while ingestion.process_next_range(ocr_services):
        pass
    with ocr_services.database.transaction(tenant_id=TENANT) as db:
        assert db.scalars(select(DocumentPage)).all() == []


def test_without_ocr_scans_and_noise_are_named(services: Services) -> None:
    stamped = scans.scanned(scans.pictures(pdfs.make_pdf(LETTER)), stamp="Land Office 7")
    document = stored(services, ingest(services, stamped))
    assert (document.status, document.pages_without_text) == ("ready", [1, 2])
    assert (document.pages_ocr, document.reader_ocr) == ([], "")
    noise = stored(services, ingest(services, scans.without_mapping(LETTER[0])))
    assert (noise.status, noise.pages_unreadable) == ("failed", [1])
    both = scans.joined(scans.without_mapping(LETTER[0]), pdfs.make_pdf(LETTER[1:]))
    half = stored(services, ingest(services, both))
    assert (half.status, half.pages_unreadable) == ("ready", [1])
    with services.database.transaction(tenant_id=TENANT) as db:
        texts = db.scalars(select(Chunk.text).where(Chunk.document_id == half.id)).all()
    assert len(texts) == 1
    assert "Ingeborg Moen" in texts[0]


def test_the_data_is_found_where_most_languages_are(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory, names in ((one, ["eng"]), (two, ["eng", "deu", "osd"])):
        directory.mkdir()
        for name in names:
            (directory / f"{name}.traineddata").touch()
    found = find_ocr(["deu", "eng", "fra"], directories=[one, two])
    assert found == OcrData(str(two), ("deu", "eng"))
    assert found.joined == "deu+eng"
    assert find_ocr(["fra"], directories=[one, two]) is None


def test_ocr_can_be_switched_off(make_services: Callable[..., Services]) -> None:
    assert make_services(ocr="off").ocr is None
    assert make_services(ocr="auto").ocr is not None
