"""Lines around a table that name no columns: units, captions, titles, page numbers. Pure."""

import re

from core.pdf.layout.lines import Row

_UNIT_LINE = re.compile(
    r"\([^()]*\b(?:in|of)?\s*(?:thousands?|millions?|billions?)\b[^()]*\)", re.IGNORECASE
)
_PAGE_NUMBER = re.compile(
    r"[\W_]*(?:page|seite|página|pagina|sida|side|p\.)\s*\d{1,4}(?:\s*(?:of|/|von|de|di)\s*\d{1,4})?[\W_]*"
    r"|[\W_]*\d{1,4}\s*(?:of|von)\s*\d{1,4}[\W_]*",
    re.IGNORECASE,
)
_TITLE_OFFSET = 2.0  # of a row's height, between the middles of a table and of its numbers


def is_unit(row: Row) -> bool:
    """Whether the row only says what unit the whole table has: `(in millions)`."""
    text = " ".join(piece.text for segment in row.segments for piece in segment.pieces)
    return len(row.segments) == 1 and bool(_UNIT_LINE.fullmatch(text))


def has_page_number(row: Row) -> bool:
    """Whether a part of the row says that it is a page number: `Page 3`, `3 of 9`."""
    return any(
        _PAGE_NUMBER.fullmatch(" ".join(piece.text for piece in segment.pieces))
        for segment in row.segments
    )


def is_caption(row: Row, data: Row) -> bool:
    """Whether the row is one text that begins where the rows of the table begin."""
    return len(row.segments) == 1 and row.left <= data.left + data.height


def is_title(row: Row, left: float, numbers_left: float, right: float) -> bool:
    """Whether the row is one text in the middle of the whole table, and not of its numbers."""
    table, numbers = (left + right) / 2, (numbers_left + right) / 2
    if len(row.segments) != 1 or row.left < left + row.height:
        return False
    if numbers - table < _TITLE_OFFSET * row.height:
        return False
    middle = (row.left + row.right) / 2
    return middle < numbers_left and abs(middle - table) < abs(middle - numbers)
