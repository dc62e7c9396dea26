"""Answers what a short form or a term means, and what a note or section is about. Pure.

The answer is where a document says it: a definition, or the heading of the part.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.answering.passages import Passage
from core.text.abbreviations import abbreviates
from core.text.questions import numbered_parts
from core.text.sentences import split_sentences
from core.text.table_rows import CELL_END
from core.text.words import fold, words

_TERM = r"[\"“‘']?(?P<term>[\w&/.-]+(?: [\w&/.-]+){0,3}?)[\"”’']?"
_ASKS = (
    re.compile(
        r"\b(?:what (?:does|do|did) .{2,60}? mean by|what is meant by) (?:the (?:term )?)?"
        rf"{_TERM}\s*(?:[?.]|$)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\bwhat (?:does|do|did) (?:the )?(?:abbreviation |acronym |term |letters )?{_TERM} "
        r"(?:stand for|mean|abbreviate)\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?:defines?|defined|definition of|meaning of) (?:the term )?{_TERM}\s*(?:[?.]|$)",
        re.I,
    ),
    re.compile(rf"\bhow (?:does|do|did|is|are) .{{0,60}}?defined? {_TERM}\s*(?:[?.]|$)", re.I),
    re.compile(rf"\bhow (?:is|are) {_TERM} defined\b", re.IGNORECASE),
    re.compile(rf"\b{_TERM} (?:meaning|definition)\s*\??$", re.IGNORECASE),
    # A short form in capitals: "What is FLNA at PepsiCo?", "What is the ADR?".
    re.compile(
        r"\b(?i:what|who) (?:is|are) (?:an? |the )?(?P<term>[A-Z][A-Z&/-]+)"
        r"(?= (?:at|in|for)\b|\?|$)"
    ),
)
# What is only answered by a line or a sentence that defines the term.
_MAY_ASK = re.compile(
    rf"\bwhat (?:is|are) (?:an? |the )?{_TERM}(?= (?:under|in|for|at|of|according)\b|\s*\?|$)",
    re.IGNORECASE,
)
_ASKS_SUBJECT = re.compile(
    r"\b(?:about|covers?|covered|topics?|subjects?|titles?|titled|called|names?|named|discuss(?:es)?"
    r"|deals? with|describes?|contains?|contents?|headings?)\b"
    r"|\bwhat(?:['’]s| is)\s+(?:in\s+)?(?:the\s+)?(?:in|of|at|from|\?|$)",
    re.IGNORECASE,
)
_Finder = Callable[[str, str], Iterator[str]]  # of a term in a text
_MAX_WORDS = 8  # of a long form before its short form in brackets
_MAX_CHARS = 320
_QUOTES = "\"'“‘"
_MIN_MEANING = 4  # words in brackets; fewer may be a short form or a unit


@dataclass(frozen=True, slots=True)
class Definition:
    """What a document says of a term: `text`, of `passage`."""

    text: str
    passage: Passage


def asked_term(question: str) -> str | None:
    """The term whose meaning is asked for, None if the question asks for something else."""
    for pattern in _ASKS:
        if found := pattern.search(question):
            return found["term"]
    return None


def find_definition(question: str, passages: Sequence[Passage]) -> Definition | None:
    """The first definition of the term that is asked for, by passages and by how plain it is.

    For a note or section that is asked for by its number: its heading.
    """
    for part in numbered_parts(question):
        if _ASKS_SUBJECT.search(question.replace(part, " ")):
            return _first(part, passages, _as_heading)
    term = asked_term(question)
    finders: tuple[_Finder, ...] = (
        _in_key,
        _in_row,
        _after_dash,
        _in_brackets,
        _in_sentence,
        _before_brackets,
    )
    if term is None and (may_ask := _MAY_ASK.search(question)):
        term, finders = may_ask["term"], (_after_dash, _as_quoted_term)
    if term is None:
        return None
    # “the variable DISTYPE”: the short form alone is the term too.
    *_, last = term.split(" ")
    terms = dict.fromkeys((term, last if last.isupper() else term))
    found = (_first(one, passages, find) for one in terms for find in finders)
    return next((one for one in found if one is not None), None)


def _first(term: str, passages: Sequence[Passage], find: _Finder) -> Definition | None:
    for passage in passages:
        text = next(find(term, passage.text), None)
        if text is not None:
            return Definition(text, passage)
    return None


def _as_heading(part: str, text: str) -> Iterator[str]:
    """`Note 5 – Accounts Receivable`, or the same line in a table of contents."""
    said = re.escape(part).replace("\\ ", r"\s+")
    pattern = re.compile(
        rf"^\W*{said}(?!\w|\.\d)\s*[-–—:.|]*\s*(?P<title>[^\W\d_][^|\n]{{2,120}}?)"
        r"(?:\.{3,}.*|\s+\d{1,4}|\s*\|.*)?$",
        re.IGNORECASE | re.MULTILINE,
    )
    for found in pattern.finditer(text):
        if found["title"][0].isupper() and not re.search(r"[.:;,]$|\. ", found["title"]):
            yield f"{part[0].upper()}{part[1:]}: {found['title'].strip()}"


def _in_key(term: str, text: str) -> Iterator[str]:
    """`ASK = available seat kilometers`, on a line of its own."""
    pattern = re.compile(rf"^\W*{re.escape(term)}\s*[=:]\s*(?P<meaning>[^\W\d].+)$", re.I | re.M)
    for found in pattern.finditer(text):
        if len(found[0]) <= _MAX_CHARS and CELL_END not in found[0]:
            yield f"{term} = {' '.join(found['meaning'].split())}"


def _as_quoted_term(term: str, text: str) -> Iterator[str]:
    """`“Base Pay” means the pay without bonuses.`"""
    pattern = re.compile(
        rf"[\"“‘']{re.escape(term)}s?[\"”’'] "
        r"(?:shall )?(?:means?|refers? to|is defined as|denotes)\b",
        re.IGNORECASE,
    )
    for segment in split_sentences(text):
        sentence = " ".join(text[segment.start : segment.end].split())
        found = pattern.search(sentence)
        if found and len(sentence) - found.start() <= _MAX_CHARS:
            yield sentence[found.start() :]


def _in_row(term: str, text: str) -> Iterator[str]:
    """`DISTYPE | Type of discharge`, the beginning of a table's row."""
    pattern = re.compile(
        rf"^\W*{re.escape(term)}{re.escape(CELL_END)}"
        r"(?:[^|\n:]{1,40}: )?(?P<meaning>[^\W\d][^|\n]+)",
        re.IGNORECASE | re.MULTILINE,
    )
    for found in pattern.finditer(text):
        if len(found["meaning"]) <= _MAX_CHARS:
            yield f"{term}: {found['meaning'].strip()}"


