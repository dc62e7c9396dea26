"""Straightens the image of a scanned page and whitens its background, for OCR. Pure."""

from dataclasses import dataclass
from math import cos, radians, sin, tan

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.pdf.scan_lines import erase_lines

Gray = NDArray[np.uint8]

_MAX_SKEW = 12.0  # degrees; larger angles are intended by the page's author
_COARSE, _FINE = 0.5, 0.1  # degrees between two tested angles
_SKEW_WIDTH = 800  # pixels; enough for a precision of a tenth of a degree
_MAX_POINTS = 60_000  # points of ink used for the measurement
_SMALLEST_SKEW = 0.15  # degrees; less makes no difference to Tesseract
_BLOCK = 32  # pixels; the background is measured in blocks of this size
_INK = 60  # grey levels by which ink is darker than the paper around it
_MIN_INK = 30  # dark pixels; a page with fewer has no word on it
_MIN_FAINT_INK = 200  # pixels; fewer may be noise
_MIN_CONTRAST = 30  # grey levels between faint ink and its paper
_USUAL_CONTRAST = 120
_SPECK = 128  # grey level
_MANY_SPECKS = 0.001  # share of the page's pixels; dots in small text are single pixels too


@dataclass(frozen=True, slots=True)
class Frame:
    """How an image of a page was straightened; converts its points back to the page.

    `size` has the pixels of the straightened image, `page_size` those of the original one.
    `quarter` is the degrees to the left by which the page was turned (0, 90, 180, 270), and
    `skew` the further degrees to the left.
    """

    size: tuple[int, int]
    quarter: int
    skew: float
    page_size: tuple[int, int]

    def to_page(self, x: float, y: float) -> tuple[float, float]:
        """A point of the straightened image, as shares of the page's width and height."""
        width, height = self.size
        dx, dy = x - width / 2, y - height / 2
        angle = radians(self.skew + self.quarter)
        # Pillow rotates counterclockwise about the centre; y grows downwards.
        page_x = dx * cos(angle) - dy * sin(angle)
        page_y = dx * sin(angle) + dy * cos(angle)
        page_width, page_height = self.page_size
        return page_x / page_width + 0.5, page_y / page_height + 0.5


def has_ink(image: Image.Image) -> bool:
    """Whether the page has any ink."""
    gray = np.asarray(image)
    return bool(np.count_nonzero(gray < _paper(gray) - _INK) >= _MIN_INK)


def clean(image: Image.Image) -> Image.Image:
    """The grey image without single dark pixels if it is full of them, and with dark ink."""
    gray = np.asarray(image)
    gray = _without_specks(gray)
    paper = _paper(gray)
    counts = np.bincount(gray.ravel(), minlength=256)
    darkest = int(np.searchsorted(np.cumsum(counts), _MIN_FAINT_INK))
    lightest = 255 - int(np.searchsorted(np.cumsum(counts[::-1]), _MIN_FAINT_INK))
    contrast = paper - darkest
    # Grain makes the paper as much lighter as darker; ink only makes it darker.
    if not max(_MIN_CONTRAST, 2 * (lightest - paper)) <= contrast < _USUAL_CONTRAST:
        return Image.fromarray(gray)
    levels = np.clip(paper - (paper - np.arange(256)) * (_USUAL_CONTRAST / contrast), 0, 255)
    return Image.fromarray(levels.astype(np.uint8)[gray])


def _without_specks(gray: Gray) -> Gray:
    ink = np.pad(gray < _SPECK, 1)
    beside = ink[:-2, 1:-1] | ink[2:, 1:-1] | ink[1:-1, :-2] | ink[1:-1, 2:]
    specks = ink[1:-1, 1:-1] & ~beside
    if np.count_nonzero(specks) < _MANY_SPECKS * specks.size:
        return gray
    return np.where(specks, np.uint8(_paper(gray)), gray)


def straighten(image: Image.Image, *, quarter: int = 0) -> tuple[Image.Image, Frame]:
    """The grey image turned by `quarter` and then levelled, on white and without lines."""
    turned = image.rotate(quarter, expand=True) if quarter else image
    even = whiten(turned)
    skew = find_skew(np.asarray(even))
    if abs(skew) >= _SMALLEST_SKEW:
        even = even.rotate(skew, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    else:
        skew = 0.0
    return erase_lines(even), Frame(even.size, quarter, skew, image.size)


def whiten(image: Image.Image) -> Image.Image:
    """The image with a white background: divides by the background's brightness."""
    gray = np.asarray(image, dtype=np.float32)
    background = _background(gray)
    even = np.clip(gray / np.maximum(background, 1) * 255, 0, 255)
    return Image.fromarray(even.astype(np.uint8))


def find_skew(gray: Gray) -> float:
    """The degrees to the left by which the page must be turned to level its lines.

    It is the angle at which the projection of the ink has the sharpest rows (Postl, 1986).
    """
    step = max(1, gray.shape[1] // _SKEW_WIDTH)
    y, x = np.nonzero(gray[::step, ::step] < 255 - _INK)
    if len(x) < _MIN_INK:
        return 0.0
    every = max(1, len(x) // _MAX_POINTS)
    across, down = x[::every].astype(np.float32), y[::every].astype(np.float32)
    coarse = _sharpest(across, down, np.arange(-_MAX_SKEW, _MAX_SKEW + _COARSE, _COARSE))
    return _sharpest(across, down, np.arange(coarse - _COARSE, coarse + _COARSE + _FINE, _FINE))


def _sharpest(x: NDArray[np.float32], y: NDArray[np.float32], angles: NDArray[np.float64]) -> float:
    def sharpness(angle: float) -> float:
        rows = (y - x * tan(radians(angle))).round().astype(np.int64)
        counts = np.bincount(rows - rows.min()).astype(np.float64)
        return float(np.square(np.diff(counts)).sum())

    return float(max(angles, key=lambda angle: (sharpness(angle), -abs(angle))))


def _paper(gray: Gray) -> int:
    """The grey level of the paper: the most frequent one of the lighter half."""
    counts = np.bincount(gray.ravel(), minlength=256)
    lighter = int(np.searchsorted(np.cumsum(counts), gray.size // 2))
    return lighter + int(counts[lighter:].argmax())


def _background(gray: NDArray[np.float32]) -> NDArray[np.float32]:
    """The paper's grey level at each pixel: the light part of its block, smoothed."""
    height, width = gray.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.pad(gray, ((0, rows * _BLOCK - height), (0, columns * _BLOCK - width)), mode="edge")
    blocks = padded.reshape(rows, _BLOCK, columns, _BLOCK)[:, ::4, :, ::4]
    light = np.percentile(blocks, 85, axis=(1, 3)).astype(np.float32)
    smooth = Image.fromarray(light).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(smooth)
