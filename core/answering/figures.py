"""Answers a question for a figure with the table cell whose row and columns it names. Pure.

A score is a sum of shares of the question's words, weighted by where the words are found.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.answering.asking import Need
from core.answering.cells import FILLER, WHOLE, is_in_a_row, is_of_kind, stems_of
from core.answering.naming import MIN_LETTERS
from core.answering.passages import Passage
from core.answering.periods import column_fit, years_in
from core.answering.row_words import Asked, Placed, Sources, weights_of, with_numerals
from core.answering.tables import Cell, read_cells
from core.text.abbreviations import abbreviates, is_short_form, runs, stands_for
from core.text.words import FUNCTION_WORDS, STOP_WORDS, fold, stem, words

# What a word of the question counts for, by where it is found.
OTHERWISE, SECTION, NEARBY = 0.95, 0.7, 0.3  # 1 in the row's label or its column
PRECISION_WEIGHT = 0.3
FITS_WEIGHT = 0.2
OTHER_DOCUMENT = 0.8  # against a document that the question does not name, if it names one
RANK_WEIGHT = 0.02
# Fitted by hand on questions about annual and quarterly reports (docs/adr/0010): a figure is
# given from here on, else sentences are.
MIN_SCORE, MIN_FITS = 0.58, 1.5
MIN_SCORE_WITHOUT_PERIOD = 0.7
MIN_PRECISION = 0.4
MIN_TOLD = 0.3
NEARLY_ALL, MOSTLY_TOLD = 0.9, 0.65
STATE_BONUS = 0.25
NEARLY_AS_GOOD = 0.15
NOT_MUCH_LOWER = 0.25
MAX_PASSAGES = 10
_CAPITALS = re.compile(r"\b[A-Z](?:[&/.]?[A-Z]){1,7}\b")  # a short form, and no ordinary word
# “How much was there at the end of 2022?” asks for the balance, and not for what changed it.
_ASKS_STATE = re.compile(
    r"\b(?:at|by) (?:the )?(?:year[- ]?)?end\b|\byear[- ]end\b|\bas of\b", re.IGNORECASE
)
_SAYS_STATE = re.compile(r"^\W*(?:ending )?balances?\b(?!.*beginning)|\bend of ", re.IGNORECASE)
# A row with such a label is the only one of its name: `2012_2`, `A-320`.
_CODE = re.compile(r"\d[\w-]*[_-]\w*\d|\d[^\W\d]|[^\W\d][-_]?\d")
_NO_FIGURE = re.compile(
    r"\b(?:who|whom|whose|where|when|why|how (?:do|does|did|can|is|are))\b"
    r"|\bwhat (?:is|are|does) (?:the )?(?-i:[A-Z]{2,})(?= (?:at|in|for|mean|stand)\b|\?|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A cell that may answer the question. `score` is about 0 to 1.3."""

    cell: Cell
    passage: Passage
    score: float
    fits: float  # of its columns; below 0 they are other ones than the question names
    precision: float  # the share of its own label, columns and section that the question says
    holds_rarest: bool  # the rarest word that labels of rows have in common with the question
    told: float  # the share of the question's words, by weight, that are in the row or above it
    names_row: bool  # whether the question says all telling words of the row's label
    holds_all: bool  # whether the row, its columns and the lines above have all of the words

    @property
    def is_told(self) -> bool:
        """Whether nearly all of the row's words and most of the question's are the same."""
        is_row_said = self.names_row or self.precision >= NEARLY_ALL
        return is_row_said and self.told >= MOSTLY_TOLD


def find_figure(question: str, passages: Sequence[Passage]) -> Figure | None:
    """The cell that fits the question best; None if the passages have no table."""
    asked = Asked.read(question)
    placed = [
        Placed.read(cell, passage, rank)
        for rank, passage in enumerate(passages[:MAX_PASSAGES])
        for cell in read_cells(passage.text, caption=passage.heading)
    ]
    if not placed or not asked.stems:
        return None
    asked = with_numerals(asked, placed)
    sources = Sources.read(asked, passages, placed)
    weights = weights_of(asked, placed, sources.synonyms)
    figures = [_judge(asked, one, sources, weights) for one in placed if is_in_a_row(one.cell)]
    if not figures:
        return None
    best = _best(figures, question)
    if not best.holds_all:
        return best
    return max((one for one in figures if _is_alike(one, best)), key=_size, default=best)


def _best(figures: Sequence[Figure], question: str) -> Figure:
    """The figure with the highest rating, or a sure one whose rating is not much lower."""
    best = max(figures, key=_rating)
    least = _rating(best) - NOT_MUCH_LOWER
    near = sorted((one for one in figures if _rating(one) > least), key=_rating, reverse=True)
    return next((one for one in near if is_sure(one, question)), best)


def _rating(figure: Figure) -> float:
    return figure.score + FITS_WEIGHT * figure.fits


def _is_alike(one: Figure, best: Figure) -> bool:
    """Whether both figures have one label and period: the larger is then the whole of the other."""
    return (
        (one.cell.row, one.cell.columns) == (best.cell.row, best.cell.columns)
        and one.passage.document_id == best.passage.document_id
        and ("%" in one.cell.value) == ("%" in best.cell.value)
        and "." not in best.cell.value
        and _rating(one) > _rating(best) - NEARLY_AS_GOOD
    )


def _size(figure: Figure) -> float:
    digits = re.sub(r"[^\d.]", "", figure.cell.value).strip(".")
    return float(digits) if digits.count(".") < 2 and digits else 0.0


