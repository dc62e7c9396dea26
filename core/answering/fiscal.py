"""Names the fiscal year of a date, as a document names its own fiscal years. Pure.

A company's fiscal 2022 may end on January 28, 2023, and another one's on January 30, 2022.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from core.answering.passages import Passage
from core.text.dates import MONTH, YEAR

_DATE = rf"(?P<month>{MONTH})\.? \d{{1,2}},? (?P<year>{YEAR})"
_DATED = re.compile(_DATE, re.IGNORECASE)
_NAMED = rf"(?:fiscal(?: year)?|FY) ?(?P<named>{YEAR})"
_SAYS = (
    re.compile(rf"{_NAMED}[^.;\n]{{0,60}}?\b(?:ended|ending|ends)\b[^.;\d]{{0,30}}?{_DATE}", re.I),
    re.compile(rf"\bended {_DATE}[^.;\w]{{1,4}}(?:or |our |the )?{_NAMED}", re.I),
)
# Retailers count in weeks, and name the year by the one in which it began.
_MENTIONED = re.compile(rf"\bfiscal(?: years?)? (?P<year>{YEAR})(?: and {YEAR})?", re.IGNORECASE)
_LAST_MONTHS = range(3, 10)  # of quarters before the one in which such a fiscal year ends
_IN_WEEKS = re.compile(rf"\bweeks ended (?:january|february|jan|feb)\b\.? \d{{1,2}},? {YEAR}", re.I)
_ASKS = re.compile(r"\b(?:fiscal|FY ?\d)", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class FiscalYear:
    """The month in which a fiscal year ends, and by how much its name is less than that year."""

    last_month: int
    behind: int

    @classmethod
    def of(cls, document_id: str, passages: Iterable[Passage]) -> "FiscalYear | None":
        """The fiscal year of one document, as `read` finds it in its passages."""
        own = (one for one in passages if one.document_id == document_id)
        return cls.read(f"{one.heading} {one.text}" for one in own)

    @classmethod
    def read(cls, texts: Iterable[str]) -> "FiscalYear | None":
        """What a document's `texts` say of its fiscal years, None if they say nothing."""
        in_weeks, mentioned, dates = False, set[int](), set[tuple[int, int]]()
        for text in texts:
            for pattern in _SAYS:
                for found in pattern.finditer(text):
                    behind = int(found["year"]) - int(found["named"])
                    if behind in (0, 1):
                        return cls(_month(found["month"]), behind)
            in_weeks = in_weeks or _IN_WEEKS.search(text) is not None
            mentioned.update(int(found["year"]) for found in _MENTIONED.finditer(text))
            dates.update(map(_year_and_month, _DATED.finditer(text)))
        if in_weeks:
            return cls(2, 1)
        return cls(2, 0) if _is_ahead(mentioned, dates) else None

    def years_of(self, text: str) -> frozenset[str]:
        """The fiscal years of the dates in `text`."""
        return frozenset(
            str(int(date["year"]) + (_month(date["month"]) > self.last_month) - self.behind)
            for date in _DATED.finditer(text)
        )


def _is_ahead(mentioned: set[int], dates: set[tuple[int, int]]) -> bool:
    """Whether the fiscal year is a year ahead of the dates: it ends early in the next year."""
    if not mentioned or not dates:
        return False
    year, month = max(dates)
    return max(mentioned) == year + 1 and month in _LAST_MONTHS


def _year_and_month(date: re.Match[str]) -> tuple[int, int]:
    return int(date["year"]), _month(date["month"])


def asks_for_fiscal_year(question: str) -> bool:
    """Whether the years in `question` are fiscal years, and no part of a date."""
    return _ASKS.search(question) is not None and _DATED.search(question) is None


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].casefold()) + 1
