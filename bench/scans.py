"""Measures how much of a scanned page OCR reads, and how fast.

    python -m bench.scans ../shared/data [--pages 40] [--kinds clean,poor] [--worst 5]

Takes English pages of text from PDFs of a folder (`pdfs/normal__*.pdf`, `pdfs/form__*.pdf` and
`retrieval/*/pdfs/*.pdf`; any PDF of a folder without these), makes scans of them, and reads the
scans through the parser, as a worker does. Word recall is that of `bench.extraction`; the
reference is pdfium's text of the page. Seconds are those of the child's processor time, so
they do not grow when other work shares the machine.

    python -m bench.scans ../shared/data --elapsed --pages 30

reads one scan of so many pages with two processes, and prints the elapsed time.
"""

import argparse
import random
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
from PIL import Image

from bench.extraction import count_words, processor_seconds, word_recall
from core.pdf import PdfLimits, PdfParser
from core.pdf.cleaning import clean_text
from core.pdf.ocr_data import find_ocr
from core.pdf.text_layer import likeness_to_language
from tests import scans

GLOBS = ("pdfs/normal__*.pdf", "pdfs/form__*.pdf", "retrieval/*/pdfs/*.pdf")
MIN_WORDS = 60
MIN_ASCII = 0.99  # share of a page's letters; the data reads English
MIN_LIKENESS = 0.85  # of its letters' frequencies to those of languages
MIN_VISIBLE = 0.97  # share of the words that the page reader finds visible
# Text printed over other text, and a scan with a wrong text layer: no reference.
UNUSABLE = ("Overlayed-with-rot90", "pdf-with-ocr-text")
TRIES = 6  # pages of a file that are looked at
LETTERS = re.compile(r"[^\W\d_]")
DPI = 200


@dataclass(frozen=True)
class Sample:
    """A page, its text, and its picture at 200 dots per inch."""

    name: str
    text: str
    path: Path
    index: int

    def picture(self, dpi: int = DPI) -> Image.Image:
        with pypdfium2.PdfDocument(self.path) as pdf:
            return pdf[self.index].render(scale=dpi / 72, grayscale=True).to_pil().convert("L")


def poor(sample: Sample) -> bytes:
    image = scans.turned(sample.picture(150), 3)
    return scans.scanned([image], dpi=150, quality=30)


def at_200_dpi(change: Callable[[Image.Image], Image.Image]) -> Callable[[Sample], bytes]:
    return lambda sample: scans.scanned([change(sample.picture())], dpi=DPI)


KINDS: dict[str, Callable[[Sample], bytes]] = {
    "clean": at_200_dpi(lambda image: image),
    "poor": poor,
    "askew": at_200_dpi(lambda image: scans.turned(image, -2)),
    "sideways": at_200_dpi(lambda image: scans.turned(image, 90)),
    "upside down": at_200_dpi(lambda image: scans.turned(image, 180)),
    "noisy": at_200_dpi(scans.noisy),
    "faint": at_200_dpi(scans.faint),
    "bordered": at_200_dpi(scans.bordered),
    "shaded": at_200_dpi(scans.shaded),
    "two-up": at_200_dpi(lambda image: scans.beside(image, image)),
}


def choose_samples(folder: Path, count: int) -> list[Sample]:
    """English pages of text, spread evenly over the files; the same ones in each run."""
    paths = [path for pattern in GLOBS for path in sorted(folder.glob(pattern))]
    paths = paths or sorted(folder.rglob("*.pdf"))
    paths = [path for path in paths if not any(name in path.name for name in UNUSABLE)]
    chance = random.Random(11)
    chance.shuffle(paths)
    found: list[Sample] = []
    with PdfParser(limits=PdfLimits(recycle_mb=4096)) as parser:
        while len(found) < count and paths:
            for path in paths[: count - len(found)]:
                sample = choose_page(parser, path, chance, taken=found)
                if sample is None:
                    paths.remove(path)
                else:
                    found.append(sample)
    return found


