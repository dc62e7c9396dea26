"""Answers a question for a figure with the table cell whose row and columns it names. Pure.

A score is a sum of shares of the question's words, weighted by where the words are found.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from core.answering.passages import Passage
from core.answering.tables import YEAR, Cell, read_cells
from core.text.synonyms import synonyms_of
from core.text.words import content_stems, fold

# Words that describe the form of a figure and do not tell which figure is meant.
_FILLER = frozenset(
    content_stems(
        "number amount figure value report record have spend spent pay paid make made get bring"
        " brought book earn carry full fiscal year quarter month week end ended"
        " ending three six nine twelve first second third fourth million billion thousand dollar"
        " percentage percent share large big high january february march april june july august"
        " september october november december come provide well do did average was were use used"
        " total overall company group hold total fy"
    )
)
_SPANS = {
    "three": r"quarter|q[1-4]\b|three[- ]months?|1[34] weeks",
    "six": r"six[- ]months?|26 weeks|half",
    "nine": r"nine[- ]months?|39 weeks",
    "twelve": (
        r"full[- ](?:fiscal )?year|twelve months|5[23] weeks|annual|years? ended"
        r"|fiscal years?\b(?! 20)"
    ),
}
_MONTHS = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(?:[a-z]{0,6})\b[. -]{0,2}(?:\d|\b)",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"chang|varianc|increas|decreas|grow|rise|rose|fell|drop|y\.o\.y", re.IGNORECASE
)
_SHARE = re.compile(r"\b(?:what|which) (?:percent|percentage)\b|\bmarket share\b", re.IGNORECASE)
_COUNT = re.compile(r"\bhow many\b(?! (?:million|billion|thousand|dollars))", re.IGNORECASE)
_PERCENT = re.compile(r"percent|share of|rate\b|margin|%|load factor|occupancy", re.IGNORECASE)

# The weight of a question's word by the place where it is found.
ROW, SECTION, NEARBY = 1.0, 0.7, 0.3
PRECISION_WEIGHT = 0.3
FITS_WEIGHT = 0.2
SYNONYM_BONUS = 0.15  # for a row whose label is a synonym of the question's words
OTHER_DOCUMENT_PENALTY = 0.4  # if the question names another document than the cell's
RANK_WEIGHT = 0.02
# A figure with a lower score is not given; the answer then consists of sentences. Fitted by hand
# on questions about annual and quarterly reports (docs/adr/0010).
MIN_SCORE, MIN_FITS = 0.68, 1.5
MIN_SCORE_WITHOUT_PERIOD = 1.0
MAX_PASSAGES = 10
_MAX_LABEL_WORDS = 12
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
    fits: float  # how well its columns fit; negative if the question names other columns


@dataclass(frozen=True, slots=True)
class _Asked:
    """The parts of a question that tell which figure it asks for."""

    text: str
    stems: tuple[str, ...]
    years: frozenset[str]
    months: frozenset[str]
    span: str

    @classmethod
    def read(cls, question: str) -> "_Asked":
        stems = tuple(
            stem
            for stem in dict.fromkeys(content_stems(question))
            if stem not in _FILLER and not stem.isdigit()
        )
        return cls(question, stems, _years(question), _months(question), _span(question))


def find_figure(question: str, passages: Sequence[Passage]) -> Figure | None:
    """The cell that fits the question best; None if the passages have no table."""
    asked = _Asked.read(question)
    placed = [
        _Placed.read(cell, passage, rank)
        for rank, passage in enumerate(passages[:MAX_PASSAGES])
        for cell in read_cells(passage.text)
    ]
    if not placed or not asked.stems:
        return None
    sources = _Sources.read(asked, passages)
    weights = _weights(asked, placed)
    figures = [_judge(asked, one, sources, weights) for one in placed]
    return max(figures, key=lambda one: one.score + FITS_WEIGHT * one.fits)


def is_sure(figure: Figure, question: str) -> bool:
    """Whether the figure fits the question's row, and its period if it names one."""
    cell = figure.cell
    if not cell.columns or not _is_label(cell.row or cell.section):
        return False
    if _NO_FIGURE.search(question):
        return False
    if _SHARE.search(question) and cell.unit and "%" not in cell.value:
        return False
    if _COUNT.search(question) and cell.value.startswith(("$", "€", "£")):
        return False
    if _years(question):
        return figure.score >= MIN_SCORE and figure.fits >= MIN_FITS
    return figure.score >= MIN_SCORE_WITHOUT_PERIOD and figure.fits > -1


def _is_label(text: str) -> bool:
    """Whether `text` is a row's label, and not a line of prose that ends in a number."""
    return bool(text) and len(text.split()) <= _MAX_LABEL_WORDS and ". " not in text


def say_figure(figure: Figure) -> str:
    """The figure with its row, columns and unit: `Net sales, 2022: $34,229 million`."""
    cell = figure.cell
    label = cell.row or cell.section
    if cell.section and cell.row and len(cell.section) < 60:
        label = f"{cell.section.strip(' :')} – {cell.row}" if len(cell.row) < 60 else cell.row
    columns = ", ".join(dict.fromkeys(cell.columns))
    named = f"{label}, {columns}" if columns else label
    value = f"{cell.value} {cell.unit}".strip()
    return f"{named}: {value}"


