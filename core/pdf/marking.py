"""Finds a quote on a page by the tokens of the page reader, which know their words.

The page's characters do not suffice: the text of a table's row repeats the headers of its
columns, which are elsewhere on the page.
"""

from collections.abc import Callable, Sequence
from typing import Any

from core.pdf.annotations import Annotation
from core.pdf.highlighting import Box, fold, locate
from core.pdf.layout.overleaf import TableHead
from core.pdf.layout.text import Token
from core.pdf.layout.words import Word
from core.pdf.page_reader import read_tokens

_CELL_END = " | "
_SAME_LINE = 0.5
_NEAR = 1.0  # of a word's height; words closer than this share a box


def find_reading_boxes(
    page: Any,
    quote: str,
    *,
    scale: float,
    annotations: Sequence[Annotation] = (),
    find_head: Callable[[], TableHead | None] = lambda: None,
) -> list[Box]:
    """Pixel boxes of the words of `quote`; none unless the reading contains the whole quote.

    `find_head` gives the head of the table at the end of the page before. It is called only for
    a quote that is not found without it, because it may have to read that page.
    """
    words = find_words(read_tokens(page, annotations), quote)
    if not words and _CELL_END in quote and (head := find_head()) is not None:
        words = find_words(read_tokens(page, annotations, head), quote)
    return [
        (left * scale, top * scale, right * scale, bottom * scale)
        for left, top, right, bottom in _join_neighbours(words)
    ]


def find_words(tokens: Sequence[Token], quote: str) -> list[Word]:
    """The words that `quote` consists of. Only letters and digits are compared."""
    letters = [fold(token.text) for token in tokens]
    wanted = fold(quote)
    start, length = locate("".join(letters), wanted)
    if not wanted or length < len(wanted):
        return []
    found: list[Word] = []
    position = 0
    for token, part in zip(tokens, letters, strict=True):
        if part and position < start + length and position + len(part) > start:
            found += token.words
        position += len(part)
    return list(dict.fromkeys(found))


def _join_neighbours(words: Sequence[Word]) -> list[Box]:
    """One box for the words of a line that are beside each other."""
    boxes: list[Box] = []
    for word in words:
        box = word.left, word.top, word.right, word.bottom
        if boxes and _are_beside(boxes[-1], box):
            last = boxes[-1]
            box = (
                min(last[0], box[0]),
                min(last[1], box[1]),
                max(last[2], box[2]),
                max(last[3], box[3]),
            )
            boxes[-1] = box
        else:
            boxes.append(box)
    return boxes


def _are_beside(one: Box, other: Box) -> bool:
    """Whether a word follows the others on their line, at the distance of a space."""
    height = min(one[3] - one[1], other[3] - other[1])
    level = min(one[3], other[3]) - max(one[1], other[1]) > _SAME_LINE * height
    return level and max(other[0] - one[2], one[0] - other[2]) < _NEAR * height
