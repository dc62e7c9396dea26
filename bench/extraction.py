"""Measures how much of a PDF's text each engine reads, and how fast.

    .venv/bin/python -m bench.extraction [--pages 60] [--repeat 3] [--speed-only] [folder]

`folder` (default: ../shared/data) has `pdfs/`, `reference_text/` with `reference.csv`
(columns file, reference), and optionally `retrieval/financebench/pdfs/`. Word recall is
the multiset overlap, divided by the reference's words, after NFKC and case folding and
without soft hyphens and Arabic marks. Words are runs of word characters; CJK characters
count singly. Times are the child's processor time and the elapsed time; a difference shows
other work on the machine. The page reader's bar is its processor time above that of pypdfium2's
own text of the same pages, and the child's peak memory.
"""

import argparse
import csv
import re
import statistics
import time
import unicodedata
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pypdfium2

from core.errors import DocumentError
from core.pdf import PdfLimits, PdfParser

ENGINES = ("auto", "pdfium", "pypdf")
RANGE_PAGES = 16
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = re.compile(f"[{CJK}]|[^\\W{CJK}]+")
IGNORED = re.compile("[\u00ad\u064b-\u065f\u0670\u0640]")


def count_words(text: str) -> Counter[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return Counter(WORD.findall(IGNORED.sub("", folded)))


def word_recall(reference: str, text: str) -> float:
    wanted = count_words(reference)
    return (wanted & count_words(text)).total() / max(1, wanted.total())


def read_text(parser: PdfParser, path: Path) -> str:
    try:
        info = parser.inspect(path)
        count = info.page_count
        ranges = range(1, count + 1, RANGE_PAGES)
        pages = [
            page.text
            for first in ranges
            for page in parser.read_pages(
                path,
                first=first,
                last=min(count, first + RANGE_PAGES - 1),
                known_words=info.known_words,
            )
        ]
    except DocumentError:
        return ""
    return "\f".join(pages)


def measure_recall(folder: Path, engine: str) -> dict[str, list[float]]:
    """Recall of each file with a reference text, by the kind in its name."""
    recalls = defaultdict(list)
    with (
        PdfParser(limits=PdfLimits(), engine=engine) as parser,
        open(folder / "reference_text" / "reference.csv", newline="") as table,
    ):
        for row in csv.DictReader(table):
            reference = (folder / "reference_text" / row["reference"]).read_text()
            recall = word_recall(reference, read_text(parser, folder / "pdfs" / row["file"]))
            recalls[row["file"].split("__")[0]].append(recall)
    return recalls


def print_recall(folder: Path) -> None:
    results = {engine: measure_recall(folder, engine) for engine in ENGINES}
    print("| kind | files | " + " | ".join(ENGINES) + " |")
    print("| --- | --- |" + " --- |" * len(ENGINES))
    for kind in [*results["auto"], "all"]:
        cells = [pick(results[engine], kind) for engine in ENGINES]
        means = " | ".join(f"{statistics.mean(cell):.4f}" for cell in cells)
        print(f"| {kind} | {len(cells[0])} | {means} |")


def pick(recalls: dict[str, list[float]], kind: str) -> list[float]:
    return recalls[kind] if kind != "all" else [x for values in recalls.values() for x in values]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Speed(NamedTuple):
    """Milliseconds per page, and the most memory that the child had, in MiB.

    `cpu` and `wall` are the child's, `pdfium` is pypdfium2's own text in this process.
    """

    cpu: float
    wall: float
    pdfium: float
    above_pdfium: float
    peak_mb: float


def peak_mb(pid: int) -> float:
    """The peak resident memory of a process in MiB (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure_speed(path: Path, engine: str, pages: int) -> Speed:
    """The speed for the first `pages`. Each range is read by both, one right after the other."""
    with (
        PdfParser(limits=PdfLimits(recycle_mb=4096), engine=engine) as parser,
        closing(pypdfium2.PdfDocument(path)) as document,
    ):
        pages = min(pages, parser.inspect(path).page_count, len(document))
        parser.read_pages(path, first=1, last=1)
        assert parser._child is not None
        before, wall, pdfium = processor_seconds(parser._child.pid), 0.0, 0.0
        for first in range(1, pages + 1, RANGE_PAGES):
            last = min(pages, first + RANGE_PAGES - 1)
            start = time.perf_counter()
            # Without `page_count` the child reads two more pages, to find running headers.
            parser.read_pages(path, first=first, last=last, page_count=pages)
            wall += time.perf_counter() - start
            pdfium += pdfium_seconds(document, range(first - 1, last))
        cpu = processor_seconds(parser._child.pid) - before
        times = (1000 * seconds / pages for seconds in (cpu, wall, pdfium, cpu - pdfium))
        return Speed(*times, peak_mb(parser._child.pid))


def pdfium_seconds(document: pypdfium2.PdfDocument, indices: range) -> float:
    """Processor seconds for pdfium's own text of the pages."""
    start = time.process_time()
    for index in indices:
        with closing(document[index]) as page, closing(page.get_textpage()) as text_page:
            text_page.get_text_range()
    return time.process_time() - start


def print_speed(folder: Path, pages: int, repeat: int) -> None:
    """The median of several measurements of each annual report."""
    columns = ["cpu", "wall", "pdfium cpu", "cpu above pdfium", "peak MiB", "pypdf cpu"]
    print(f"\nMilliseconds per page, first {pages} pages of each, median of {repeat}\n")
    print("| file | " + " | ".join(columns) + " |\n| --- |" + " --- |" * len(columns))
    rows = []
    for path in sorted(folder.glob("retrieval/financebench/pdfs/*10K.pdf")):
        runs = [measure_speed(path, "auto", pages) for _ in range(repeat)]
        medians = [statistics.median(column) for column in zip(*runs, strict=True)]
        rows.append((*medians, measure_speed(path, "pypdf", min(pages, 32)).cpu))
        print(f"| {path.stem} | " + " | ".join(f"{cell:.1f}" for cell in rows[-1]) + " |")
    if rows:
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        print("| mean | " + " | ".join(f"{cell:.1f}" for cell in means) + " |")


def main() -> None:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("folder", type=Path, nargs="?", default=default)
    arguments.add_argument("--pages", type=int, default=60)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--speed-only", action="store_true")
    options = arguments.parse_args()
    if not (options.folder / "reference_text").is_dir():
        raise SystemExit(f"{options.folder} holds no reference texts: nothing to measure")
    if not options.speed_only:
        print_recall(options.folder)
    print_speed(options.folder, options.pages, options.repeat)


if __name__ == "__main__":
    main()
