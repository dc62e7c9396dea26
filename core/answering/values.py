"""Finds the value in a sentence that a question asks for, where the sentence has several. Pure.

“0.3 ml per site for rabbits, 0.1 ml for rats” has two, and “$228 million and $202 million in
2022 and 2021, respectively” has one for each year. The value is said before the sentence, so
that nobody takes another one for it.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from core.answering.asking import ASKS, Need
from core.text.dates import MONTH
from core.text.table_rows import CELL_END
from core.text.words import content_stems, words

MAX_LEAD = 70  # characters of the value and what it is said of
FAR = 110  # characters before a sentence's only value, from which on it is said first
MAX_CELL = 200  # characters of a cell with its row and column
MAX_VALUES = 8
MIN_KEYED = 3  # parts of an enumeration; fewer numbers may be anything
MAX_UNIT = 12

_SCALE = r"(?: (?:thousand|million|billion|trillion|crore|lakh))"
_NUMBER = rf"\d(?:[\d,]*\d)?(?:\.\d+)?{_SCALE}?"
_MONEY = rf"(?:US|A|C)?[$€£¥₹] ?{_NUMBER}|{_NUMBER} (?:dollars|euros?|pounds|cents)\b"
_PERCENT = r"\d[\d,]*(?:\.\d+)? ?(?:%|per ?cent\b)"
_YEAR = r"(?:1[5-9]|20)\d\d"
_DATE = (
    rf"{MONTH}\.? \d{{1,2}}(?:, {_YEAR})?\b|\d{{1,2}} {MONTH}\.? {_YEAR}|{MONTH} {_YEAR}|{_YEAR}"
)
_UNIT = re.compile(r" ?[^\W\d_]+")
_PATTERNS = {
    "money": re.compile(rf"(?<![\w.,])(?:{_MONEY})", re.IGNORECASE),
    "percent": re.compile(rf"(?<![\w.,])(?:{_PERCENT})", re.IGNORECASE),
    "date": re.compile(rf"(?<![\w.,$-])(?:{_DATE})(?![\w,]*\d)", re.IGNORECASE),
    "time": re.compile(
        r"(?<![\w.,])\d{1,2}(?::\d\d)? ?[ap]\.?m\b\.?|(?<![\w.,])\d{1,2}:\d\d\b", re.I
    ),
    "number": re.compile(rf"(?<![\w.,$€£¥₹-])\.?{_NUMBER}", re.IGNORECASE),
    "other": re.compile(
        rf"(?<![\w.,])(?:{_MONEY}|{_PERCENT}|(?<![$€£¥₹-])\.?{_NUMBER})", re.IGNORECASE
    ),
}
_PATTERN_OF = {"count": "number", "measure": "number", "amount": "other"}  # kinds without their own
# Where what is said of one value ends, and what is said of the next one begins.
_END = re.compile(
    r"[,;:()]|\s[–—-]\s|\b(?:and|or|but|while|compared|versus|including|respectively)\b"
    r"|\bfrom(?= (?:\w+ )?[$€£¥₹]? ?\d)"
    r"|\b\w{3,}ing(?= (?:the|its|our|their|total|a|an)\b)",
    re.IGNORECASE,
)
# What a value is said of, behind it: `for rats` of “0.1 ml for rats”.
_OF = re.compile(r".*\b(?P<of>for|in|on|to|at|per|with|of|by|among)\b(?P<what>.*)", re.IGNORECASE)
_ITEM = re.compile(r" [•▪◦‣●■*] ")
_KEYED = re.compile(
    r"(?<![\w.,])(?P<key>\d{1,4})(?: (?:for|to indicate|means?|if|is|when)\b|:| =| [–-])"
    r" ?[^,;:(]+"
)
_ELLIPSIS = " …"
_FROM = re.compile(r"\bfrom (?:about |approximately |nearly |over )?$", re.IGNORECASE)
_EARLIER = re.compile(r"\b(?:from|before|previous\w*|earlier|former\w*|until|old|range)\b", re.I)
_PERIOD = frozenset(
    content_stems("year quarter month week fiscal end first second third fourth last during")
)
_DAY_OF_YEAR = rf"(?:{MONTH}\.? \d{{1,2}}, )?{_YEAR}"
_YEARS = re.compile(rf"{_DAY_OF_YEAR}(?:(?:,| and|, and) {_DAY_OF_YEAR})+", re.IGNORECASE)


def find_lead(need: Need, text: str) -> str | None:
    """The value of `text` that the question asks for, with the words that tell it from others.

    `text` is a sentence or a table's row. None where it needs no such help: it begins with the
    value, has no other one, or nothing tells which one is meant.
    """
    if text.count(CELL_END) > 1:
        # Only the caption may tell that a row's numbers are money.
        return None if need.kind == "count" else _cell(need, text)
    keyed = _by_key(need, text) or _by_item(need, text)
    if keyed is not None:
        return keyed
    values = _values(need, text)
    if not 0 < len(values) <= MAX_VALUES:
        return None
    if (by_year := _by_year(need, text, values)) is not None:
        return by_year
    if len(values) == 1:
        (only,) = values
        return _with_unit(text, only) if only.start() > FAR else None
    if (new := _after_change(need, text, values)) is not None:
        return new[0]
    chosen = _told_apart(need, text, values)
    if chosen is None or not (values[0].start() < chosen[0] or chosen[0] > FAR):
        return None
    return _said(text, *chosen, is_value_last=any(one.end() == chosen[1] for one in values))


def _cell(need: Need, text: str) -> str | None:
    """`Robbery, 2016: 25`: the cell whose column the question names, if it is not the first."""
    label, *parts = text.split(CELL_END)
    cells = [part for part in parts if any(map(str.isdigit, part.rpartition(": ")[2]))]
    best = _most_telling(need, [cell.rpartition(": ")[0] for cell in cells])
    if best is None or best == 0:
        return None
    header, _, value = cells[best].rpartition(": ")
    said = f"{label.strip(' :')}, {header}: {value}".removesuffix(_ELLIPSIS)
    return said if len(said) <= MAX_CELL else None


def _by_key(need: Need, text: str) -> str | None:
    """`3 for an internal error`: the part of an enumeration that begins with a number asked for."""
    keyed = {found["key"]: found[0] for found in _KEYED.finditer(text)}
    asked = [key for key in keyed if re.search(rf"(?<![\w.]){key}(?![\w.]*\d)", need.question)]
    if len(keyed) < MIN_KEYED or len(asked) != 1 or asked[0] == next(iter(keyed)):
        return None
    return _said(keyed[asked[0]], 0, MAX_LEAD)


def _by_item(need: Need, text: str) -> str | None:
    """`Bugs that break it: 2 days`: the item of a list of labels and values that is asked for."""
    items = _ITEM.split(text)[1:]
    labelled = [item for item in items if re.search(r": [^:]*\d[^:]{0,20}$", item)]
    if len(labelled) < MIN_KEYED or len(labelled) < len(items):
        return None
    best = _most_telling(need, [item.rpartition(": ")[0] for item in items])
    return items[best] if best and len(items[best]) <= MAX_CELL else None


def _values(need: Need, text: str) -> list[re.Match[str]]:
    """What in `text` is of the kind asked for; empty for a question that asks for no value."""
    if need.kind == "other" and need.form not in ("number", "range") and ASKS.search(need.question):
        return []
    pattern = _PATTERNS[_PATTERN_OF.get(need.kind, need.kind)]
    found = list(pattern.finditer(text))
    if need.kind not in ("count", "amount", "measure", "other"):
        return found
    asked = set(words(need.question))
    return [one for one in found if not _is_other(one, text) and one[0] not in asked]


def _is_other(number: re.Match[str], text: str) -> bool:
    """Whether a number is a year, a day or a share, and no count or measure."""
    before, after = text[: number.start()], text[number.end() :]
    return number[0].isdigit() and (
        re.fullmatch(_YEAR, number[0]) is not None
        or re.search(rf"\b{MONTH}\.? $", before, re.IGNORECASE) is not None
        or re.match(r" ?%| per ?cent|(?:st|nd|rd|th)\b|[-–]\w", after) is not None
    )


def _by_year(need: Need, text: str, values: Sequence[re.Match[str]]) -> str | None:
    """`2021: $202 million`, where as many values as years are listed, in the same order."""
    if need.kind == "date":
        return None
    for listed in _YEARS.finditer(text):
        days = re.findall(_DAY_OF_YEAR, listed[0], re.IGNORECASE)
        asked = [day for day in days if day in need.question] or [
            day for day in days if day[-4:] in need.question
        ]
        row = _row_near(text, values, len(days), listed)
        if len(asked) == 1 and row is not None:
            return f"{asked[0]}: {_with_unit(text, row[days.index(asked[0])])}"
    return None


def _after_change(need: Need, text: str, values: Sequence[re.Match[str]]) -> re.Match[str] | None:
    """The second value of “raised from $0.23 to $0.24”, unless the earlier one is asked for."""
    if _EARLIER.search(need.question):
        return None
    for one, other in pairwise(values):
        is_change = _FROM.search(text[: one.start()]) is not None
        if is_change and text[one.end() : other.start()].strip() == "to":
            return other
    return None


def _row_near(
    text: str, values: Sequence[re.Match[str]], count: int, listed: re.Match[str]
) -> Sequence[re.Match[str]] | None:
    """`count` values with nothing but a comma or “and” between them, the nearest to `listed`."""
    rows = [values[at : at + count] for at in range(len(values) - count + 1)]
    joined = [row for row in rows if all(_is_gap(text, *pair) for pair in pairwise(row))]
    return min(joined, key=lambda row: abs(row[0].start() - listed.start()), default=None)


def _is_gap(text: str, one: re.Match[str], other: re.Match[str]) -> bool:
    return text[one.end() : other.start()].strip(" ,") in ("", "and", "or")


def _told_apart(need: Need, text: str, values: Sequence[re.Match[str]]) -> tuple[int, int] | None:
    """From where to where a value and its words go, if they alone have words of the question.

    What each is said of tells most: “0.3 ml per site for rabbits, 0.1 ml for rats”.
    """
    followed, preceded = _followed(text, values), _preceded(text, values)
    if (best := _said_of(need, [text[start:end] for start, end in followed])) is not None:
        return followed[best]
    found = [
        (count, spans[best])
        for spans in (followed, preceded)
        for best, count in [_most_told(need, [text[start:end] for start, end in spans])]
        if best is not None
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def _said_of(need: Need, parts: Sequence[str]) -> int | None:
    """Which of `parts` alone says of what its value is with the question's words: `for rats`."""
    found = [_OF.match(part) for part in parts]
    kinds = [one["of"].casefold() for one in found if one]
    if not kinds or kinds.count(kinds[0]) < max(2, len(parts) - 1):
        return None
    whats = [one["what"] if one and one["of"].casefold() == kinds[0] else "" for one in found]
    return _most_telling(need, whats)


