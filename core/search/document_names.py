"""Reads words, period and series from a document's file name and title. Pure.

Questions name a company and a quarter. The passages that answer them rarely do, because the
report's cover does. The file's name has both: `2022_Q3_AAPL.pdf`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath

from core.text.dates import MONTH
from core.text.words import STOP_WORDS, stem, words

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4}
_YEAR = r"(?:19|20)\d\d"
_PERIOD = re.compile(
    # 2022, 2022-06, 2022-06-30, 202206, 20220630; neither 2,022 nor 2022.5 nor 2022 10-K
    rf"(?<![\d.,])(?P<year>{_YEAR})(?:[_-]?(?P<month>0[1-9]|1[0-2])(?:[_-]?[0-3]\d)?"
    r"(?!\d|[_-]?[^\W\d_](?![^\W\d_])))?(?![.,]?\d)"
    r"|(?<![^\W\d_])fy[\s_'’]?(?P<short>\d\d)(?!\d)"
    r"|(?<![^\W_])(?P<ordinal>first|second|third|fourth|[1-4](?:st|nd|rd|th))[\s_-]+"
    r"(?:fiscal[\s_]+)?(?P<part>quarter|half)(?![^\W_])"
    r"|(?<![^\W\d_])(?P<letter>[qh])\s?(?P<number>[1-4])(?!\d)"
    r"|(?<![\d.,])(?P<leading>[1-4])(?P<trailing>[qh])(?:'?(?P<quarters>\d\d))?(?![^\W_])"
    rf"|(?<![^\W\d_])(?P<name>{MONTH})"
    rf"(?=[\s_.,-]{{0,2}}(?:\d\d?,?\s+)?{_YEAR})",
    re.IGNORECASE,
)
_LATEST = re.compile(r"\b(?:latest|newest|most\s+(?:recent|current))\b", re.IGNORECASE)
# Where one word of a name ends and the next begins: annualReport, 2022Q4, Report2022.
_SEAMS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[QqHh][1-4](?!\d))|(?<=[a-z])(?=(?:19|20)\d\d)")
_FORM = re.compile(r"\b(\d+)-([A-Za-z])\b")  # 10-K; names write it 10K
_POSSESSIVE = re.compile(r"['’]s\b")
_WORD = re.compile(r"[^\W_]+")
_AUTHORING_TOOL = re.compile(r"^Microsoft (?:Word|Excel|PowerPoint) - ")
_MIN_TITLE_WORDS = 2  # of three letters and more; titles with fewer are mostly identifiers
_MAX_LABEL = 100  # characters; a longer one would push the text out of the model's window
_MIN_PREFIX = 3  # letters; shorter words are not looked for at the beginning of joined words
_MIN_JOINED = 6  # letters; a shorter word of a name is not taken for several joined words


@dataclass(frozen=True, slots=True)
class Period:
    """The years and the parts of years (`q3`, `h1`, `m06`) that a text names."""

    years: frozenset[int]
    parts: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.years or self.parts)

    def end(self) -> tuple[int, int]:
        """The year and month in which the period ends, for ordering; 0 if not named."""
        months = (int(part[1:]) * {"q": 3, "h": 6, "m": 1}[part[0]] for part in self.parts)
        return max(self.years, default=0), max(months, default=0)

    def covered_by(self, other: "Period") -> float:
        """The share of this period that `other` names, 0 to 1. Year and part weigh the same."""
        pairs = ((self.years, other.years), (self.parts, other.parts))
        return sum(len(own & others) / len(own) for own, others in pairs if own) / 2


@dataclass(frozen=True, slots=True)
class Label:
    """The parts of a document's name. Editions of different periods have the same `series`.

    `joined` are words of the name that may be several words written as one.
    """

    words: frozenset[str]
    period: Period
    series: str
    joined: tuple[str, ...]


def separate(name: str) -> str:
    """A name as words: `AnnualReport_2022Q4-final` is `Annual Report 2022 Q4 final`."""
    return " ".join(_SEAMS.sub(" ", re.sub(r"[_\W]+", " ", name)).split())


def document_label(filename: str, title: str | None) -> str:
    """The file's name as words, and the PDF's title if it adds any. At most 100 characters.

    Ingestion puts it before each chunk, so that chunks of similar reports differ.
    """
    name = separate(PurePath(filename).stem)
    title = _clean_title(title)
    in_name, in_title = set(words(name)), set(words(title))
    if in_title <= in_name:
        return name[:_MAX_LABEL]
    if in_name <= in_title or not in_name:
        return title[:_MAX_LABEL]
    return f"{name}: {title}"[:_MAX_LABEL].strip()


def _clean_title(title: str | None) -> str:
    """The title, or nothing if it is an identifier: `0001045810-23-000227`."""
    cleaned = " ".join(_AUTHORING_TOOL.sub("", title or "").split())
    return cleaned if len(re.findall(r"[^\W\d_]{3,}", cleaned)) >= _MIN_TITLE_WORDS else ""


@lru_cache(maxsize=4096)
def read_label(filename: str, title: str | None = None) -> Label:
    """Reads a document's name and title. If both name a period, the name's counts."""
    name, title = PurePath(filename).stem, _clean_title(title)
    dated = title if read_period(title) and not read_period(name) else name
    series = _words(separate(_PERIOD.sub(" ", dated)))
    held = _words(separate(name)) + _words(title)
    kept = frozenset(stem(word.casefold()) for word in held)
    joined = tuple(word for word in kept if len(word) >= _MIN_JOINED and word.isalpha())
    return Label(kept, read_period(dated), " ".join(series).casefold(), joined)


def read_period(text: str) -> Period:
    """The years and parts of years that `text` names."""
    found = [match.groupdict() for match in _PERIOD.finditer(text)]
    years = {year for item in found if (year := _year(item))}
    parts = {part for item in found if (part := _part(item))}
    return Period(frozenset(years), frozenset(parts))


def asks_for_latest(question: str) -> bool:
    """Whether the question wants the newest of several editions, and names no period."""
    return bool(_LATEST.search(question)) and not read_period(question)


def question_words(question: str) -> list[str]:
    """The words of a question that a name may contain, in order, as they are written."""
    found = _words(_FORM.sub(r"\1\2", question))
    return [word for word in found if word.casefold() not in STOP_WORDS]


def named(asked: Sequence[str], label: Label) -> set[str]:
    """The words of `asked` that the name contains, case-folded.

    Capitalised words may also begin a joined word of the name: `American Express` is found in
    `AMERICANEXPRESS_2022.pdf`, `Ulta` in `ULTABEAUTY.pdf`.
    """
    folded = [word.casefold() for word in asked]
    found = {word for word in folded if stem(word) in label.words}
    if not label.joined:
        return found
    for index, word in enumerate(folded):
        if len(word) < _MIN_PREFIX or not word.isalpha() or not asked[index][0].isupper():
            continue
        for name in label.joined:
            if name.startswith(word):
                found.add(word)
                found.update(_continued(folded[index + 1 :], name[len(word) :]))
    return found


def _continued(asked: Sequence[str], rest: str) -> set[str]:
    """The first words of `asked` that `rest`, the rest of a joined word, consists of."""
    found = set()
    for word in asked:
        if not rest.startswith(word):
            break
        found.add(word)
        rest = rest[len(word) :]
    return found


def _year(found: Mapping[str, str | None]) -> int | None:
    if found["year"]:
        return int(found["year"])
    short = found["short"] or found["quarters"]
    return int(f"20{short}") if short else None


def _part(found: Mapping[str, str | None]) -> str | None:
    if found["part"]:
        ordinal = str(found["ordinal"]).lower()
        return f"{found['part'][0].lower()}{_ORDINALS.get(ordinal) or ordinal[0]}"
    if letter := found["letter"] or found["trailing"]:
        return f"{letter.lower()}{found['number'] or found['leading']}"
    if found["name"]:
        return f"m{_MONTHS.index(found['name'][:3].lower()) + 1:02}"
    return f"m{found['month']}" if found["month"] else None


def _words(text: str) -> list[str]:
    """The words of `text` without its periods and possessive endings."""
    return _WORD.findall(_POSSESSIVE.sub("", _PERIOD.sub(" ", text)))
