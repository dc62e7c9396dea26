"""Real PDFs of every kind, if they are there: each yields text or the right error code."""

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.extraction import measure_recall
from core.errors import DocumentError
from core.pdf import PdfParser

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
READ = frozenset({"text", "no text"})
REFUSED = frozenset({"pdf_malformed", "pdf_encrypted", "pdf_too_complex"})
OUTCOMES = defaultdict(
    lambda: frozenset({"text"}),
    {
        "attachment": READ,
        "broken": READ | REFUSED,
        "damaged": READ | {"pdf_encrypted"},
        "encrypted-openable": READ,
        "encrypted-password": frozenset({"pdf_encrypted"}),
        "encrypted-unreadable": frozenset({"pdf_encrypted", "pdf_malformed"}),
        "form": READ,
        "form-xfa": READ,
        "malicious": READ | REFUSED,
        "no-text": frozenset({"no text"}),
        "not-pdf": frozenset({"pdf_malformed"}),
        "scanned": frozenset({"no text"}),
        "truncated": frozenset({"pdf_malformed"}),
        "zero-page": frozenset({"pdf_malformed"}),
    },
)

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here"),
]


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser() as shared:
        yield shared


def outcome(parser: PdfParser, path: Path) -> str:
    try:
        count = parser.inspect(path).page_count
        pages = parser.read_pages(path, first=1, last=min(count, 12))
    except DocumentError as error:
        return error.code
    return "text" if any(page.text for page in pages) else "no text"


def test_every_file_has_the_outcome_of_its_kind(parser: PdfParser) -> None:
    with open(DATA / "pdfs" / "manifest.csv", newline="") as table:
        kinds = {row["file"]: row["kind"] for row in csv.DictReader(table)}
    found = {file: outcome(parser, DATA / "pdfs" / file) for file in kinds}
    assert {file: end for file, end in found.items() if end not in OUTCOMES[kinds[file]]} == {}


def test_recall_reaches_its_targets() -> None:
    recalls = measure_recall(DATA, "auto")
    assert statistics.mean(recalls["normal"]) >= 0.975
    assert statistics.mean(recall for kind in recalls.values() for recall in kind) >= 0.95