def _most_telling(need: Need, parts: Sequence[str]) -> int | None:
    """Which of `parts` alone has the most words of the question that not all of them have."""
    return _most_told(need, parts)[0]


def _most_told(need: Need, parts: Sequence[str]) -> tuple[int | None, int]:
    """The index of the most telling part, or None, and how many words it has."""
    asked = _tokens(need.question)
    if sum(bool(re.search(_YEAR, part)) for part in parts) < 2:
        asked -= _PERIOD  # a year or quarter that only one part has is that of the whole sentence
        asked = {word for word in asked if not re.fullmatch(_YEAR, word)}
    held = [asked & _tokens(part) for part in parts]
    shared = set.intersection(*held) if held else set()
    counts = [len(own - shared) for own in held]
    most = max(counts, default=0)
    return (counts.index(most) if most and counts.count(most) == 1 else None), most


def _tokens(text: str) -> set[str]:
    """The stems of a text and its numbers."""
    return {*content_stems(text), *(word for word in words(text) if word.isdigit())}


def _followed(text: str, values: Sequence[re.Match[str]]) -> list[tuple[int, int]]:
    """Each value with the words after it."""
    nexts = [*(value.start() for value in values[1:]), len(text)]
    spans = []
    for value, following in zip(values, nexts, strict=True):
        end = _END.search(text, value.end(), following)
        spans.append((value.start(), end.start() if end else following))
    return spans


