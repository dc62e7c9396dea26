"""Whether a table's column is of the period that a question asks for. Pure."""

import re
from dataclasses import dataclass

from core.answering.fiscal import FiscalYear
from core.answering.tables import YEAR, Cell
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
_CHANGE = re.compile(
    r"chang|varianc|increas|decreas|grow|rise|rose|fell|drop|y\.o\.y"
    rf"|{YEAR} ?(?:vs\.?|to|over|[-–]) ?{YEAR}",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    r"percent|share of|rate\b|ratio\b|yield\b|margin|%|load factor|occupancy", re.IGNORECASE
)
_ASKS_CHANGE = re.compile(rf"{_CHANGE.pattern}|\breduc|\bless\b|\bfewer\b", re.IGNORECASE)

_MAX_CAPTION = 160  # characters; a longer line above a table is prose


@dataclass(frozen=True, slots=True)
class AskedPeriod:
    """The years, months and span of time (`three` months, say) in a question's `text`."""

    text: str
    years: frozenset[str]
    months: frozenset[str]
    span: str

    @classmethod
    def read(cls, question: str) -> "AskedPeriod":
        return cls(question, years_in(question), _months(question), _span(question))


def column_fit(
    asked: AskedPeriod, cell: Cell, *, filename: str, fiscal: FiscalYear | None
) -> float:
    """How well the columns of `cell` have the period and the kind that are asked for.

    About 2 if they have the year, below 0 if they have another one. A table without years is of
    the year in the document's `filename`. `fiscal` tells how the document names its fiscal
    years, if the question asks for one.
    """
    text = " ".join((cell.column, cell.row, cell.section))
    months, span = _months(text), _span(cell.column)
    heading = " ".join(line for line in cell.heading if len(line) <= _MAX_CAPTION)
    above = years_in(heading) or years_in(re.sub(r"[\W_]", " ", filename))
    fit = _year_fit(asked, (fiscal and fiscal.years_of(text)) or years_in(text), above)
    if asked.span and span:
        fit += 1.5 if asked.span == span else -2
    elif span == "twelve":
        fit += 0.2
    if asked.months and months:
        fit += 0.5 if asked.months & months else -1.5
    if "total" in set(content_stems(asked.text)) & set(content_stems(cell.column)):
        fit += 0.5
    if _CHANGE.search(cell.column) and not _ASKS_CHANGE.search(asked.text):
        fit -= 2
    percent = "%" in cell.value or "%" in cell.column
    if percent != bool(_PERCENT.search(asked.text)):
        fit -= 2
    return fit


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
    return frozenset(re.findall(rf"(?<!\d){YEAR}(?!\d)", text))


def _months(text: str) -> frozenset[str]:
    return frozenset(found.lower() for found in _MONTHS.findall(text))


def _span(text: str) -> str:
    for name, pattern in _SPANS.items():
        if re.search(rf"\b(?:{pattern})", text, re.IGNORECASE):
            return name
    return ""
