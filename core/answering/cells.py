"""What a cell of a table may be: of which row, and whether a count, a share or an amount. Pure."""

import re
from functools import lru_cache

from core.answering.asking import Need
from core.answering.periods import years_in
from core.answering.tables import Cell
from core.text.words import content_stems, words

# Words that describe the form of a figure and do not tell which figure is meant.
FILLER = frozenset(
    content_stems(
        "number amount figure value report record have spend spent pay paid make made get bring"
        " brought book earn carry full fiscal year quarter month week end ended"
        " ending three six nine twelve first second third fourth million billion thousand dollar"
        " percentage percent share large big high january february march april june july august"
        " september october november december come well do did average was were use used"
        " total overall company group hold fy worth classify recognize disclose"
    )
)
# Little words that tell rows apart: income before taxes, loss per share.
_TELLING = frozenset({"before", "after", "per", "other"})
# Rows of the whole, which a question means that names no part.
WHOLE = frozenset(content_stems("total worldwide consolidated company group overall"))
_SAYS_SHARE = frozenset(content_stems("share percent percentage rate proportion"))
_MAX_LABEL_WORDS = 12


@lru_cache(maxsize=4000)
def stems_of(text: str) -> frozenset[str]:
    """The stems of a text, and the little words that tell rows apart."""
    return frozenset(content_stems(text)) | _TELLING.intersection(words(text))


def is_in_a_row(cell: Cell) -> bool:
    """Whether a cell has columns and a row with a label that tells which row it is.

    A row without a label is the only one below its heading.
    """
    if not cell.columns:
        return False
    label = cell.row or cell.section
    return _is_label(label) and _tells(cell) if label else bool(cell.heading)


def is_total(cell: Cell) -> bool:
    """Whether a row is the sum of others, or its label has no word: `Total revenues`, `(4)`."""
    return bool(WHOLE & stems_of(cell.row)) or not content_stems(re.sub(r"\W\d?\W", "", cell.row))


def _tells(cell: Cell) -> bool:
    """Whether a row's label tells more than that it is a year or a month: `Fiscal year:`."""
    label = f"{cell.section} {cell.row}"
    return bool(stems_of(label) - FILLER) or bool(WHOLE & stems_of(label)) or bool(years_in(label))


def is_of_kind(cell: Cell, need: Need, *, is_told: bool) -> bool:
    """Whether the cell may be the count, share or amount that is asked for.

    A row that the question tells well (`is_told`) need not name what is counted: `Herons (young)`.
    """
    said = stems_of(" ".join((cell.section, cell.row, cell.column, *cell.heading)))
    if need.kind == "percent":
        return "%" in cell.value or not said.isdisjoint(_SAYS_SHARE) or "." in cell.value
    if need.kind == "count":
        return _is_count(cell, need.question) and (is_told or need.names_counted(said))
    return need.kind != "date"


def _is_count(cell: Cell, question: str) -> bool:
    """False for amounts of money: by their sign, or by a unit that only the caption says."""
    said = f"{cell.section} {cell.row} {cell.column} {question}".casefold()
    return not re.match(r"\(?[-−]?[$€£¥]", cell.value) and cell.unit in said


def _is_label(text: str) -> bool:
    """Whether `text` is a row's label, and not a line of prose that ends in a number."""
    is_prose = re.search(r"(?:\w+ ){3}.*[^\W\d]{2}\. ", text) is not None
    return bool(text) and len(text.split()) <= _MAX_LABEL_WORDS and not is_prose
