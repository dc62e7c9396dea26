"""Answers a question for a figure with the table cell whose row and columns it names. Pure.

A score is a sum of shares of the question's words, weighted by where the words are found.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.answering.asking import Need
from core.answering.cells import FILLER, WHOLE, is_in_a_row, is_of_kind, stems_of
from core.answering.fiscal import FiscalYear, asks_for_fiscal_year
from core.answering.naming import (
    MIN_LETTERS,
    capitalised,
    filename_letters,
    is_about,
    short_names_in,
)
from core.answering.passages import Passage
from core.answering.periods import AskedPeriod, column_fit, years_in
from core.answering.tables import Cell, read_cells
from core.text.abbreviations import abbreviates, is_short_form, runs, stands_for
from core.text.synonyms import synonyms_of
from core.text.words import FUNCTION_WORDS, STOP_WORDS, content_stems, fold, stem, words

# What a word of the question counts for, by where it is found.
OTHERWISE, SECTION, NEARBY = 0.95, 0.7, 0.3  # 1 in the row's label or its column
PRECISION_WEIGHT = 0.3
FITS_WEIGHT = 0.2
OTHER_DOCUMENT = 0.8  # against a document that the question does not name, if it names one
RANK_WEIGHT = 0.02
ABSENT_WEIGHT = 1.3
# Fitted by hand on questions about annual and quarterly reports (docs/adr/0010): a figure is
# given from here on, else sentences are.
MIN_SCORE, MIN_FITS = 0.58, 1.5
MIN_SCORE_WITHOUT_PERIOD = 0.7
MIN_PRECISION = 0.4
MIN_TOLD = 0.25
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
    holds_all: bool  # whether the row, its columns and the lines above have all of the words

    @property
    def is_told(self) -> bool:
        """Whether nearly all of the row's words and most of the question's are the same."""
        return self.precision >= NEARLY_ALL and self.told >= MOSTLY_TOLD


@dataclass(frozen=True, slots=True)
class _Asked:
    """The parts of a question that tell which figure it asks for."""

    text: str
    words: tuple[str, ...]
    stems: tuple[str, ...]
    period: AskedPeriod

    @classmethod
    def read(cls, question: str) -> "_Asked":
        period = AskedPeriod.read(question)
        stems = tuple(
            word
            for word in dict.fromkeys(content_stems(question))
            if word not in FILLER and word not in period.years
        )
        return cls(question, tuple(words(question)), stems, period)


def find_figure(question: str, passages: Sequence[Passage]) -> Figure | None:
    """The cell that fits the question best; None if the passages have no table."""
    asked = _Asked.read(question)
    placed = [
        _Placed.read(cell, passage, rank)
        for rank, passage in enumerate(passages[:MAX_PASSAGES])
        for cell in read_cells(passage.text, caption=passage.heading)
    ]
    if not placed or not asked.stems:
        return None
    sources = _Sources.read(asked, passages, placed)
    weights = _weights(asked, placed, sources.synonyms)
    figures = [_judge(asked, one, sources, weights) for one in placed]
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
        return cls(cell, passage, rank, stems_of(cell.row), stems_of(cell.column), stems_of(above))


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the passages hold, by document.

    `names` are the stems of the question that a document's name holds or that are short for a
    name in its passages (`amex`): they tell documents apart, not cells. `subjects` are those of
    the other names that it is about.
    """

    labels: frozenset[str]  # the stems of all rows
    synonyms: Mapping[str, frozenset[tuple[str, ...]]]
    texts: Mapping[str, frozenset[str]]
    names: Mapping[str, frozenset[str]]
    subjects: Mapping[str, frozenset[str]]
    fiscal: Mapping[str, FiscalYear | None]  # of documents; empty if no such year is asked for

    @classmethod
    def read(
        cls, asked: _Asked, passages: Sequence[Passage], placed: Sequence[_Placed]
    ) -> "_Sources":
        texts: dict[str, frozenset[str]] = {}
        names: dict[str, frozenset[str]] = {}
        for passage in passages:
            id_ = passage.document_id
            texts[id_] = texts.get(id_, frozenset()) | stems_of(passage.text)
            names[id_] = names.get(id_, frozenset()) | _named_by(passage, asked)
        labels = frozenset().union(*(one.row for one in placed))
        told = labels.union(*(one.column | one.around for one in placed))
        others = [name for name in capitalised(asked.text) if stem(name) not in told]
        subjects = {
            one.document_id: frozenset(
                stem(name) for name in others if is_about(one, name, passages)
            )
            for one in passages
        }
        asks = asks_for_fiscal_year(asked.text)
        fiscal = {id_: FiscalYear.of(id_, passages) for id_ in (texts if asks else ())}
        return cls(labels, synonyms_of(asked.stems), texts, names, subjects, fiscal)

    def is_subject(self, word: str, document: str) -> bool:
        """Whether a stem of the question tells which document is meant, and not which cell."""
        return word in self.names[document] or word in self.subjects[document]

    @property
    def named(self) -> frozenset[str]:
        return frozenset().union(*self.names.values())