def _after_dash(term: str, text: str) -> Iterator[str]:
    """`Network volumes — Represents the total of ….`, at the begin of a line."""
    pattern = re.compile(rf"^\W*{re.escape(term)}\s+[—–-]\s+[^\W\d]", re.IGNORECASE | re.MULTILINE)
    for found in pattern.finditer(text):
        segment = next(one for one in split_sentences(text) if one.end > found.end())
        sentence = " ".join(text[found.start() : segment.end].split())
        if len(sentence) <= _MAX_CHARS and CELL_END not in sentence:
            yield sentence


def _in_brackets(term: str, text: str) -> Iterator[str]:
    """`Frito-Lay North America (“FLNA”)`.

    A term in quotes is defined even if its letters are not the first ones of the words.
    """
    for found in re.finditer(rf"\((?:the )?(?P<in>\W{{0,2}}{re.escape(term)}\W{{0,2}})[);,]", text):
        before = re.findall(r"[^\s(),;]+", text[: found.start()])[-_MAX_WORDS:]
        is_quoted = found["in"][0] in _QUOTES
        first = _begin_of_long_form(fold(term), before, is_quoted=is_quoted)
        if first is not None:
            yield f"{term}: {' '.join(before[first:])}"


def _begin_of_long_form(short: str, before: Sequence[str], *, is_quoted: bool) -> int | None:
    """Where in the words `before` a short form its long form begins; None if it has none there."""
    for first in range(len(before) - 1, -1, -1):
        long = [word for part in before[first:] for word in words(part)]
        if abbreviates(short, long) and words(before[first]):
            return first
    if not is_quoted:
        return None
    begins = [at for at, word in enumerate(before[:-1]) if fold(word).startswith(short[0])]
    return begins[-1] if begins else None


def _before_brackets(term: str, text: str) -> Iterator[str]:
    """`Mooring days (days on which a boat was moored)`."""
    pattern = re.compile(rf"\b{re.escape(term)} \((?P<meaning>[^()]+)\)", re.IGNORECASE)
    for found in pattern.finditer(text):
        meaning = " ".join(found["meaning"].split())
        if len(meaning.split()) >= _MIN_MEANING and len(meaning) <= _MAX_CHARS:
            yield f"{term}: {meaning}"


def _in_sentence(term: str, text: str) -> Iterator[str]:
    """`REVPAR is hotel revenue per available room.`"""
    yield from _as_quoted_term(term, text)
    quoted = rf"[\"“‘']?{re.escape(term)}[\"”’']?"
    pattern = re.compile(
        rf"{quoted}(?: \([^)]{{1,60}}\))?,? (?:is|are|means?|refers? to|stands? for|denotes?"
        r"|represents?|reflects?|comprises?|consists? of|includes?)\b"
        rf"|\bdefines? {quoted} as\b|{quoted}(?: is| are)? (?:\w+ )?defined as\b",
        re.IGNORECASE,
    )
    for segment in split_sentences(text):
        sentence = " ".join(text[segment.start : segment.end].split())
        found = pattern.search(sentence)
        if found and len(sentence) <= _MAX_CHARS and found.start() < len(sentence) / 2:
            yield sentence
