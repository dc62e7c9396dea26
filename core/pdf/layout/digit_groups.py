"""Numbers with spaces between groups of three digits: `1 747 769`.

ISO 80000-1 prefers this form, and many languages have no other. In a table, such a number must not
become three values.
"""

import re
from collections.abc import Sequence

from core.pdf.layout.words import Piece

_COMMA = re.compile(r"\d,\d{3}")
_NUMBER = re.compile(r"(?:[$€£¥(+\-–−]+ ?)*[1-9]\d{0,2}(?: \d{3})*")
_GROUP = re.compile(r"\d{3}(?:[.,]\d+)?[%)\]*†‡]*")
_WORD_SPACE = 0.35  # of a word's height; columns are further apart


def may_have_spaces(pieces: Sequence[Piece]) -> bool:
    """Whether the numbers of a row may have spaces; not if one has commas in their place."""
    return not any(_COMMA.search(piece.text) for piece in pieces)


def goes_on(number: Sequence[Piece], piece: Piece) -> bool:
    """Whether the piece is the next group of digits of the number before it."""
    if piece.left - number[-1].right >= _WORD_SPACE * piece.height or piece.shift:
        return False
    before = " ".join(one.text for one in number)
    return bool(_GROUP.fullmatch(piece.text) and _NUMBER.fullmatch(before))
