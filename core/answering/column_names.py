"""Tells the names of columns from titles, groups and units in the headers of cells. Pure."""

import re
from collections.abc import Sequence
from itertools import pairwise, takewhile

from core.text.dates import MONTH, YEAR

YEARS = re.compile(rf"^(?:FY ?)?{YEAR}$")
_PERIOD_WORD = re.compile(rf"{MONTH}\.?|\d{{1,2}},|(?:FY ?)?{YEAR}", re.IGNORECASE)
_WITHOUT_YEAR = re.compile(rf"\b{YEAR}\b.*")
_MAX_TITLE = 30  # characters; a longer beginning of a header is the table's title
_UNIT_NOTE = re.compile(
    r"\((?:[^()]*\b(?:thousands?|millions?|billions?|except|(?:un)?audited)\b[^()]*)\)",
    re.IGNORECASE,
)


def without_title(headers: Sequence[str]) -> list[str]:
    """The headers without the words that neighbours begin with, if those are a table's title."""
    own = list(headers)
    for run in _runs_under_a_title(headers):
        pairs = [pair for pair in pairwise(run.values()) if pair[0] != pair[1]]
        title = min((_shared_beginning(*pair) for pair in pairs), key=len, default="")
        for at, header in run.items():
            own[at] = header[len(title) :].strip() or header
    return own


def _runs_under_a_title(headers: Sequence[str]) -> list[dict[int, str]]:
    """The places of neighbouring headers that begin with the same long words, two or more."""
    runs = [{0: headers[0]}] if headers else []
    for place, (one, other) in enumerate(pairwise(headers), start=1):
        if len(_shared_beginning(one, other)) <= _MAX_TITLE:
            runs.append({})
        runs[-1][place] = other
    return [run for run in runs if len(run) > 1]


def _shared_beginning(one: str, other: str) -> str:
    """The whole words that both begin with, up to a period."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one.split(" "), other.split(" ")))  # noqa: B905
    shared = [word for word, _ in same]
    while shared and _PERIOD_WORD.fullmatch(shared[-1]):
        shared.pop()
    return " ".join(shared)


def spread_group(headers: Sequence[str]) -> list[str]:
    """The headers, each with the name of its group.

    Of `2022`, `Revenue 2021`, `2020` the page reader gave the group's name to one only. A group
    goes on until a year repeats.
    """
    spread = list(headers)
    for run in _runs_of_years(headers):
        names = {name for place in run if (name := _WITHOUT_YEAR.sub("", headers[place]).strip())}
        if len(names) == 1:
            (name,) = names
            for place in run:
                if YEARS.match(headers[place]):
                    spread[place] = f"{name} {headers[place]}"
    return spread


def _runs_of_years(headers: Sequence[str]) -> list[list[int]]:
    """The places of neighbouring headers with different years."""
    runs: list[list[int]] = []
    seen: set[str] = set()
    for place, header in enumerate(headers):
        found = re.search(YEAR, header)
        if found is None or found[0] in seen or not seen:
            runs.append([])
            seen = set()
        if found is not None:
            runs[-1].append(place)
            seen.add(found[0])
    return runs


def without_unit(header: str) -> str:
    """A column's header without what it says of the unit, of audits, and of the whole table."""
    title, _, own = header.rpartition(": ")
    if own and len(title) > _MAX_TITLE:
        header = own
    return " ".join(_UNIT_NOTE.sub(" ", header).split()) or header
