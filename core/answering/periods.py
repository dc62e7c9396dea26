"""Whether a table's column is of the period that a question asks for. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from core.answering.fiscal import FiscalYear
from core.answering.tables import Cell
from core.text.dates import YEAR
from core.text.words import content_stems

_SPANS = {
    "three": r"quarter(?!ly)|q[1-4]\b|three[- ]months?|1[34] weeks",
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
_QUARTERS = tuple(
    re.compile(rf"\b(?:{names})[- ](?:fiscal )?quarter|\bq{number}\b", re.IGNORECASE)
    for number, names in enumerate(("first|1st", "second|2nd", "third|3rd", "fourth|4th"), start=1)
)
_CHANGE = re.compile(
    r"\b(?:chang|varianc|increas|decreas|grow|rise|rose|fell\b|drop)|y\.o\.y"
    rf"|{YEAR} ?(?:vs\.?|to|over|[-–]) ?{YEAR}",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    r"percent|share of|\b(?:rate|ratio|yield)\b|margin|%|load factor|occupancy", re.IGNORECASE
)
_ASKS_CHANGE = re.compile(rf"{_CHANGE.pattern}|\breduc|\bless\b|\bfewer\b", re.IGNORECASE)

T = TypeVar("T")
QUARTER_FIT = 1.0
HEADING_SPAN = 0.5
OTHER_KIND = 0.5  # in a row that has one kind of value only
_MAX_CAPTION = 160  # characters; a longer line above a table is prose


@dataclass(frozen=True, slots=True)
class AskedPeriod:
    """The years, months, quarters and span (`three` months, say) in a question's `text`."""

    text: str
    years: frozenset[str]
    months: frozenset[str]
    span: str
    quarters: frozenset[int]

    @classmethod
    def read(cls, question: str) -> "AskedPeriod":
        return cls(
            question, years_in(question), _months(question), _span(question), _quarters(question)
        )


def column_fit(
    asked: AskedPeriod, cell: Cell, *, filename: str, fiscal: FiscalYear | None
) -> float:
    """How well the columns of `cell` have the period and the kind that are asked for.

    About 2 if they have the year, below 0 if they have another one. A table without years is of
    the year in the document's `filename`. `fiscal` tells how the document names its fiscal
    years, if the question asks for one.
    """
    text = " ".join((cell.column, cell.row, cell.section))
    heading = [line for line in cell.heading if len(line) <= _MAX_CAPTION]
    above = _nearest(years_in, heading) or years_in(re.sub(r"[\W_]", " ", filename))
    fit = _year_fit(asked, (fiscal and fiscal.years_of(text)) or years_in(text), above)
    fit += _span_fit(asked, cell, heading)
    quarters = _quarters(text) or _nearest(_quarters, heading)
    if asked.quarters and quarters:
        fit += QUARTER_FIT if asked.quarters & quarters else -2
    months = _months(text)
    if asked.months and months:
        fit += 0.5 if asked.months & months else -1.5
    if "total" in set(content_stems(asked.text)) & set(content_stems(cell.column)):
        fit += 0.5
    return fit + _kind_fit(asked, cell)


def _span_fit(asked: AskedPeriod, cell: Cell, heading: Sequence[str]) -> float:
    """Whether the columns have the span that is asked for.

    Of columns with the same name, reports print those of the shorter span first.
    """
    span = _span(cell.column)
    if span and asked.span:
        return 1.5 if asked.span == span else -2
    if span == "twelve":
        return 0.2
    alike = cell.alike
    if not asked.span or len(alike) < 2:
        return HEADING_SPAN if asked.span and asked.span == _nearest(_span, heading) else 0.0
    return 0.5 if cell.place == alike[0 if asked.span == "three" else -1] else -0.5


def _kind_fit(asked: AskedPeriod, cell: Cell) -> float:
    """0, or less for a change or a share that is not asked for, or for an amount if it is."""
    fit = 0.0
    if _CHANGE.search(cell.column) and not _ASKS_CHANGE.search(asked.text):
        fit -= 2
    is_percent = _is_percent(cell.columns, cell.value)
    if is_percent != bool(_PERCENT.search(asked.text)):
        is_mixed = any(_is_percent(*peer) != is_percent for peer in cell.peers if peer[0])
        fit -= 2 if is_mixed else OTHER_KIND
    return fit


def _is_percent(columns: Sequence[str], value: str) -> bool:
    return "%" in value or any("%" in name for name in columns)


def _nearest(read: Callable[[str], T], heading: Sequence[str]) -> T | None:
    """What `read` finds in the last line of the heading in which it finds anything."""
    return next(filter(None, map(read, reversed(heading))), None)


def _year_fit(asked: AskedPeriod, years: frozenset[str], above: frozenset[str]) -> float:
    """Whether the year asked for is the cell's; of other years a later one is a bit better.

    `years` are those of the cell's row and columns, `above` those above the table.
    """
    if not years:
        return (1.5 if above & asked.years else -1.0) if above and asked.years else 0.0
    if asked.years:
        return 2.0 if years & asked.years else -3.0
    return 0.02 * (int(max(years)) - 2000)


def years_in(text: str) -> frozenset[str]:
    """The years in `text`."""
    return frozenset(re.findall(rf"(?<![\d_]){YEAR}(?![\d_])", text))


def _months(text: str) -> frozenset[str]:
    return frozenset(found.lower() for found in _MONTHS.findall(text))


def _quarters(text: str) -> frozenset[int]:
    """The numbers, 1 to 4, of the quarters that `text` names."""
    return frozenset(at for at, one in enumerate(_QUARTERS, start=1) if one.search(text))


def _span(text: str) -> str:
    for name, pattern in _SPANS.items():
        if re.search(rf"\b(?:{pattern})", text, re.IGNORECASE):
            return name
    return ""
