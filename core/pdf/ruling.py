"""Finds the straight lines that are drawn on a page: the rules and cell borders of tables."""

import ctypes
from collections.abc import Iterator
from typing import Any

import pypdfium2.raw as pdfium_c

from core.pdf.layout.words import Box
from core.pdf.pdfium_calls import address_of, get_object, get_object_type
from core.pdf.pdfium_words import PageFrame

_MAX_OBJECTS = 8000  # of a page; files with an object for each letter would take too long
_MAX_PATHS = 4000  # a page with more has a drawing; spreadsheets draw each side of each cell
_MAX_SEGMENTS = 2000
_RECTANGLE = 5  # segments of a rectangle's path
_THIN = 3.0  # points
_SHORTEST = 5.0


def find_rules(page: Any, frame: PageFrame) -> list[Box]:
    """The horizontal and vertical lines of a pdfium page, as thin boxes on the displayed page.

    The sides of rectangles are lines too, also if they are only filled. Objects inside of other
    objects are left out.
    """
    count = pdfium_c.FPDFPage_CountObjects(page)
    if count > _MAX_OBJECTS:
        return []
    handle = address_of(page.raw)
    objects = (get_object(handle, index) for index in range(count))
    paths = [one for one in objects if get_object_type(one) == pdfium_c.FPDF_PAGEOBJ_PATH]
    if len(paths) > _MAX_PATHS:
        return []
    return [frame.box(*line) for path in paths for line in _lines(path)]


def _lines(address: int) -> Iterator[Box]:
    """The path's lines as (left, bottom, right, top) on the PDF page."""
    path = ctypes.cast(address, pdfium_c.FPDF_PAGEOBJECT)
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium_c.FPDFPageObj_GetBounds(path, *sides)
    left, bottom, right, top = (side.value for side in sides)
    if right - left <= _THIN or top - bottom <= _THIN:
        if max(right - left, top - bottom) >= _SHORTEST:
            yield left, bottom, right, top
        return
    count = pdfium_c.FPDFPath_CountSegments(path)
    if count <= _RECTANGLE:
        yield from _sides(left, bottom, right, top)
    elif count <= _MAX_SEGMENTS:
        yield from _straight(path, count)


def _sides(left: float, bottom: float, right: float, top: float) -> Iterator[Box]:
    yield left, bottom, right, bottom
    yield left, top, right, top
    yield left, bottom, left, top
    yield right, bottom, right, top


def _straight(path: Any, count: int) -> Iterator[Box]:
    """The horizontal and vertical segments of a path."""
    matrix = pdfium_c.FS_MATRIX()
    pdfium_c.FPDFPageObj_GetMatrix(path, matrix)
    x, y = ctypes.c_float(), ctypes.c_float()
    before = begin = (0.0, 0.0)
    for index in range(count):
        segment = pdfium_c.FPDFPath_GetPathSegment(path, index)
        pdfium_c.FPDFPathSegment_GetPoint(segment, x, y)
        point = (
            matrix.a * x.value + matrix.c * y.value + matrix.e,
            matrix.b * x.value + matrix.d * y.value + matrix.f,
        )
        kind = pdfium_c.FPDFPathSegment_GetType(segment)
        if kind == pdfium_c.FPDF_SEGMENT_MOVETO:
            begin = point
        elif kind == pdfium_c.FPDF_SEGMENT_LINETO:
            yield from _line(before, point)
        before = point
        if pdfium_c.FPDFPathSegment_GetClose(segment):
            yield from _line(before, begin)
            before = begin


def _line(one: tuple[float, float], other: tuple[float, float]) -> Iterator[Box]:
    left, right = sorted((one[0], other[0]))
    bottom, top = sorted((one[1], other[1]))
    if min(right - left, top - bottom) < 1 and max(right - left, top - bottom) >= _SHORTEST:
        yield left, bottom, right, top
