"""Answers what a short form or a term means, from where a document says it. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.answering.passages import Passage
from core.text.abbreviations import abbreviates
from core.text.sentences import split_sentences
from core.text.table_rows import CELL_END
from core.text.words import fold, words

_TERM = r"[\"“‘']?(?P<term>[\w&/.-]+(?: [\w&/.-]+){0,3}?)[\"”’']?"
_ASKS = (
    re.compile(
        rf"\bwhat (?:does|do|did) (?:the )?(?:abbreviation |acronym |term |letters )?{_TERM} "
        r"(?:stand for|mean|abbreviate)\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?:defines?|defined|definition of|meaning of) (?:the term )?{_TERM}\s*(?:[?.]|$)",
        re.I,
    ),
    # A short form in capitals: "What is FLNA at PepsiCo?", "What is the ADR?".
    re.compile(
        r"\b(?i:what|who) (?:is|are) (?:an? |the )?(?P<term>[A-Z][A-Z&/-]+)"
        r"(?= (?:at|in|for)\b|\?|$)"
    ),
)
_MAX_WORDS = 8  # of a long form before its short form in brackets
_MAX_CHARS = 320


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
    """The first definition of the term that is asked for, by passages and by how plain it is."""
    term = asked_term(question)
    if term is None:
        return None
    for say in (_in_key, _in_brackets, _in_sentence):
        for passage in passages:
            text = next(say(term, passage.text), None)
            if text is not None:
                return Definition(text, passage)
    return None


def _in_key(term: str, text: str) -> Iterator[str]:
    """`ASK = available seat kilometers`, on a line of its own."""
    pattern = re.compile(rf"^\W*{re.escape(term)}\s*[=:]\s*(?P<meaning>[^\W\d].+)$", re.I | re.M)
    for found in pattern.finditer(text):
        if len(found[0]) <= _MAX_CHARS and CELL_END not in found[0]:
            yield f"{term} = {' '.join(found['meaning'].split())}"


def _in_brackets(term: str, text: str) -> Iterator[str]:
    """`Frito-Lay North America (“FLNA”)`."""
    for found in re.finditer(rf"\(\W{{0,2}}{re.escape(term)}\W{{0,2}}[);,]", text):
        before = re.findall(r"[^\s(),;]+", text[: found.start()])[-_MAX_WORDS:]
        for first in range(len(before) - 1, -1, -1):
            long = [word for part in before[first:] for word in words(part)]
            if abbreviates(fold(term), long) and len(words(before[first])) > 0:
                yield f"{term}: {' '.join(before[first:])}"
                break


def _in_sentence(term: str, text: str) -> Iterator[str]:
    """`REVPAR is hotel revenue per available room.`"""
    quoted = rf"[\"“‘']?{re.escape(term)}[\"”’']?"
    pattern = re.compile(
        rf"{quoted}(?: \([^)]{{1,60}}\))?,? (?:is|are|means|refers to|stands for|denotes)\b"
        rf"|\bdefines? {quoted} as\b|{quoted}(?: is| are)? (?:\w+ )?defined as\b",
        re.IGNORECASE,
    )
    for segment in split_sentences(text):
        sentence = " ".join(text[segment.start : segment.end].split())
        found = pattern.search(sentence)
        if found and len(sentence) <= _MAX_CHARS and found.start() < len(sentence) / 2:
            yield sentence
