"""Finds the words of a page that a person can see, by drawing the page.

One rule covers text in the colour of its background, covered and clipped text, layers
that are off and render mode 3 (ISO 32000-2, 9.3.6): a word is invisible if its box has no
contrast in the image. Invisible text over a scan has the scan's contrast and so is kept: it
is the scan's OCR.
"""

import ctypes
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import sub
from statistics import median
from typing import Any

import pypdfium2.raw as pdfium_c

from core.pdf.layout.words import Word

_SCALE = 0.7  # pixels per point; larger scales give the same words
_MAX_PIXELS = 1_500_000
_ROW_CONTRAST = 20  # of 255, within a row of pixels; words with less are checked more closely
# Most words are dark on light paper: two shades with enough contrast between them show that. Others
# are looked at more closely.
_DARK, _LIGHT, _BETWEEN = b"d", b"l", b" "
_SHADES = b"".join(
    _DARK if grey <= 190 else _LIGHT if grey >= 190 + _ROW_CONTRAST else _BETWEEN
    for grey in range(256)
)
_CONTRAST = 30  # of 255 within a word's box, in any colour
_SECOND_SCALE = 1.5
_FAINT_SIGN = 12  # contrast for words without letters and digits, as = and – are thin
_FULL_SIGNS = frozenset("•-–—")  # they may fill whole rows of their box
_MIN_HEIGHT = 1.75  # points; the height of a font of 1.5 points
_MIN_SHARE = 0.4  # of the page's median height, because all text of a page may be small
_HIDDEN_MODES = (pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium_c.FPDF_TEXTRENDERMODE_CLIP)
_LIGHT_INK = 200


def visible_words(
    page: Any, text_page: Any, words: Sequence[tuple[int, Word]], *, width: float, height: float
) -> list[Word]:
    """The words that a person can see. Each is given with the number of its first character."""
    if not words:
        return []
    on_page = _printed(words, width, height)
    blank = _blank_in_grey(page, [word for _, word in on_page])
    unseen = _without_contrast(page, on_page, blank) if blank else {}
    hidden = _hidden(text_page, on_page, unseen)
    if not hidden:
        return [word for _, word in on_page]
    return [word for index, (_, word) in enumerate(on_page) if index not in hidden]


def _printed(
    words: Sequence[tuple[int, Word]], width: float, height: float
) -> list[tuple[int, Word]]:
    """The words that are not tiny, and whose middle is inside the crop box."""
    if _are_surely_printed([word for _, word in words], width, height):
        return list(words)
    sizes = [
        right - left if turn in (90, 270) else bottom - top
        for _, (_, left, top, right, bottom, _, turn) in words
    ]
    smallest = _MIN_HEIGHT
    if min(sizes) < smallest:
        smallest = min(smallest, _MIN_SHARE * median(sizes))
    found = []
    for one, size in zip(words, sizes, strict=True):
        _, left, top, right, bottom, _, _ = one[1]
        if size >= smallest and 0 <= left + right <= 2 * width and 0 <= top + bottom <= 2 * height:
            found.append(one)
    return found


def _are_surely_printed(words: Sequence[Word], width: float, height: float) -> bool:
    """Whether all words are level, large and within the crop box, as on most pages."""
    _, lefts, tops, rights, bottoms, _, turns = zip(*words, strict=True)
    return (
        min(lefts) >= 0
        and min(tops) >= 0
        and max(rights) <= width
        and max(bottoms) <= height
        and set(turns) == {0}
        and min(map(sub, bottoms, tops)) >= _MIN_HEIGHT
    )


def _blank_in_grey(page: Any, words: Sequence[Word]) -> set[int]:
    """The numbers of the words in whose box no row of pixels has contrast."""
    scale = _bounded_scale(page, _SCALE)
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        # Read the bitmap in place: copies of this size for every page fragment the heap.
        pixels = memoryview(bitmap.buffer).cast("B")
        rows = _Rows(pixels, bitmap.stride, bitmap.width, bitmap.height, scale)
        blank = set(rows.blank(words))
        pixels.release()
        return blank
    finally:
        bitmap.close()


