"""Dates in English texts: parts of patterns, and the days that a text names."""

import re

# In full or in short, to be compiled with re.IGNORECASE.
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
YEAR = r"(?:19|20)\d\d"
_DAY_OF_MONTH = re.compile(
    rf"\b{MONTH}\.? (?P<after>\d{{1,2}})(?!\d)|(?<!\d)(?P<before>\d{{1,2}}) {MONTH}\b",
    re.IGNORECASE,
)

# Tables write months in short. By stems, each the other's.
_LONG = (
    "januari",
    "februari",
    "march",
    "april",
    "june",
    "juli",
    "august",
    "septemb",
    "octob",
    "novemb",
    "decemb",
)
_SHORT = ("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_STEMS = dict(zip(_LONG + _SHORT, _SHORT + _LONG, strict=True))


def days_in(text: str) -> frozenset[str]:
    """The days of months in `text`: `31` of `December 31, 2022`."""
    return frozenset(found["after"] or found["before"] for found in _DAY_OF_MONTH.finditer(text))
