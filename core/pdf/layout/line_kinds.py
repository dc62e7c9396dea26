"""Lines around a table that are no names of columns: units and page numbers. Pure."""

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