class _Rows:
    """Rows of grey pixels, `stride` bytes apart."""

    def __init__(
        self, pixels: memoryview, stride: int, width: int, height: int, scale: float
    ) -> None:
        self._pixels = pixels
        self._stride, self._width, self._height = stride, width, height
        self._scale = scale

    def blank(self, words: Sequence[Word]) -> Iterator[int]:
        """The numbers of the words without contrast in a row; for bullets, in the whole box."""
        scale, height = self._scale, self._height
        shades, rows = b"", range(0)
        level_top = level_bottom = -1.0
        for number, word in enumerate(words):
            _, left, top, right, bottom, _, _ = word
            if top != level_top or bottom != level_bottom:  # words of one line have the same rows
                level_top, level_bottom = top, bottom
                rows = range(max(0, int(top * scale)), min(height, int(bottom * scale) + 1))
                shades = self._row(rows[len(rows) // 2]).translate(_SHADES) if rows else b""
            first, last = int(left * scale), int(right * scale) + 1
            if first < 0:
                first = 0
            if shades.find(_DARK, first, last) >= 0 and shades.find(_LIGHT, first, last) >= 0:
                continue
            if any(self._has_contrast(row, first, last) for row in rows):
                continue
            if word.text not in _FULL_SIGNS or not self._is_drawn(rows, first, last):
                yield number

    def _is_drawn(self, rows: range, first: int, last: int) -> bool:
        """Whether the box has contrast, as that of a dash or bullet that fills whole rows."""
        box = b"".join(self._row(row)[first:last] for row in rows)
        return bool(box) and max(box) - min(box) >= _CONTRAST

    def _row(self, number: int) -> bytes:
        start = number * self._stride
        return bytes(self._pixels[start : start + self._width])

    def _has_contrast(self, row: int, first: int, last: int) -> bool:
        line = self._row(row)[first:last]
        return bool(line) and max(line) - min(line) >= _ROW_CONTRAST


def _without_contrast(
    page: Any, words: Sequence[tuple[int, Word]], numbers: set[int]
) -> dict[int, tuple[int, Word]]:
    """The words among `words` that have no contrast in colour at a larger scale either."""
    scale = _bounded_scale(page, _SECOND_SCALE)
    found = {}
    bitmap = page.render(scale=scale)
    try:
        for number in numbers:
            word = words[number][1]
            needed = _CONTRAST if any(map(str.isalnum, word.text)) else _FAINT_SIGN
            if max(_contrasts(bitmap, word, scale)) < needed:
                found[number] = words[number]
    finally:
        bitmap.close()
    return found


def _contrasts(bitmap: Any, word: Word, scale: float) -> list[int]:
    """The contrast of each colour within the word's box. Beyond the image all is black."""
    sides = (word.left, word.top, word.right, word.bottom)
    left, top, right, bottom = (int(side * scale) for side in sides)
    within = range(max(0, left), min(bitmap.width, right + 1))
    rows = range(max(0, top), min(bitmap.height, bottom + 1))
    channels = bitmap.n_channels
    pixels = b"".join(
        bytes(bitmap.buffer[start + within.start * channels : start + within.stop * channels])
        for start in (row * bitmap.stride for row in rows if within)
    )
    beyond = b"\0" * (len(within) <= right - left or len(rows) <= bottom - top)
    colours = (pixels[channel::channels] + beyond for channel in range(channels))
    return [max(colour, default=0) - min(colour, default=0) for colour in colours]


def _hidden(
    text_page: Any, words: Sequence[tuple[int, Word]], unseen: dict[int, tuple[int, Word]]
) -> set[int]:
    """The invisible words whose font pdfium can draw: it is embedded, or other words have it.

    pdfium cannot draw a Chinese, Japanese or Korean font that is neither embedded nor installed.
    """
    if not unseen:
        return set()
    fonts = {number: _font(text_page, start) for number, (start, _) in enumerate(words)}
    drawn: dict[int, bool] = defaultdict(bool)
    for number, (_, word) in enumerate(words):
        drawn[fonts[number]] |= number not in unseen and word.text.isascii()
    return {
        number
        for number, (start, word) in unseen.items()
        if _is_embedded(text_page, start)
        or (drawn[fonts[number]] and word.text.isascii())
        or _is_meant_hidden(text_page, start)
    }


def _font(text_page: Any, start: int) -> int:
    """The address of the character's font, 0 if it has none."""
    handle = pdfium_c.FPDFText_GetTextObject(text_page, start)
    font = pdfium_c.FPDFTextObj_GetFont(handle) if handle else None
    return ctypes.cast(font, ctypes.c_void_p).value or 0 if font else 0


def _is_embedded(text_page: Any, start: int) -> bool:
    handle = pdfium_c.FPDFText_GetTextObject(text_page, start)
    font = pdfium_c.FPDFTextObj_GetFont(handle) if handle else None
    return bool(font) and pdfium_c.FPDFFont_GetIsEmbedded(font) == 1


def _is_meant_hidden(text_page: Any, start: int) -> bool:
    """Whether the text is drawn with no ink, or with a very light or transparent one."""
    handle = pdfium_c.FPDFText_GetTextObject(text_page, start)
    if not handle:
        return False
    if pdfium_c.FPDFTextObj_GetTextRenderMode(handle) in _HIDDEN_MODES:
        return True
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not pdfium_c.FPDFPageObj_GetFillColor(handle, red, green, blue, alpha):
        return False
    return min(red.value, green.value, blue.value) > _LIGHT_INK or alpha.value < 255 - _LIGHT_INK


def _bounded_scale(page: Any, scale: float) -> float:
    width, height = page.get_size()
    pixels = max(1.0, width * scale) * max(1.0, height * scale)
    return scale if pixels <= _MAX_PIXELS else scale * (_MAX_PIXELS / pixels) ** 0.5
