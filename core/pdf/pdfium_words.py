"""Reads the words of a page with their boxes from pdfium's characters.

Each call to pdfium costs about a microsecond, so a word is measured by its first
and last character. All its characters are measured only if the word may contain a
change of size, a raised digit or a missing space.
"""

import ctypes
import math
import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise, repeat
from statistics import median
from typing import Any

import pypdfium2.raw as pdfium_c

from core.pdf.layout.words import Box, Word
from core.pdf.pdfium_calls import (
    address_of,
    get_char_angle,
    get_font,
    get_loose_box,
    get_origin,
    get_text_object,
)

# pdfium marks a hyphen at the end of a line by U+FFFE (older versions: U+0002).
_LINE = re.compile(r"\S[^\r\n]*")
_WORD = re.compile(r"[^\s\ufffe\x02]+[\ufffe\x02]?|[\ufffe\x02]")
# A lower-case letter before a capital: the two words may have a narrow space between them.
_NARROW_SPACE = re.compile(r"[^\W\d_A-Z]{2}[A-Z]")
_TRAILING = ".,;:)]%\ufffe\x02"
_IDEOGRAPH = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]")
_MAX_SLANT_DEGREES = 10
_SIZE_CHANGE = 0.12
_LEAST_SIZE = 0.1  # points
_NARROW_GAP = 0.07  # of the font's height
_GAP_ABOVE_MEDIAN = 0.05
_VERTICAL_CHARS = 1.6  # characters; a word of upright letters that is higher is vertical


_RECT = struct.Struct("4f")
Rect = tuple[float, ...]  # a character's (left, top, right, bottom) on the PDF page
Span = tuple[int, int]  # the numbers of a word's first character and of the one after its last
Found = tuple[int, Word]  # with the number of the word's first character
# A character's (left, bottom, right, top) on the PDF page, whose y grows upwards.
Bounds = tuple[float, float, float, float]


class PageFrame:
    """Converts coordinates of a PDF page to those of the displayed page."""

    def __init__(self, page: Any) -> None:
        # The crop box can be upside down; the bounding box is not.
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._rotation: int = page.get_rotation()
        self.width, self.height = page.get_size()

    @property
    def is_turned(self) -> bool:
        return self._rotation != 0

    @property
    def origin(self) -> tuple[float, float]:
        """The left and top of the displayed page on the PDF page, if it is not turned."""
        return self._left, self._top

    def turn(self, angle: float) -> int | None:
        """The direction of displayed text, from pdfium's angle in radians."""
        degrees = math.degrees(angle) % 360
        quarter = round(degrees / 90) * 90
        if abs(degrees - quarter) > _MAX_SLANT_DEGREES:
            return None
        return (quarter + self._rotation) % 360

    def runs_along_x(self, turn: int) -> bool:
        """Whether text of this direction runs along the x axis of the PDF page."""
        return (turn - self._rotation) % 180 == 0

    def point(self, x: float, y: float) -> tuple[float, float]:
        if self._rotation == 90:
            return y - self._bottom, x - self._left
        if self._rotation == 180:
            return self._right - x, y - self._bottom
        if self._rotation == 270:
            return self._top - y, self._right - x
        return x - self._left, self._top - y

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """(left, top, right, bottom) on the displayed page."""
        if self._rotation == 0 and left <= right and bottom <= top:
            return left - self._left, self._top - top, right - self._left, self._top - bottom
        x1, y1 = self.point(left, bottom)
        x2, y2 = self.point(right, top)
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


