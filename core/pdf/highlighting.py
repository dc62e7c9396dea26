"""Finds a quote on a page, regardless of line breaks, hyphens and ligatures."""

import ctypes
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium_c

from core.pdf.values import OcrWord

Box = tuple[float, float, float, float]
# If the whole quote is not found, the longest beginning of it is used,
_MIN_FOUND_LETTERS = 12
# or else the stretch of words that contains most of its words.
_MIN_FOUND_WORDS = 3
_MIN_WORD_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Word:
    """Letters between two spaces, and the indices of their characters on the page."""

    letters: str
    origins: tuple[int, ...]


def find_boxes(page: Any, quote: str, *, scale: float) -> list[Box]:
    """Pixel boxes (left, top, right, bottom), one per line that `quote` covers."""
    text_page = page.get_textpage()
    try:
        span = find_span(_read_words(text_page), quote)
        return list(_line_boxes(page, text_page, *span, scale=scale)) if span else []
    finally:
        text_page.close()


def find_word_boxes(words: Sequence[OcrWord], quote: str, *, size: tuple[int, int]) -> list[Box]:
    """Like `find_boxes`, for words that OCR found on an image of `size` pixels."""
    known = [Word(fold(word.text), (index,)) for index, word in enumerate(words)]
    known = [Word(word.letters, word.origins * len(word.letters)) for word in known if word.letters]
    span = find_span(known, quote) if known else None
    if span is None:
        return []
    width, height = size
    lines: list[OcrWord] = []
    for word in words[span[0] : span[1] + 1]:
        if lines and _is_beside(lines[-1], word):
            lines[-1] = _union(lines[-1], word)
        else:
            lines.append(word)
    return [
        (line.left * width, line.top * height, line.right * width, line.bottom * height)
        for line in lines
    ]


def _is_beside(one: OcrWord, other: OcrWord) -> bool:
    middle = (other.top + other.bottom) / 2
    return one.top < middle < one.bottom and other.right > one.left


def _union(one: OcrWord, other: OcrWord) -> OcrWord:
    return OcrWord(
        one.text,
        min(one.left, other.left),
        min(one.top, other.top),
        max(one.right, other.right),
        max(one.bottom, other.bottom),
    )


def find_span(words: Sequence[Word], quote: str) -> tuple[int, int] | None:
    """The indices of the first and last character that `quote` covers; None if it is not found.

    Only letters and digits are compared. If the page's text differs from the quote
    (another engine's ligatures, another order), words are compared instead.
    """
    letters = [word for part in quote.split() if (word := fold(part))]
    start, length = locate("".join(word.letters for word in words), "".join(letters))
    if length < sum(map(len, letters)):
        first, last, found = locate_words([word.letters for word in words], letters)
        if found > length:
            return words[first].origins[0], words[last].origins[-1]
    if not length:
        return None
    origins = [origin for word in words for origin in word.origins]
    return origins[start], origins[start + length - 1]


def locate(haystack: str, needle: str) -> tuple[int, int]:
    """Start and length in `haystack` of `needle` or of its longest beginning; (0, 0) if none."""
    if not needle:
        return 0, 0
    low, high, found = 0, len(needle), -1
    while low < high:  # if a beginning is found, every shorter one is found too
        middle = (low + high + 1) // 2
        position = haystack.find(needle[:middle])
        low, high, found = (middle, high, position) if position >= 0 else (low, middle - 1, found)
    return (found, low) if low >= min(_MIN_FOUND_LETTERS, len(needle)) else (0, 0)


def locate_words(words: Sequence[str], wanted: Sequence[str]) -> tuple[int, int, int]:
    """The first and last word of the stretch with most of `wanted`, and the letters found in it.

    The stretch is as long as `wanted`. (0, 0, 0) if it has too few of the words.
    """
    known = set(wanted)
    hits = [index for index, word in enumerate(words) if word in known]

    def end_of(at: int) -> int:
        return bisect_left(hits, hits[at] + len(wanted))

    best = max(range(len(hits)), key=lambda at: end_of(at) - at, default=0)
    found = hits[best : end_of(best)] if hits else []
    if len(found) < max(_MIN_FOUND_WORDS, _MIN_WORD_SHARE * len(wanted)):
        return 0, 0, 0
    return found[0], found[-1], sum(len(words[index]) for index in found)


def fold(text: str) -> str:
    """Only the letters and digits of `text`, in NFKC and case-folded."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if char.isalnum())


def _read_words(text_page: Any) -> list[Word]:
    words: list[Word] = []
    letters = ""
    origins: list[int] = []
    for index in range(text_page.count_chars()):
        code = pdfium_c.FPDFText_GetUnicode(text_page, index)
        char = chr(code) if code < 0x110000 else ""
        if char.isspace() and letters:
            words.append(Word(letters, tuple(origins)))
            letters, origins = "", []
        folded = fold(char)
        letters += folded
        origins += [index] * len(folded)
    return [*words, Word(letters, tuple(origins))] if letters else words


def _line_boxes(page: Any, text_page: Any, first: int, last: int, *, scale: float) -> Iterator[Box]:
    count = pdfium_c.FPDFText_CountRects(text_page, first, last - first + 1)
    for index in range(count):
        yield page_box(page, text_page.get_rect(index), scale=scale)


def page_box(page: Any, rect: Box, *, scale: float) -> Box:
    """The pixels of a rectangle (left, bottom, right, top) of the PDF page's coordinates."""
    left, bottom, right, top = rect
    width, height = (round(side * scale) for side in page.get_size())
    x1, y1 = _device_point(page, width, height, left, top)
    x2, y2 = _device_point(page, width, height, right, bottom)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _device_point(page: Any, width: int, height: int, x: float, y: float) -> tuple[int, int]:
    """The pixel of a point. pdfium's conversion accounts for rotation and crop box."""
    device_x, device_y = ctypes.c_int(), ctypes.c_int()
    pdfium_c.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, device_x, device_y)
    return device_x.value, device_y.value
