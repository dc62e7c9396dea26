"""A word on a page: the input of the page reader, whether pdfium or OCR found the word."""

from dataclasses import dataclass
from typing import NamedTuple

Box = tuple[float, float, float, float]


class Word(NamedTuple):
    """Characters without white space between them, and their place.

    The unit is the point (1/72 inch). x grows to the right and y grows
    downwards, from the top left corner of the displayed page. `left`,
    `top`, `right` and `bottom` enclose the font's full height and not only the
    ink. `baseline` is the y (for text that runs up or down, the x) of the line
    on which the letters are. `turn` is the direction of the text in degrees: 0
    to the right, 90 downwards, 180 to the left (upside down), 270 upwards,
    None for any other angle. Vertical writing has `turn` 90: like turned text,
    its lines follow each other from right to left. A `text` that ends in
    U+FFFE ends in a hyphen at the end of a line.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    baseline: float
    turn: int | None = 0


@dataclass(slots=True)
class Piece:
    """A word in the coordinates of the page after turning it so that the word is upright.

    `height` is that of the font in points, ascender to descender. `shift` is 1
    for a raised word, -1 for a lowered one, 0 for any other.
    """

    word: Word
    left: float
    top: float
    right: float
    bottom: float
    baseline: float
    text: str
    height: float
    shift: int = 0


def upright(word: Word, width: float, height: float) -> Piece:
    """The word after turning its page of `width` by `height` points so that it is upright."""
    text, left, top, right, bottom, baseline, turn = word
    if turn == 0:
        return Piece(word, left, top, right, bottom, baseline, text, bottom - top)
    if turn == 90:
        left, top, right, bottom = top, width - right, bottom, width - left
        baseline = width - baseline
    elif turn == 270:
        left, top, right, bottom = height - bottom, left, height - top, right
    elif turn == 180:
        left, top, right, bottom = width - right, height - bottom, width - left, height - top
        baseline = height - baseline
    return Piece(word, left, top, right, bottom, baseline, text, bottom - top)