def _preceded(text: str, values: Sequence[re.Match[str]]) -> list[tuple[int, int]]:
    """Each value with the words before it."""
    lasts = [0, *(value.end() for value in values[:-1])]
    spans = []
    for value, last in zip(values, lasts, strict=True):
        found = _END.finditer(text, last, value.start())
        ends = [end.end() for end in found if end[0] != "("]
        start, end = ends[-1] if ends else last, value.end() + len(_unit(text, value))
        spans.append((start, _end_of_brackets(text, start, end)))
    return spans


def _end_of_brackets(text: str, start: int, end: int) -> int:
    """`end`, or the end of the short brackets that are open there."""
    if text.count("(", start, end) <= text.count(")", start, end):
        return end
    closing = text.find(")", end, end + MAX_LEAD)
    return closing + 1 if closing >= 0 else end


def _with_unit(text: str, value: re.Match[str]) -> str:
    return value[0] + _unit(text, value)


def _unit(text: str, value: re.Match[str]) -> str:
    """The word after a bare number: ` days`, `ml`."""
    unit = _UNIT.match(text, value.end())
    is_bare = re.fullmatch(r"[\d.,]+", value[0]) is not None
    return unit[0] if unit and is_bare and len(unit[0]) <= MAX_UNIT else ""


def _said(text: str, start: int, end: int, *, is_value_last: bool = False) -> str | None:
    """The words, cut at the side where the value is not."""
    said = " ".join(text[start:end].split()).strip(" .,;:–-")
    if len(said) <= MAX_LEAD:
        return said or None
    if is_value_last:
        return f"… {said[-MAX_LEAD:].partition(' ')[2]}"
    whole = said[:MAX_LEAD].rpartition(" ")[0]
    return f"{whole} …" if whole else None
