"""Lines around a table that name no columns: units, captions, titles, page numbers. Pure."""

import re
from itertools import pairwise

from core.pdf.layout.lines import Row, Segment

_UNIT_LINE = re.compile(
    r"\([^()]*\b(?:in|of)?\s*(?:thousands?|millions?|billions?)\b[^()]*\)", re.IGNORECASE
)
_PAGE_NUMBER = re.compile(
    r"[\W_]*(?:page|seite|página|pagina|sida|side|p\.)\s*\d{1,4}(?:\s*(?:of|/|von|de|di)\s*\d{1,4})?[\W_]*"
    r"|[\W_]*\d{1,4}\s*(?:of|von)\s*\d{1,4}[\W_]*",
    re.IGNORECASE,
)
_MAX_HEADER_WORDS = 9  # in a line of one column's name; lines of prose beside labels have more
_NAMES_GAP = 0.5  # of a row's height, between two names; justified prose has less between words
_TITLE_OFFSET = 2.0  # of a row's height, between the middles of a table and of its numbers


def is_unit(row: Row) -> bool:
    """Whether the row only says what unit the whole table has: `(in millions)`."""
    return len(row.segments) == 1 and names_unit(row.segments[0])


def names_unit(segment: Segment) -> bool:
    """Whether the words are a unit in brackets: `(in millions)`."""
    return bool(_UNIT_LINE.fullmatch(" ".join(piece.text for piece in segment.pieces)))


def has_page_number(row: Row) -> bool:
    """Whether a part of the row says that it is a page number: `Page 3`, `3 of 9`."""
    return any(
        _PAGE_NUMBER.fullmatch(" ".join(piece.text for piece in segment.pieces))
        for segment in row.segments
    )


def is_caption(row: Row, data: Row) -> bool:
    """Whether the row is one text that begins where the rows of the table begin."""
    return len(row.segments) == 1 and row.left <= data.left + data.height


def is_centred(row: Row, left: float, numbers_left: float, right: float) -> bool:
    """Whether the row is one text in the middle of the whole table, and not of its numbers."""
    table, numbers = (left + right) / 2, (numbers_left + right) / 2
    if len(row.segments) != 1 or row.left < left + row.height:
        return False
    if numbers - table < _TITLE_OFFSET * row.height:
        return False
    middle = (row.left + row.right) / 2
    return abs(middle - table) < abs(middle - numbers)


def is_prose(row: Row, *, left: float, middle: float, edge: float) -> bool:
    """Whether a part of the row is prose, and no name of a column.

    Prose begins before `middle` and ends after `edge`, or has more words than a name. A name of a
    group of rows, which begins where the labels begin (`left`), may have as many.
    """
    return any(
        (one.left < middle and one.right > edge) or (one.left > left + row.height and _is_long(one))
        for one in row.segments
    )


def _is_long(segment: Segment) -> bool:
    """Whether the segment has more words in a row than a name of a column."""
    count = 1
    for one, two in pairwise(segment.pieces):
        count = count + 1 if two.left - one.right < _NAMES_GAP * segment.height else 1
        if count > _MAX_HEADER_WORDS:
            return True
    return False
