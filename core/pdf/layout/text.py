"""Turns rows in reading order into text, and keeps the words behind each piece of it."""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from core.pdf.layout.lines import Row, Segment
from core.pdf.layout.words import Piece, Word

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LETTER = re.compile(r"[^\W\d_]")
_EXPONENT = re.compile(r"[-\u2010-\u2015\u2212+]?\d{1,3}(?:[,\u2013-]\d{1,3})*")
_ORDINAL = re.compile(r"st|nd|rd|th|er|ère|e|o|a|º|ª", re.IGNORECASE)
_LENGTH_UNIT = re.compile(r"(?:.*[\d/ ])?(?:[kcdmnµμ]?m|ft|in|yd|mi)")
_SQUARE_CUBE = {"2": "²", "3": "³"}
_SIGN = re.compile(r"[*†‡§¶®™℠]+|TM|SM")
_CLOSING = re.compile(r"[.,;:)\]!?%]")
_NO_GAP = 0.06  # of the font's height
_HYPHENS = "\ufffe\x02"
_LINE_END_HYPHENS = f"-\u2010{_HYPHENS}"
# Chinese and Japanese, whose lines are joined without a space.
_UNSPACED = "[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"
_UNSPACED_START, _UNSPACED_END = re.compile(_UNSPACED), re.compile(f".*{_UNSPACED}$", re.DOTALL)
_PARAGRAPH_GAP = 1.35  # of the usual distance between two rows
_OTHER_SIZE = 1.15
_MAX_PITCH = 3.0  # of a row's height; larger distances do not count for the usual distance
_FULL_LINE = 0.6  # of the widest line; a shorter one ends a paragraph
_JOINABLE_END = re.compile(r"[^。！？：」』）]$")


class Token(NamedTuple):
    """`separator` and `text` are appended to the page's text; `words` are the source of `text`."""

    separator: str
    text: str
    words: tuple[Word, ...]


def is_right_to_left(pieces: Sequence[Piece]) -> bool:
    """Whether most letters belong to Hebrew, Arabic or another right-to-left script."""
    text = "".join([piece.text for piece in pieces])
    if text.isascii() or not _RIGHT_TO_LEFT.search(text):
        return False
    return 2 * len(_RIGHT_TO_LEFT.findall(text)) > len(_LETTER.findall(text))


def write_lines(rows: Sequence[Row], *, separator: str = "") -> list[Token]:
    """The rows of one column as lines; `separator` comes before the first."""
    usual = _usual_pitch(rows)
    widest = max((row.right - row.left for row in rows), default=0.0)
    tokens: list[Token] = []
    before: Row | None = None
    for row in rows:
        if before is not None:
            separator = _line_separator(before, row, usual=usual, widest=widest)
        tokens += write_row(row, separator=separator)
        before = row
    return tokens


def write_row(row: Row, *, separator: str = "") -> list[Token]:
    """One line; `separator` comes before it."""
    tokens: list[Token] = []
    backwards = is_right_to_left([piece for one in row.segments for piece in one.pieces])
    for segment in reversed(row.segments) if backwards else row.segments:
        tokens += write_segment(segment, separator=separator, right_to_left=backwards)
        separator = " "
    return tokens


def write_segment(
    segment: Segment, *, separator: str = "", right_to_left: bool = False
) -> list[Token]:
    """The words of a segment, with raised and lowered words in a readable form."""
    pieces = _in_reading_order(segment.pieces) if right_to_left else segment.pieces
    tokens: list[Token] = []
    make = tuple.__new__  # half the time of Token(…)
    before: Piece | None = None
    for piece in pieces:
        text = piece.text
        if before is not None:
            separator = " "
            if before.shift or piece.shift:
                separator, text = _set(before, piece)
            if before.text[-1] in _LINE_END_HYPHENS and _breaks_word(before, piece):
                separator = "\n"
        if text[-1] in _HYPHENS:
            text = text[:-1] + "-"
        tokens.append(make(Token, (separator, text, (piece.word,))))
        before = piece
    return tokens


def _breaks_word(before: Piece, piece: Piece) -> bool:
    """Whether a word goes on in the next line of its cell: a newline lets `clean_text` join it."""
    below = piece.baseline - before.baseline > 0.5 * piece.height
    return below and before.text[-2:-1].isalnum() and piece.text[0].isalnum()


def join_tokens(tokens: Sequence[Token]) -> str:
    return "".join(token.separator + token.text for token in tokens)


def _in_reading_order(pieces: Sequence[Piece]) -> list[Piece]:
    """The words from right to left, but runs of words of a left-to-right script in their order."""
    ordered: list[Piece] = []
    run: list[Piece] = []
    for piece in reversed(pieces):
        if _RIGHT_TO_LEFT.search(piece.text):
            ordered += [*reversed(run), piece]
            run = []
        elif _LETTER.search(piece.text) or run:
            run.append(piece)
        else:
            ordered.append(piece)
    return [*ordered, *reversed(run)]


def _set(before: Piece, piece: Piece) -> tuple[str, str]:
    """The separator and text of a word that follows another one, if one of them is shifted."""
    gap = max(piece.left - before.right, before.left - piece.right) / max(piece.height, 0.1)
    if piece.shift > 0 and not before.shift and gap < 4 * _NO_GAP:
        return _set_raised(before.text, piece.text)
    if piece.shift < 0 and not before.shift and gap < 2 * _NO_GAP:
        return "", piece.text
    attached = before.shift and gap < _NO_GAP
    if attached and (before.shift < 0 or _CLOSING.match(piece.text)):
        return "", piece.text
    return " ", piece.text


def _set_raised(host: str, raised: str) -> tuple[str, str]:
    """The same for a raised word: it must not become digits of the number before it."""
    if _EXPONENT.fullmatch(raised):
        if raised in _SQUARE_CUBE and _LENGTH_UNIT.fullmatch(host):
            return "", _SQUARE_CUBE[raised]
        return "", f"^{raised}"
    if _SIGN.fullmatch(raised) or (host[-1].isdigit() and _ORDINAL.fullmatch(raised)):
        return "", raised
    return " ", raised


def _line_separator(before: Row, row: Row, *, usual: float, widest: float) -> str:
    sizes = sorted((before.height, row.height))
    distance = row.baseline - before.baseline
    if distance > _PARAGRAPH_GAP * usual or sizes[1] > _OTHER_SIZE * max(sizes[0], 0.1):
        return "\n\n"
    if before.right - before.left >= _FULL_LINE * widest and _joins_unspaced(before, row):
        return ""
    return "\n"


def _joins_unspaced(before: Row, row: Row) -> bool:
    last, first = before.segments[-1].pieces[-1].text, row.segments[0].pieces[0].text
    if last.isascii() or not (_UNSPACED_END.match(last) and _UNSPACED_START.match(first)):
        return False
    return bool(_JOINABLE_END.search(last))


def _usual_pitch(rows: Sequence[Row]) -> float:
    pitches = [
        two.baseline - one.baseline
        for one, two in pairwise(rows)
        if two.baseline - one.baseline < _MAX_PITCH * two.height
    ]
    return median(pitches) if pitches else 1.2 * max((row.height for row in rows), default=1.0)