def choose_page(
    parser: PdfParser, path: Path, chance: random.Random, *, taken: list[Sample]
) -> Sample | None:
    """A page whose text is English and all visible; None if a few pages of the file are not."""
    used = {one.index for one in taken if one.path == path}
    with pypdfium2.PdfDocument(path) as pdf:
        free = [index for index in range(len(pdf)) if index not in used]
        for index in chance.sample(free, min(TRIES, len(free))):
            text = clean_text(pdf[index].get_textpage().get_text_range())
            if not is_english(text):
                continue
            [page] = parser.read_pages(path, first=index + 1, last=index + 1)
            seen = word_recall(text, f"{page.title} {page.text}")
            if page.reading == "text" and seen >= MIN_VISIBLE:
                return Sample(f"{path.stem[:60]} p. {index + 1}", text, path, index)
    return None


def is_english(text: str) -> bool:
    letters = LETTERS.findall(text)
    plain = sum(letter.isascii() for letter in letters)
    likeness, _ = likeness_to_language(text)
    many = len(text.split()) >= MIN_WORDS
    return many and plain >= MIN_ASCII * len(letters) and likeness >= MIN_LIKENESS


def make_parser() -> PdfParser:
    ocr = find_ocr(["eng"])
    if ocr is None:
        raise SystemExit("OCR's packages are not installed: nothing to measure")
    return PdfParser(ocr=ocr)


def child_seconds(parser: PdfParser) -> float:
    """Processor seconds of all children so far, also of those that the parser replaced."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = ended.ru_utime + ended.ru_stime
    return used + (processor_seconds(parser._child.pid) if parser._child else 0.0)


@dataclass(frozen=True)
class Result:
    sample: Sample
    text: str
    seconds: float  # of the child's processor time

    @property
    def recall(self) -> float:
        return word_recall(self.sample.text, self.text)

    @property
    def missed(self) -> str:
        words = count_words(self.sample.text) - count_words(self.text)
        return " ".join(list(words.elements())[:30])


def measure(parser: PdfParser, kind: str, samples: list[Sample]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scan.pdf")
        for sample in samples:
            path.write_bytes(KINDS[kind](sample))
            parser.warm_up()
            used = child_seconds(parser)
            text = parser.recognize_page(path, number=1).text
            yield Result(sample, text, child_seconds(parser) - used)


def print_kinds(kinds: list[str], samples: list[Sample], *, worst: int) -> None:
    columns = "word recall | worst page | s per page | longest"
    print(f"{len(samples)} pages\n\n| kind | {columns} |\n| --- |" + " --- |" * 4, flush=True)
    with make_parser() as parser:
        parser.warm_up()
        for kind in kinds:
            found = list(measure(parser, kind, samples))
            recalls, seconds = [one.recall for one in found], [one.seconds for one in found]
            cells = f"{statistics.mean(recalls):.4f} | {min(recalls):.3f}"
            times = f"{statistics.mean(seconds):.2f} | {max(seconds):.2f}"
            print(f"| {kind} | {cells} | {times} |", flush=True)
            for one in sorted(found, key=lambda one: one.recall)[:worst]:
                print(f"  {one.recall:.3f}  {one.seconds:.2f} s  {one.sample.name}: {one.missed}")


def print_elapsed(samples: list[Sample]) -> None:
    """Read all pages with two parsers at once, as two worker processes do."""
    with tempfile.TemporaryDirectory() as folder, make_parser() as one, make_parser() as two:
        path = Path(folder, "scan.pdf")
        path.write_bytes(scans.scanned([sample.picture() for sample in samples]))
        numbers = iter(range(1, len(samples) + 1))
        for parser in (one, two):
            parser.warm_up()
        start = time.perf_counter()

        def read(parser: PdfParser) -> None:
            for number in numbers:
                parser.recognize_page(path, number=number)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(read, (one, two)))
        elapsed = time.perf_counter() - start
    print(f"{len(samples)} pages, two processes: {elapsed:.1f} s; ", end="")
    print(f"100 pages: {100 * elapsed / len(samples):.0f} s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--pages", type=int, default=40)
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--worst", type=int, default=0, help="list so many pages of each kind")
    options.add_argument("--elapsed", action="store_true")
    given = options.parse_args()
    samples = choose_samples(given.folder, given.pages)
    if not samples:
        raise SystemExit(f"{given.folder} holds no page of English text: nothing to measure")
    if given.elapsed:
        print_elapsed(samples)
    else:
        print_kinds(given.kinds.split(","), samples, worst=given.worst)


if __name__ == "__main__":
    main()
