"""Calls of pdfium that are made for each word or object of a page, at half of the usual cost.

pypdfium2's functions check the type of each argument and release the interpreter's lock. These
take addresses and keep the lock, see https://docs.python.org/3/library/ctypes.html#ctypes.PYFUNCTYPE.
"""

import ctypes
from typing import Any

import pypdfium2.raw as pdfium_c


def address_of(pointer: Any) -> int:
    """The address in a pointer of ctypes, or of a function."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


# (text page, number of a character, FS_RECTF to fill) -> whether there is such a character
get_loose_box = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(
    address_of(pdfium_c.FPDFText_GetLooseCharBox)
)
# (text page, number of a character, double for x, double for y) -> whether there is one
get_origin = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
)(address_of(pdfium_c.FPDFText_GetCharOrigin))
# (text page, number of a character) -> the angle of the text in radians
get_char_angle = ctypes.PYFUNCTYPE(ctypes.c_float, ctypes.c_void_p, ctypes.c_int)(
    address_of(pdfium_c.FPDFText_GetCharAngle)
)
# (text page, number of a character) -> the text object that draws it, 0 if there is none
get_text_object = ctypes.PYFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int)(
    address_of(pdfium_c.FPDFText_GetTextObject)
)
# (text object) -> the address of its font, 0 if it has none
get_font = ctypes.PYFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(
    address_of(pdfium_c.FPDFTextObj_GetFont)
)
# (page, number) -> the object, 0 if there is none
get_object = ctypes.PYFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int)(
    address_of(pdfium_c.FPDFPage_GetObject)
)
# (object) -> its type
get_object_type = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(
    address_of(pdfium_c.FPDFPageObj_GetType)
)
