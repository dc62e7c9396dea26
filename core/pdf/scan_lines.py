"""Erases the lines of tables and forms from the image of a scanned page, for OCR. Pure.

Tesseract takes text that touches lines for a picture, and dashed lines for text. Lines are found
by opening the ink with a long segment (Serra, Image Analysis and Mathematical Morphology, 1982),
at half the resolution to save time. All lengths are pixels of that resolution, 100 per inch.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Ink = NDArray[np.bool_]

_DARK = 160  # grey level; the background of the image is white
_LENGTH = 50  # of a line; the strokes of usual letters are shorter
_THICKNESS = 6  # dark areas that are thicker are no lines
_PIECE = 8  # length of a line between two letters that touch it
_GAP = 12  # between two dashes
_DASHED_LENGTH = 100
_DASHED_THICKNESS = 3  # lines of small text are thicker once their letters are joined
_DASHED_PIECE = 50


def erase_lines(image: Image.Image) -> Image.Image:
    """The grey image, with level and upright lines in white, and level dashed lines too."""
    gray = np.asarray(image)
    ink = _halve(gray < _DARK)
    lines = _find_solid(ink) | _find_solid(ink.T).T | _find_dashed(ink)
    if not lines.any():
        return image
    erased = gray.copy()
    doubled = np.repeat(np.repeat(_grow(lines), 2, axis=0), 2, axis=1)
    erased[doubled[: gray.shape[0], : gray.shape[1]]] = 255
    return Image.fromarray(erased)


def _find_solid(ink: Ink) -> Ink:
    return _thin_runs(ink, length=_LENGTH, thickness=_THICKNESS, piece=_PIECE)


def _find_dashed(ink: Ink) -> Ink:
    joined = _close(ink, _GAP)
    return _thin_runs(
        joined, length=_DASHED_LENGTH, thickness=_DASHED_THICKNESS, piece=_DASHED_PIECE
    )


def _thin_runs(ink: Ink, *, length: int, thickness: int, piece: int) -> Ink:
    """Runs of ink along the rows, of at least `length`, where they are at most so thick.

    A letter or line that crosses a run divides it into pieces. A piece shorter than `piece`
    stays, and a gap as narrow as a line between two others is closed.
    """
    runs = _open(ink, length)
    if not runs.any():
        return runs
    pieces = _open(runs & ~_open(ink.T, thickness + 1).T, piece)
    return _close(pieces, thickness + 2)


def _close(ink: Ink, gap: int) -> Ink:
    """The ink with gaps along the rows filled, if they are narrower than `gap` pixels."""
    return _erode(_dilate(ink, gap), gap)


def _open(ink: Ink, length: int) -> Ink:
    """The pixels in runs of at least `length` pixels of ink along the rows."""
    return _dilate(_erode(ink, length), length)


def _erode(ink: Ink, length: int) -> Ink:
    after = length // 2
    return np.asarray(_count(ink, before=length - 1 - after, after=after) == length)


def _dilate(ink: Ink, length: int) -> Ink:
    before = length // 2
    return np.asarray(_count(ink, before=before, after=length - 1 - before) > 0)


def _count(ink: Ink, *, before: int, after: int) -> NDArray[np.int32]:
    """The pixels of ink among so many before and after each pixel of a row, and the pixel."""
    padded = np.pad(ink, ((0, 0), (before + 1, after)))
    sums: NDArray[np.int32] = padded.cumsum(axis=1, dtype=np.int32)
    return np.subtract(sums[:, before + after + 1 :], sums[:, : -(before + after + 1)])


def _halve(ink: Ink) -> Ink:
    """Half the resolution; a pixel is ink if any of its four pixels is."""
    even = np.pad(ink, ((0, ink.shape[0] % 2), (0, ink.shape[1] % 2)))
    return even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]


def _grow(lines: Ink) -> Ink:
    """The lines with one more pixel on each side, which is grey."""
    padded = np.pad(lines, 1)
    return lines | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
