"""Finds tables whose lines are typed, as in printouts, terminals and Markdown. Pure.

    +------+-------+
    | Fuel | Price |        | Fuel | Price |        Fuel | Price
    +------+-------+        | ---- | ----- |       ------+------
    | Gas  |  1.20 |        | Gas  |  1.20 |        Gas  |  1.20
    +------+-------+

The characters become lines of a grid, and the words lose them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

from core.pdf.layout.grids import Grid, Line, find_grids
from core.pdf.layout.words import Box, Word

_ACROSS = "-=─━═"
_CROSSING = "+┼┬┴├┤┌┐└┘╬╦╩╠╣╔╗╚╝╪╫╞╡"
_DOWN = "|│┃║¦"
_LINE = re.compile(f"[{_ACROSS}{_CROSSING}{_DOWN}:]+")  # Markdown aligns columns by colons
_BAR = re.compile(f"[{_CROSSING}{_DOWN}]")
_TEXT = re.compile(f"[^{_DOWN}]+")
_MIN_ACROSS = 3  # characters; fewer are dashes of a text
_MAX_GAP = 3.5  # characters between two parts of a line, as in `--- | ---`
_LEADING = 0.5  # of a word's height, between the bars of two rows
_MIN_HEIGHT = 1.7  # of a word's height; less has no bars in two rows
_FEW_LINES = 3  # above and below the names of the columns, and below the last row


def take_typed_tables(words: Sequence[Word]) -> tuple[list[Word], list[Grid]]:
    """The words without the characters that draw tables, and the grids that these draw."""
    across = list(_lines_across(words))
    if not across:
        return list(words), []
    grids = [
        _with_rows(_with_whole_lines(grid, words), words)
        for grid in find_grids([*across, *_bars(words)])
        if len(grid.xs) > 2 and grid.ys[-1] - grid.ys[0] > _MIN_HEIGHT * _height(words[0])
    ]
    if not grids:
        return list(words), []
    return [part for word in words for part in _without_lines(word, grids)], grids


def _lines_across(words: Sequence[Word]) -> Iterator[Box]:
    """The lines of dashes, as flat boxes."""
    typed = [word for word in words if _LINE.fullmatch(word.text)]
    run: list[Word] = []
    for word in sorted(typed, key=attrgetter("baseline", "left")):
        if run and not _goes_on(run[-1], word):
            yield from _line(run)
            run = []
        run.append(word)
    yield from _line(run)


def _goes_on(word: Word, following: Word) -> bool:
    gap = following.left - word.right
    return word.baseline == following.baseline and gap <= _MAX_GAP * _char_width(word)


def _line(run: Sequence[Word]) -> Iterator[Box]:
    if sum(char in _ACROSS for word in run for char in word.text) >= _MIN_ACROSS:
        middle = (run[0].top + run[0].bottom) / 2
        yield run[0].left, middle, run[-1].right, middle


def _bars(words: Sequence[Word]) -> Iterator[Box]:
    """The bars of each row, as thin boxes that touch those of the next row."""
    for word in words:
        width, more = _char_width(word), _LEADING / 2 * _height(word)
        for bar in _BAR.finditer(word.text):
            x = word.left + (bar.start() + 0.5) * width
            yield x, word.top - more, x, word.bottom + more


def _with_whole_lines(grid: Grid, words: Sequence[Word]) -> Grid:
    """The grid with whole lines below titles of its first column.

    SAS's PROC TABULATE closes only the first column below the title of the rows' names.
    """
    left, right, first = grid.xs[0], grid.xs[-1], grid.xs[1]
    whole: list[Line] = []
    for line in grid.across:
        short = line.end < (first + grid.xs[2]) / 2
        above = max((y for y in grid.ys if y < line.at - 1), default=grid.ys[0])
        beside = [one for one in words if first < _middle(one)[0] < right]
        texts = [one for one in beside if above < _middle(one)[1] < line.at]
        if short and not any(_TEXT.search(one.text) for one in texts):
            line = line._replace(start=left, end=right)
        whole.append(line)
    return replace(grid, across=tuple(whole), is_typed=True)


def _with_rows(grid: Grid, words: Sequence[Word]) -> Grid:
    """The grid with a line between all rows of words, if lines are only around the names."""
    if len(grid.across) > _FEW_LINES:
        return grid
    inside = [word for word in words if _is_in(word, grid) and not _LINE.fullmatch(word.text)]
    tops = sorted({word.top for word in inside})
    ys = [*grid.ys]
    for above, top in pairwise(tops):
        near = any(above < _middle(word)[1] < top for word in inside)
        if near and not any(above < line.at < top for line in grid.across):
            ys.append(top)
    added = [Line(y, grid.xs[0], grid.xs[-1]) for y in ys[len(grid.ys) :]]
    return replace(grid, ys=tuple(sorted(ys)), across=(*grid.across, *added))


def _without_lines(word: Word, grids: Sequence[Grid]) -> Iterator[Word]:
    """The parts of a word between the bars; nothing of a word that is a part of a line."""
    if not _BAR.search(word.text) and not _LINE.fullmatch(word.text):
        yield word
        return
    if not any(_is_in(word, grid) for grid in grids):
        yield word
        return
    if _LINE.fullmatch(word.text) and (_BAR.search(word.text) or len(word.text) >= _MIN_ACROSS):
        return
    width = _char_width(word)
    for part in _TEXT.finditer(word.text):
        left, right = word.left + part.start() * width, word.left + part.end() * width
        yield word._replace(text=part[0], left=left, right=right)


def _is_in(word: Word, grid: Grid) -> bool:
    x, y = _middle(word)
    more = _height(word)
    return (
        grid.xs[0] - more <= x <= grid.xs[-1] + more and grid.ys[0] - more < y < grid.ys[-1] + more
    )


def _middle(word: Word) -> tuple[float, float]:
    return (word.left + word.right) / 2, (word.top + word.bottom) / 2


def _char_width(word: Word) -> float:
    return (word.right - word.left) / len(word.text)


def _height(word: Word) -> float:
    return word.bottom - word.top