class WordReader:
    """Reads the words of one open text page."""

    def __init__(self, text_page: Any, frame: PageFrame, text: str) -> None:
        self._handle = address_of(text_page.raw)
        self._frame = frame
        self._text = text
        self._rect = pdfium_c.FS_RECTF()
        self._rect_address = ctypes.addressof(self._rect)
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._x_address, self._y_address = ctypes.addressof(self._x), ctypes.addressof(self._y)
        self._baselines: dict[tuple[float, float], float] = {}
        self._vertical = False

    def words(self) -> list[Found]:
        """The words in the order of pdfium's text, each with the number of its first character."""
        words: list[Found] = []
        lines = [
            [found.span() for found in _WORD.finditer(self._text, *line.span())]
            for line in _LINE.finditer(self._text)
        ]
        ends = self._ends([span for spans in lines for span in spans])
        for spans in lines:
            # pdfium begins a new line where the direction changes.
            turn = self._frame.turn(get_char_angle(self._handle, spans[0][0]))
            low = 1 if turn is not None and self._frame.runs_along_x(turn) else 0
            self._baselines.clear()
            own = islice(ends, len(spans))
            if turn == 0 and not self._frame.is_turned:
                self._measure_level(spans, own, words)
                continue
            for (start, end), _ in zip(spans, own, strict=True):
                self._measure(self._text[start:end], start, turn, low, words)
        if self._vertical:
            return [
                (start, _vertical(word) if _IDEOGRAPH.fullmatch(word.text) else word)
                for start, word in words
            ]
        return words

    def _ends(self, spans: Sequence[Span]) -> Iterator[tuple[Rect, Rect]]:
        """The rectangles of the first and the last character of each span."""
        firsts = self._rects([start for start, _ in spans])
        return zip(firsts, self._rects([end - 1 for _, end in spans]), strict=True)

    def _rects(self, indices: Sequence[int]) -> Iterator[Rect]:
        buffer = ctypes.create_string_buffer(len(indices) * _RECT.size)
        start = ctypes.addressof(buffer)
        targets = range(start, start + len(buffer), _RECT.size)
        deque(map(get_loose_box, repeat(self._handle), indices, targets), maxlen=0)
        return _RECT.iter_unpack(buffer)

    def _measure_level(
        self, spans: Sequence[Span], ends: Iterable[tuple[Rect, Rect]], words: list[Found]
    ) -> None:
        """Add the words of a level line. This does the same as `_measure` in fewer steps."""
        whole, (x, y) = self._text, self._frame.origin
        make, add = tuple.__new__, words.append  # half the time of Word(…)
        level, own_top, own_bottom, baseline = (0.0, 0.0), 0.0, 0.0, 0.0
        for (start, end), (first, last) in zip(spans, ends, strict=True):
            left, top, right, bottom = first
            text = whole[start:end]
            if (
                left <= last[0]
                and right <= last[2]
                and bottom == last[3]
                and top == last[1]
                and top - bottom >= _LEAST_SIZE
                and ((text.isalpha() and text[1:].islower()) or not _may_be_mixed(text))
            ):
                if level != (bottom, top):  # words of one line are equally high
                    level = bottom, top
                    own_top, own_bottom = y - top, y - bottom
                    baseline = self._baselines.get(level) or self._baseline(start, level, 0)
                fields = text, left - x, own_top, last[2] - x, own_bottom, baseline, 0
                add((start, make(Word, fields)))
            else:
                self._measure(text, start, 0, 1, words)

    def _measure(
        self, text: str, start: int, turn: int | None, low: int, words: list[Found]
    ) -> None:
        """Add the word. `low` is the index of the bounds across the direction of the text."""
        first = self._bounds(start)
        if len(text) == 1:
            words.append((start, self._word(text, start, first, first, turn, low)))
            return
        last = self._bounds(start + len(text) - 1)
        word = self._word(text, start, first, last, turn, low)
        if turn == 0 and word.bottom - word.top > _VERTICAL_CHARS * (first[3] - first[1]):
            self._vertical = True
            words.append((start, _vertical(word)))
        elif turn is not None and self._is_mixed(text, start, low, first, last):
            words.extend(self._split(start, start + len(text), turn, low))
        else:
            words.append((start, word))

    def _is_mixed(self, text: str, start: int, low: int, first: Bounds, last: Bounds) -> bool:
        if _differ(first, last, low) or (not text.islower() and _NARROW_SPACE.search(text)):
            return True
        if text[-1] not in _TRAILING:
            return False
        bare = text.rstrip(_TRAILING)
        if len(bare) < 2 or not bare[-1].isdigit():
            return False
        return _differ(first, self._bounds(start + len(bare) - 1), low)

    def _split(self, start: int, end: int, turn: int, low: int) -> Iterator[Found]:
        """The word, cut at changes of size or baseline and at narrow spaces."""
        bounds = [self._bounds(index) for index in range(start, end)]
        gaps = _gaps(bounds, 1 - low)
        begin = 0
        for index in range(1, len(bounds) + 1):
            cut = index == len(bounds) or _differ(bounds[begin], bounds[index], low)
            if cut or self._has_space(bounds, gaps, start, index):
                text = self._text[start + begin : start + index]
                ends = bounds[begin], bounds[index - 1]
                word = self._word(text, start + begin, *ends, turn, low)
                yield start + begin, word
                begin = index

    def _has_space(
        self, bounds: Sequence[Bounds], gaps: Sequence[float], start: int, index: int
    ) -> bool:
        before, after = self._text[start + index - 1], self._text[start + index]
        if not (before.islower() and after.isupper()):
            return False
        if self._font(start + index - 1) != self._font(start + index):
            return True  # a word in italics leans over the space before it
        height = bounds[index][3] - bounds[index][1]
        usual = median(gaps) + _GAP_ABOVE_MEDIAN * height
        return gaps[index - 1] > max(_NARROW_GAP * height, usual)

    def _font(self, index: int) -> int:
        """The address of the character's font, 0 if it has none."""
        text_object = get_text_object(self._handle, index)
        return get_font(text_object) if text_object else 0

    def _bounds(self, index: int) -> Bounds:
        get_loose_box(self._handle, index, self._rect_address)
        left, top, right, bottom = _RECT.unpack(self._rect)
        return left, bottom, right, top

    def _word(
        self, text: str, start: int, first: Bounds, last: Bounds, turn: int | None, low: int
    ) -> Word:
        box = self._frame.box(
            first[0] if first[0] < last[0] else last[0],
            first[1] if first[1] < last[1] else last[1],
            first[2] if first[2] > last[2] else last[2],
            first[3] if first[3] > last[3] else last[3],
        )
        across = first[low], first[low + 2]
        baseline = self._baselines.get(across) if turn is not None else None
        if baseline is None:
            baseline = self._baseline(start, across, turn)
        return Word(text, *box, baseline, turn)

    def _baseline(self, start: int, across: tuple[float, float], turn: int | None) -> float:
        """The baseline of a character with the bounds `across` the direction of the text.

        It is kept: letters of a line that are equally high have one baseline.
        """
        get_origin(self._handle, start, self._x_address, self._y_address)
        x, y = self._frame.point(self._x.value, self._y.value)
        self._baselines[across] = x if turn in (90, 270) else y
        return self._baselines[across]


def _may_be_mixed(text: str) -> bool:
    """Whether the word may have a narrow space or a raised digit."""
    if text[-1] in _TRAILING and text.rstrip(_TRAILING)[-1:].isdigit():
        return True
    return not text.islower() and _NARROW_SPACE.search(text) is not None


def _differ(one: Bounds, other: Bounds, low: int) -> bool:
    """Whether two characters of one word differ in size or are not on one line."""
    size = one[low + 2] - one[low]
    if size < _LEAST_SIZE:
        size = _LEAST_SIZE
    if abs(size - (other[low + 2] - other[low])) > _SIZE_CHANGE * size:
        return True
    return abs(other[low] - one[low]) > _SIZE_CHANGE * size


def _gaps(bounds: Sequence[Bounds], along: int) -> list[float]:
    """The distances between characters; `along` is the index of the bounds along the text."""
    return [
        max(two[along] - one[along + 2], one[along] - two[along + 2])
        for one, two in pairwise(bounds)
    ]


def _vertical(word: Word) -> Word:
    return word._replace(turn=90, baseline=(word.left + word.right) / 2)
