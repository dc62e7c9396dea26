"""Where on a page a quote stands, whatever the line breaks, hyphens and ligatures."""

import ctypes
import unicodedata
from collections.abc import Iterator
from typing import Any

import pypdfium2.raw as pdfium_c

Box = tuple[float, float, float, float]
# A quote that is not found whole is sought by its longest part from the start.
_MIN_FOUND_CHARS = 12


def find_boxes(page: Any, quote: str, *, scale: float) -> list[Box]:
    """Pixel boxes (left, top, right, bottom), one per line that `quote` covers."""
    text_page = page.get_textpage()
    try:
        keys, origins = _page_letters(text_page)
        start, length = locate(keys, _letters(quote))
        if not length:
            return []
        chars = (origins[start], origins[start + length - 1])
        return list(_line_boxes(page, text_page, *chars, scale=scale))
    finally:
        text_page.close()


def locate(haystack: str, needle: str) -> tuple[int, int]:
    """Start and length of `needle` in `haystack`; of its longest findable start; else (0, 0)."""
    if not needle:
        return 0, 0
    low, high, found = 0, len(needle), -1
    while low < high:  # a start that is found makes every shorter one found too
        middle = (low + high + 1) // 2
        position = haystack.find(needle[:middle])
        low, high, found = (middle, high, position) if position >= 0 else (low, middle - 1, found)
    return (found, low) if low >= min(_MIN_FOUND_CHARS, len(needle)) else (0, 0)


def _letters(text: str) -> str:
    """Letters and digits alone, compatibility forms and case folded away."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if char.isalnum())


def _page_letters(text_page: Any) -> tuple[str, list[int]]:
    """The page's letters, and for each the index of its character on the page."""
    keys, origins = [], []
    for index in range(text_page.count_chars()):
        code = pdfium_c.FPDFText_GetUnicode(text_page, index)
        for key in _letters(chr(code)) if code < 0x110000 else "":
            keys.append(key)
            origins.append(index)
    return "".join(keys), origins


def _line_boxes(page: Any, text_page: Any, first: int, last: int, *, scale: float) -> Iterator[Box]:
    count = pdfium_c.FPDFText_CountRects(text_page, first, last - first + 1)
    rotated = _to_pixels(page, scale)
    for index in range(count):
        yield rotated(text_page.get_rect(index))


def _to_pixels(page: Any, scale: float) -> Any:
    width, height = (round(side * scale) for side in page.get_size())

    def convert(rect: Box) -> Box:
        left, bottom, right, top = rect
        x1, y1 = _device_point(page, width, height, left, top)
        x2, y2 = _device_point(page, width, height, right, bottom)
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)

    return convert


def _device_point(page: Any, width: int, height: int, x: float, y: float) -> tuple[int, int]:
    """pdfium's own conversion knows rotation and crop box."""
    device_x, device_y = ctypes.c_int(), ctypes.c_int()
    pdfium_c.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, device_x, device_y)
    return device_x.value, device_y.value
