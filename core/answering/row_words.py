"""Compares the words of a question with those of the passages' tables. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.answering.cells import FILLER, stems_of
from core.answering.fiscal import FiscalYear, asks_for_fiscal_year
from core.answering.naming import (
    filename_letters,
    is_about,
    is_filed_under,
    names_asked,
    short_names_in,
)
from core.answering.passages import Passage
from core.answering.periods import AskedPeriod
from core.answering.tables import Cell
from core.text.dates import days_in
from core.text.roots import derived_from, short_forms, shortened_in
from core.text.synonyms import synonyms_of
from core.text.words import content_stems, stem, words

ABSENT_WEIGHT = 1.3
EVERY = 1.0  # passage of a document has its subject's name; many have that of a product
NUMERALS = {
    word: str(number)
    for number, word in enumerate(
        ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=2
    )
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a question that tell which figure it asks for."""

    text: str
    words: tuple[str, ...]
    stems: tuple[str, ...]
    period: AskedPeriod

    @classmethod
    def read(cls, question: str) -> "Asked":
        period = AskedPeriod.read(question)
        left_out = FILLER | period.years | days_in(question)
        stems = tuple(
            word for word in dict.fromkeys(content_stems(question)) if word not in left_out
        )
        return cls(question, tuple(words(question)), stems, period)


@dataclass(frozen=True, slots=True)
class Placed:
    """A cell with its passage and the stems of its row, its column and the lines above."""

    cell: Cell
    passage: Passage
    rank: int
    row: frozenset[str]
    column: frozenset[str]
    around: frozenset[str]

    @classmethod
    def read(cls, cell: Cell, passage: Passage, rank: int) -> "Placed":
        told = (
            line for line in cell.heading if line == passage.heading or not line.endswith(".")
        )  # without the ends of paragraphs
        above = " ".join((cell.section, *told))
        return cls(cell, passage, rank, stems_of(cell.row), stems_of(cell.column), stems_of(above))


@dataclass(frozen=True, slots=True)
class Sources:
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
    def read(cls, asked: Asked, passages: Sequence[Passage], placed: Sequence[Placed]) -> "Sources":
        others = names_asked(asked.text, passages)
        texts: dict[str, frozenset[str]] = {}
        names: dict[str, frozenset[str]] = {}
        for passage in passages:
            id_ = passage.document_id
            texts[id_] = texts.get(id_, frozenset()) | stems_of(passage.text)
            names[id_] = names.get(id_, frozenset()) | _named_by(passage, asked, others)
        labels = frozenset().union(*(one.row for one in placed))
        told = labels.union(*(one.column | one.around for one in placed))
        subjects = {
            one.document_id: frozenset(
                stem(name)
                for name in others
                if stem(name) not in told and is_about(one, name, passages, share=EVERY)
            )
            for one in passages
        }
        asks = asks_for_fiscal_year(asked.text)
        fiscal = {id_: FiscalYear.of(id_, passages) for id_ in (texts if asks else ())}
        return cls(labels, _ways(asked, told, placed), texts, names, subjects, fiscal)

    def is_subject(self, word: str, document: str) -> bool:
        """Whether a stem of the question tells which document is meant, and not which cell."""
        return word in self.names[document] or word in self.subjects[document]

    @property
    def named(self) -> frozenset[str]:
        return frozenset().union(*self.names.values())


def _ways(
    asked: Asked, told: frozenset[str], placed: Sequence[Placed]
) -> dict[str, frozenset[tuple[str, ...]]]:
    """What the tables may say for each stem of the question: synonyms, derived and short words."""
    ways = synonyms_of(asked.stems)
    labels = {label for one in placed for label in (one.cell.row, *one.cell.columns)}
    shortened = frozenset().union(*map(shortened_in, labels))
    for word in asked.words:
        known = ways.get(stem(word), frozenset())
        forms = derived_from(stem(word), told) | short_forms(word, shortened)
        if forms and stem(word) in asked.stems:
            ways[stem(word)] = known.union((form,) for form in forms)
    return ways


def _named_by(passage: Passage, asked: Asked, names: Sequence[str]) -> frozenset[str]:
    """The stems of the question that a passage's document is named by.

    `names` are those of the question: a stock's short name may be one's in the file name.
    """
    filename = filename_letters(passage)
    held = {stem(name) for name in names if is_filed_under(passage, name)}
    held |= {word for word in asked.stems if len(word) > 1 and word in filename}
    unknown = set(asked.words) - held - set(words(passage.text))
    held.update(map(stem, short_names_in(passage.text, sorted(unknown))))
    return frozenset(held)


def weights_of(
    asked: Asked, placed: Sequence[Placed], synonyms: Mapping[str, frozenset[tuple[str, ...]]]
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


def with_numerals(asked: Asked, placed: Sequence[Placed]) -> Asked:
    """`asked` with the digits of its number words that labels of rows write as digits."""
    labels = frozenset().union(*(one.row for one in placed))
    digits = {NUMERALS[word] for word in asked.words if word in NUMERALS} & labels
    return replace(asked, stems=tuple(dict.fromkeys((*asked.stems, *sorted(digits)))))
