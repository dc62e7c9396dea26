"""Finds the straight lines that are drawn on a page: the rules and cell borders of tables."""

import ctypes
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pypdfium2.raw as pdfium_c

from core.pdf.layout.words import Box
from core.pdf.pdfium_calls import address_of, get_object, get_object_type
from core.pdf.pdfium_words import PageFrame

_MAX_OBJECTS = 2500  # of a page; files with an object for each letter would take too long
_FEW_OBJECTS = 1500  # more take milliseconds
_MAX_PATHS = 4000  # a page with more has a drawing; spreadsheets draw each side of each cell
_MAX_SEGMENTS = 2000
_RECTANGLE = 5  # segments of a rectangle's path
_THIN = 3.0  # points
_SHORTEST = 5.0
_MIN_FORM = 0.5  # of the page's width; smaller forms are figures, and fields that are drawn
Matrix = tuple[float, float, float, float, float, float]  # a to f (ISO 32000-2, 8.3.3)


def find_rules(page: Any, frame: PageFrame, *, has_cells: bool = True) -> list[Box]:
    """The horizontal and vertical lines of a pdfium page, as thin boxes on the displayed page.

    The sides of rectangles are lines too, also if they are only filled. A page without words apart
    from each other (`has_cells`) is searched only if it has few objects.
    """
    paths = _find_paths(page, frame, _MAX_OBJECTS if has_cells else _FEW_OBJECTS)
    if len(paths) > _MAX_PATHS:
        return []
    return [frame.box(*line) for path, matrix in paths for line in _lines(path, matrix)]


def _find_paths(page: Any, frame: PageFrame, most: int) -> list[tuple[int, Matrix | None]]:
    """The paths of the page and of the wide forms on it, with a form's matrix to the page.

    Empty if there are too many objects.
    """
    count = pdfium_c.FPDFPage_CountObjects(page)
    if count > most:
        return []
    least = _MIN_FORM * frame.width
    found: list[tuple[int, Matrix | None]] = []
    objects = list(map(get_object, repeat(address_of(page.raw)), range(count)))
    groups: list[tuple[list[int], Matrix | None]] = [(objects, None)]
    while groups:
        objects, matrix = groups.pop()
        for one, kind in zip(objects, map(get_object_type, objects), strict=True):
            if kind == pdfium_c.FPDF_PAGEOBJ_TEXT:
                continue
            if kind == pdfium_c.FPDF_PAGEOBJ_PATH:
                found.append((one, matrix))
            elif kind == pdfium_c.FPDF_PAGEOBJ_FORM:
                form = ctypes.cast(one, pdfium_c.FPDF_PAGEOBJECT)
                left, _, right, _ = _bounds(form, matrix)
                if right - left >= least:
                    parts = _parts(form, most - count)
                    count += len(parts)
                    groups.append((parts, _product(_matrix(form), matrix)))
    return found


def _parts(form: Any, most: int) -> list[int]:
    """The objects of a form; empty if there are more than `most`."""
    count = pdfium_c.FPDFFormObj_CountObjects(form)
    if not 0 < count <= most:
        return []
    return [address_of(pdfium_c.FPDFFormObj_GetObject(form, index)) for index in range(count)]


def _matrix(page_object: Any) -> Matrix:
    raw = pdfium_c.FS_MATRIX()
    pdfium_c.FPDFPageObj_GetMatrix(page_object, raw)
    return raw.a, raw.b, raw.c, raw.d, raw.e, raw.f


def _product(one: Matrix, other: Matrix | None) -> Matrix:
    """The matrix that applies `one` first (ISO 32000-2, 8.3.4)."""
    if other is None:
        return one
    a, b, c, d, e, f = one
    x1, y1 = _point((a, b), other, moved=False)
    x2, y2 = _point((c, d), other, moved=False)
    return (x1, y1, x2, y2, *_point((e, f), other))


def _point(
    point: tuple[float, float], matrix: Matrix, *, moved: bool = True
) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    x, y = a * point[0] + c * point[1], b * point[0] + d * point[1]
    return (x + e, y + f) if moved else (x, y)


def _transformed(box: Box, matrix: Matrix) -> Box:
    """The box around the transformed box, both (left, bottom, right, top)."""
    left, bottom, right, top = box
    corners = [_point((x, y), matrix) for x in (left, right) for y in (bottom, top)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _lines(address: int, matrix: Matrix | None) -> Iterator[Box]:
    """The path's lines as (left, bottom, right, top) on the PDF page.

    `matrix` is that of the form with the path.
    """
    path = ctypes.cast(address, pdfium_c.FPDF_PAGEOBJECT)
    left, bottom, right, top = _bounds(path, matrix)
    if right - left <= _THIN or top - bottom <= _THIN:
        if max(right - left, top - bottom) >= _SHORTEST:
            yield left, bottom, right, top
        return
    count = pdfium_c.FPDFPath_CountSegments(path)
    if count <= _RECTANGLE:
        yield from _sides(left, bottom, right, top)
    elif count <= _MAX_SEGMENTS:
        yield from _straight(path, count, _product(_matrix(path), matrix))


def _bounds(page_object: Any, matrix: Matrix | None) -> Box:
    """(left, bottom, right, top) on the PDF page, of an object in a form with this matrix."""
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium_c.FPDFPageObj_GetBounds(page_object, *sides)
    left, bottom, right, top = (side.value for side in sides)
    box = left, bottom, right, top
    return box if matrix is None else _transformed(box, matrix)


def _sides(left: float, bottom: float, right: float, top: float) -> Iterator[Box]:
    yield left, bottom, right, bottom
    yield left, top, right, top
    yield left, bottom, left, top
    yield right, bottom, right, top


def _straight(path: Any, count: int, matrix: Matrix) -> Iterator[Box]:
    """The horizontal and vertical segments of a path."""
    x, y = ctypes.c_float(), ctypes.c_float()
    before = begin = (0.0, 0.0)
    for index in range(count):
        segment = pdfium_c.FPDFPath_GetPathSegment(path, index)
        pdfium_c.FPDFPathSegment_GetPoint(segment, x, y)
        point = _point((x.value, y.value), matrix)
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
