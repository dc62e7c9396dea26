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
    if turn in (90, 180):
        baseline = (width if turn == 90 else height) - baseline
    left, top, right, bottom = upright_box((left, top, right, bottom), turn, width, height)
    return Piece(word, left, top, right, bottom, baseline, text, bottom - top)


def upright_box(box: Box, turn: int | None, width: float, height: float) -> Box:
    """The box after turning its page so that text of the direction `turn` is upright."""
    left, top, right, bottom = box
    if turn == 90:
        return top, width - right, bottom, width - left
    if turn == 270:
        return height - bottom, left, height - top, right
    if turn == 180:
        return width - right, height - bottom, width - left, height - top
    return box