@dataclass(frozen=True, slots=True)
class _Placed:
    """A cell with its passage and the stems of its row, its column and the lines above."""

    cell: Cell
    passage: Passage
    rank: int
    row: frozenset[str]
    column: frozenset[str]
    around: frozenset[str]

    @classmethod
    def read(cls, cell: Cell, passage: Passage, rank: int) -> "_Placed":
        above = " ".join((cell.section, *cell.heading))
        return cls(
            cell,
            passage,
            rank,
            _stems(cell.row),
            _stems(cell.column),
            _stems(above),
        )


@dataclass(frozen=True, slots=True)
class _Sources:
    """Stems and file names of the passages' documents, by document id.

    `synonyms` are phrases for the question's stems. `named` are the question's stems that are
    in a file name.
    """

    synonyms: Mapping[str, frozenset[tuple[str, ...]]]
    texts: Mapping[str, frozenset[str]]
    names: Mapping[str, str]
    named: frozenset[str]

    @classmethod
    def read(cls, asked: _Asked, passages: Sequence[Passage]) -> "_Sources":
        texts: dict[str, frozenset[str]] = {}
        for passage in passages:
            known = texts.get(passage.document_id, frozenset())
            texts[passage.document_id] = known | _stems(passage.text)
        names = {one.document_id: re.sub(r"[\W_]+", "", fold(one.filename)) for one in passages}
        named = {s for s in asked.stems if any(_in_name(s, name) for name in names.values())}
        return cls(synonyms_of(asked.stems), texts, names, frozenset(named))


def _in_name(stem: str, name: str) -> bool:
    return len(stem) > 1 and stem in name


@lru_cache(maxsize=2000)
def _stems(text: str) -> frozenset[str]:
    return frozenset(content_stems(text))


def _weights(asked: _Asked, placed: Sequence[_Placed]) -> dict[str, float]:
    """The weight of each of the question's words among the tables' rows, 0.3 or more."""
    rows = {(one.row, one.around) for one in placed}
    total = len(rows)
    weights = {}
    for stem in asked.stems:
        frequency = sum(stem in row or stem in around for row, around in rows)
        weights[stem] = 0.3 + math.log(1 + (total - frequency + 0.5) / (frequency + 0.5))
    return weights


def _judge(asked: _Asked, one: _Placed, sources: _Sources, weights: Mapping[str, float]) -> Figure:
    document = one.passage.document_id
    name, text = sources.names[document], sources.texts[document]
    total = found = 0.0
    for stem in asked.stems:
        if _in_name(stem, name):
            continue  # it distinguishes documents, not cells
        total += weights[stem]
        if _holds(one.row, stem, sources) or _holds(one.column, stem, sources):
            found += ROW * weights[stem]
        elif _holds(one.around, stem, sources):
            found += SECTION * weights[stem]
        elif stem in text:
            found += NEARBY * weights[stem]
    share = found / total if total else 0.0
    score = share + PRECISION_WEIGHT * _precision(asked, one, sources) - RANK_WEIGHT * one.rank
    phrases = chain.from_iterable(sources.synonyms.values())
    if any(len(phrase) > 1 and one.row.issuperset(phrase) for phrase in phrases):
        score += SYNONYM_BONUS
    if sources.named and not any(_in_name(stem, name) for stem in sources.named):
        score -= OTHER_DOCUMENT_PENALTY
    return Figure(one.cell, one.passage, score, _column_fit(asked, one.cell))


def _precision(asked: _Asked, one: _Placed, sources: _Sources) -> float:
    """The share of the row's label that the question contains, in its words or synonyms."""
    if not one.row:
        return 0.0
    said = set(_stems(asked.text))
    for phrase in chain.from_iterable(sources.synonyms.values()):
        if one.row.issuperset(phrase):
            said.update(phrase)
    return len(one.row & said) / len(one.row)


def _holds(stems: frozenset[str], stem: str, sources: _Sources) -> bool:
    return stem in stems or any(map(stems.issuperset, sources.synonyms.get(stem, ())))


def _column_fit(asked: _Asked, cell: Cell) -> float:
    """How well the columns fit the period and the kind of figure that the question asks for."""
    text = " ".join((cell.column, cell.row))
    years, span, months = _years(text), _span(cell.column), _months(text)
    fit = 0.0
    if asked.years and years:
        fit += 2 if years & asked.years else -3
    elif years:
        fit += 0.02 * (int(max(years)) - 2000)
    if asked.span and span:
        fit += 1.5 if asked.span == span else -2
    elif span == "twelve":
        fit += 0.2
    if asked.months and months:
        fit += 0.5 if asked.months & months else -0.7
    if _CHANGE.search(cell.column) and not _CHANGE.search(asked.text):
        fit -= 2
    percent = "%" in cell.value or "%" in cell.column
    if percent != bool(_PERCENT.search(asked.text)):
        fit -= 2
    return fit


def _years(text: str) -> frozenset[str]:
    return frozenset(re.findall(rf"(?<!\d){YEAR}(?!\d)", text))


def _months(text: str) -> frozenset[str]:
    return frozenset(found.lower() for found in _MONTHS.findall(text))


def _span(text: str) -> str:
    for name, pattern in _SPANS.items():
        if re.search(rf"\b(?:{pattern})", text, re.IGNORECASE):
            return name
    return ""
