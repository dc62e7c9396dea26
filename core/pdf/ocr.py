"""OCR of one page by Tesseract: words with their boxes. Runs only in the child.

Tesseract needs upright, level text on an even background, so the page's image is corrected
first. A sideways page is recognised by the low confidence of its words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tesserocr
from PIL import Image
from pypdfium2 import PdfiumError

from core.pdf.layout.overleaf import TableHead
from core.pdf.layout.reading import read_layout
from core.pdf.layout.words import Word
from core.pdf.pdfium_engine import PdfiumDocument
from core.pdf.recognized import Recognized
from core.pdf.scan_image import Frame, clean, has_ink, straighten
from core.pdf.values import OcrWord

DPI = 200  # 300 takes twice as long and reads no more
_MAX_PIXELS = 24_000_000
_POINTS_PER_INCH = 72
# Confidence of a word, from 0 to 100. On a page of text even uncertain words are mostly right;
# specks and photographs yield only uncertain words.
_MIN_CONFIDENCE = 40
_TEXT_CONFIDENCE = 80  # mean of a page of text
_UPRIGHT_CONFIDENCE = 75  # mean of an upright page; sideways text has 20 to 60
_MIN_UPRIGHT_WORDS = 5


@dataclass(frozen=True, slots=True)
class Scan:
    """The words that Tesseract found, in points of the straightened page."""

    words: list[Word]
    page: Frame
    dpi: float

    def read(self, above: TableHead | None = None) -> Recognized:
        """See `core.pdf.recognized.Scan`."""
        width, height = (side * _POINTS_PER_INCH / self.dpi for side in self.page.size)
        reading = read_layout(self.words, width=width, height=height, above=above)
        ordered = [word for token in reading.tokens for word in token.words]
        boxes = [_box(self.page, word, self.dpi / _POINTS_PER_INCH) for word in ordered]
        return Recognized(
            reading.text(), reading.wants_head, reading.head, reading.caption, words=boxes
        )


class Recognizer:
    """Tesseract with its languages loaded. `languages` are joined by `+`, the main one first."""

    def __init__(self, data_dir: str, languages: str) -> None:
        self.key = (data_dir, languages)
        self._data_dir = data_dir
        self._quarter = 0  # turn of the last page; the next one usually has the same
        self._api = tesserocr.PyTessBaseAPI(
            path=data_dir,
            lang=languages,
            psm=tesserocr.PSM.SINGLE_COLUMN,
            oem=tesserocr.OEM.LSTM_ONLY,
        )

    def recognize(self, document: PdfiumDocument, number: int) -> Scan:
        """The words printed on page `number`; none if nothing is readable."""
        try:
            with document.open_page(number) as page:
                image, dpi = _draw(page)
        except PdfiumError:
            return _blank(DPI)
        return self.read_image(image, dpi=dpi)

    def read_image(self, image: Image.Image, *, dpi: float) -> Scan:
        """The words of a grey image of a page."""
        image = clean(image)
        if not has_ink(image):
            return _blank(dpi)
        straight, frame = straighten(image, quarter=self._quarter)
        words, confidence = self._read(straight, dpi)
        if confidence < _UPRIGHT_CONFIDENCE or len(words) < _MIN_UPRIGHT_WORDS:
            quarter = (self._quarter + self._orientation(straight)) % 360
            if quarter != self._quarter:
                turned, other = straighten(image, quarter=quarter)
                others, better = self._read(turned, dpi)
                if better > confidence:
                    frame, words, self._quarter = other, others, quarter
        return Scan(words, frame, dpi)

    def close(self) -> None:
        """Free the memory."""
        self._api.End()

    def _read(self, straight: Image.Image, dpi: float) -> tuple[list[Word], float]:
        """The words, in points of the straightened image, and their mean confidence."""
        self._api.SetImage(straight)
        self._api.SetSourceResolution(round(dpi))
        self._api.Recognize()
        found = list(_words(self._api.GetIterator(), _POINTS_PER_INCH / dpi))
        self._api.Clear()
        if not found:
            return [], 0.0
        mean = sum(confidence for _, confidence in found) / len(found)
        least = 0 if mean >= _TEXT_CONFIDENCE else _MIN_CONFIDENCE
        return [word for word, confidence in found if confidence >= least], mean

    def _orientation(self, image: Image.Image) -> int:
        """The degrees to the left by which the image must be turned to be upright."""
        if not Path(self._data_dir, "osd.traineddata").is_file():
            return 0
        with tesserocr.PyTessBaseAPI(
            path=self._data_dir, lang="osd", psm=tesserocr.PSM.OSD_ONLY
        ) as api:
            api.SetImage(image)
            found = api.DetectOrientationScript()
        return int(found["orient_deg"]) if found else 0


def _blank(dpi: float) -> Scan:
    return Scan([], Frame((1, 1), 0, 0.0, (1, 1)), dpi)


def _draw(page: Any) -> tuple[Image.Image, float]:
    """The page as a grey image, and its dots per inch, which are fewer for a giant page."""
    width, height = page.get_size()
    scale = DPI / _POINTS_PER_INCH
    pixels = max(1.0, width * scale) * max(1.0, height * scale)
    scale *= min(1.0, (_MAX_PIXELS / pixels) ** 0.5)
    image = page.render(scale=scale, grayscale=True).to_pil().convert("L")
    return image, scale * _POINTS_PER_INCH


def _words(iterator: Any, scale: float) -> Iterator[tuple[Word, float]]:
    """Each word, in points and with the height of its line, and its confidence."""
    level = tesserocr.RIL.WORD
    if iterator is None:
        return
    for item in tesserocr.iterate_level(iterator, level):
        if item.Empty(level):
            continue
        text = "".join(item.GetUTF8Text(level).split())
        box, line = item.BoundingBox(level), item.BoundingBox(tesserocr.RIL.TEXTLINE)
        if not text or not box or not line:
            continue
        baseline = item.Baseline(level)
        low = (baseline[0][1] + baseline[1][1]) / 2 if baseline else box[3]
        left, right = box[0] * scale, box[2] * scale
        word = Word(text, left, line[1] * scale, right, line[3] * scale, low * scale, 0)
        yield word, item.Confidence(level)


def _box(frame: Frame, word: Word, scale: float) -> OcrWord:
    """The word with the box around its corners on the original page."""
    corners = [
        frame.to_page(x * scale, y * scale)
        for x in (word.left, word.right)
        for y in (word.top, word.bottom)
    ]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return OcrWord(word.text, *(round(edge, 4) for edge in (min(xs), min(ys), max(xs), max(ys))))