def is_sure(figure: Figure, question: str) -> bool:
    """Whether the figure fits the question's row, and its period if it names one."""
    cell = figure.cell
    if not is_in_a_row(cell):
        return False
    if _NO_FIGURE.search(question):
        return False
    if not is_of_kind(cell, Need.read(question), is_told=figure.is_told):
        return False
    if not (cell.row or cell.section):
        return figure.told >= NEARLY_ALL and figure.fits >= MIN_FITS
    if figure.names_row and _CODE.search(cell.row):
        return figure.score >= MIN_SCORE and figure.fits > -1
    if figure.precision < MIN_PRECISION or figure.told < MIN_TOLD:
        return False
    if not (figure.holds_rarest or figure.is_told):
        return False
    if years_in(question):
        is_whole = figure.told == figure.precision == 1
        return figure.score >= MIN_SCORE and figure.fits >= (0 if is_whole else MIN_FITS)
    return figure.score >= MIN_SCORE_WITHOUT_PERIOD and figure.fits > -1


def say_figure(figure: Figure) -> str:
    """The figure with its row, columns and unit: `Net sales, 2022: $34,229 million`."""
    cell = figure.cell
    label = cell.row or cell.section
    if cell.section and cell.row and len(cell.section) < 60:
        label = f"{cell.section.strip(' :')} – {cell.row}" if len(cell.row) < 60 else cell.row
    columns = ", ".join(dict.fromkeys(cell.columns))
    named = ", ".join(filter(None, (label, columns)))
    value = f"{cell.value} {cell.unit}".strip()
    return f"{named}: {value}"


def _judge(asked: Asked, one: Placed, sources: Sources, weights: Mapping[str, float]) -> Figure:
    document = one.passage.document_id
    sought = [word for word in asked.stems if not sources.is_subject(word, document)]
    short = frozenset[str]().union(
        *(_abbreviated(asked.words, label) for label in (one.cell.row, *one.cell.columns))
    )
    held = {word: _held(word, one, sources, short) for word in sought}
    total = sum(weights[word] for word in sought)
    score = sum(weights[word] * held[word] for word in sought) / total if total else 0.0
    precision = _precision(asked, one, sources, short)
    label = _telling(one.row) or one.row - FILLER
    score += PRECISION_WEIGHT * precision - RANK_WEIGHT * one.rank
    if _ASKS_STATE.search(asked.text) and _SAYS_STATE.search(one.cell.row):
        score += STATE_BONUS
    if sources.named and not sources.names[document]:
        score -= OTHER_DOCUMENT
    rarest = max(sources.labels.intersection(sought), key=lambda word: weights[word], default="")
    return Figure(
        one.cell,
        one.passage,
        score,
        column_fit(
            asked.period,
            one.cell,
            filename=one.passage.filename,
            fiscal=sources.fiscal.get(document),
        ),
        precision,
        held.get(rarest, 1.0) > NEARBY,
        sum(weights[word] for word in sought if held[word] > NEARBY) / total if total else 0.0,
        bool(label) and label <= _said(asked, sources, label),
        all(share > NEARBY for share in held.values()),
    )


def _held(word: str, one: Placed, sources: Sources, short: frozenset[str]) -> float:
    """What a word of the question counts for, by where it is found; 0 where it is not."""
    told = one.row | one.column
    if word in told:
        return 1.0
    if word in short or _says_otherwise(told, word, sources):
        return OTHERWISE
    if word in one.around or _says_otherwise(one.around, word, sources):
        return SECTION
    return NEARBY if word in sources.texts[one.passage.document_id] else 0.0


@lru_cache(maxsize=4000)
def _abbreviated(asked: tuple[str, ...], label: str) -> frozenset[str]:
    """The stems of the question that a label has in short (`FLNA`), or in full (`EMEA`)."""
    held = set[str]()
    own = words(label)
    for token in (re.sub(r"\W", "", fold(found)) for found in _CAPITALS.findall(label)):
        for first, last in runs(asked):
            if abbreviates(token, asked[first:last]):
                held.update(map(stem, asked[first:last]))
    for word in filter(is_short_form, asked):
        is_name = len(word) >= MIN_LETTERS and word not in FUNCTION_WORDS | STOP_WORDS
        if is_name and word not in own and stands_for(word, own):
            held.add(stem(word))
    return frozenset(held)


def _precision(asked: Asked, one: Placed, sources: Sources, short: frozenset[str]) -> float:
    """The share of the row's label and columns that the question says, in its words or others."""
    own, section = _telling(one.row | one.column), _telling(stems_of(one.cell.section))
    telling = own | section
    if not telling:
        return 1.0 if WHOLE & (one.row | stems_of(one.cell.section)) else 0.0
    said = _said(asked, sources, telling)
    section = section - own
    share = (len(own & said) + len(section & said) / 2) / (len(own) + len(section) / 2)
    return max(share, OTHERWISE if short else 0.0)


def _said(asked: Asked, sources: Sources, telling: frozenset[str]) -> frozenset[str]:
    """The stems that the question says, and those of `telling` that it says in other words."""
    others = (other for ways in sources.synonyms.values() for other in ways)
    return stems_of(asked.text).union(*(other for other in others if telling.issuperset(other)))


def _telling(stems: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in stems - FILLER - WHOLE if not word.isdigit())


def _says_otherwise(stems: frozenset[str], word: str, sources: Sources) -> bool:
    return any(stems.issuperset(synonym) for synonym in sources.synonyms.get(word, ()))