def _named_by(passage: Passage, asked: _Asked) -> frozenset[str]:
    """The stems of the question that a passage's document is named by."""
    filename = filename_letters(passage)
    held = {word for word in asked.stems if len(word) > 1 and word in filename}
    unknown = set(asked.words) - held - set(words(passage.text))
    held.update(map(stem, short_names_in(passage.text, sorted(unknown))))
    return frozenset(held)


def _weights(
    asked: _Asked, placed: Sequence[_Placed], synonyms: Mapping[str, frozenset[tuple[str, ...]]]
) -> dict[str, float]:
    """The weight of each of the question's words among the tables' rows, 0.3 or more.

    A word that no row has tells less than the rarest of the others: the question may say it for
    the sake of the sentence.
    """
    rows = {row | around for row, around in {(one.row | one.column, one.around) for one in placed}}
    total = len(rows)
    weights, absent = dict[str, float](), list[str]()
    for word in asked.stems:
        ways = [(word,), *synonyms.get(word, ())]
        holding = sum(any(map(row.issuperset, ways)) for row in rows)
        weights[word] = 0.3 + math.log(1 + (total - holding + 0.5) / (holding + 0.5))
        absent += [word] if not holding else []
    most = max((weights[word] for word in weights if word not in absent), default=1.0)
    return weights | {word: min(weights[word], ABSENT_WEIGHT * most) for word in absent}


def _judge(asked: _Asked, one: _Placed, sources: _Sources, weights: Mapping[str, float]) -> Figure:
    document = one.passage.document_id
    sought = [word for word in asked.stems if not sources.is_subject(word, document)]
    short = frozenset[str]().union(
        *(_abbreviated(asked.words, label) for label in (one.cell.row, *one.cell.columns))
    )
    held = {word: _held(word, one, sources, short) for word in sought}
    total = sum(weights[word] for word in sought)
    score = sum(weights[word] * held[word] for word in sought) / total if total else 0.0
    precision = _precision(asked, one, sources, short)
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
        all(share > NEARBY for share in held.values()),
    )


def _held(word: str, one: _Placed, sources: _Sources, short: frozenset[str]) -> float:
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


def _precision(asked: _Asked, one: _Placed, sources: _Sources, short: frozenset[str]) -> float:
    """The share of the row's label and columns that the question says, in its words or others."""
    own, section = _telling(one.row | one.column), _telling(stems_of(one.cell.section))
    telling = own | section
    if not telling:
        return 1.0 if one.row else 0.0
    said = set(stems_of(asked.text))
    for synonyms in sources.synonyms.values():
        for synonym in synonyms:
            if telling.issuperset(synonym):
                said.update(synonym)
    section = section - own
    share = (len(own & said) + len(section & said) / 2) / (len(own) + len(section) / 2)
    return max(share, OTHERWISE if short else 0.0)


def _telling(stems: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in stems - FILLER - WHOLE if not word.isdigit())


def _says_otherwise(stems: frozenset[str], word: str, sources: _Sources) -> bool:
    return any(stems.issuperset(synonym) for synonym in sources.synonyms.get(word, ()))
