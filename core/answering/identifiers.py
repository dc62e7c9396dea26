"""Answers which number something has: a docket number, a case number, a phone number. Pure.

Such a number is a code that a document gives behind its label: `Docket No. 21-440`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.answering.passages import Passage
from core.text.synonyms import is_said, synonyms_of
from core.text.words import content_stems

_ASKS = re.compile(
    r"(?:\b(?:what|which)(?:['’]s| is| was| are)? (?:the )?(?:\w+ ){0,3}?|(?:^|.* ))"
    r"(?P<label>docket|case|file|commission file|phone|telephone|fax|registration|serial|model|part"
    r"|order|invoice|account|contract|grant|award|protocol|reference|ticket|bug|patent|permit"
    r"|licen[cs]e|identification|tracking|policy|project|tax|vat|isbn|issn|doi|rin|cusip|zip|postal"
    r"|product|catalog(?:ue)?)"
    r"(?: ?(?:numbers?|no\.?|codes?|ids?|identifiers?|#)|(?<=isbn)|(?<=issn)|(?<= doi))(?!\w)",
    re.IGNORECASE,
)
_CODE = r"(?P<code>(?=[^\s;]*\d)[\w(][\w()+./:–—-]*(?: ?[–-] ?\d[\w–-]*| \d{3,4}[–-]?\d*)*)"
# Characters before a label and behind its number whose words tell which of several is meant.
_NEAR, _BEHIND = 200, 40
_RANK_WEIGHT = 0.5  # words


@dataclass(frozen=True, slots=True)
class Identifier:
    """A number with its label, as `passage` has them: `Docket No. 21-440`."""

    text: str
    passage: Passage


def find_identifier(question: str, passages: Sequence[Passage]) -> Identifier | None:
    """The number that is asked for; None if the question asks for none or no passage has it.

    Of several numbers with the label: the one that has most of the question's words around it.
    """
    asked = _ASKS.search(question)
    if asked is None:
        return None
    sought = frozenset(content_stems(question)) - frozenset(content_stems(asked["label"]))
    found = [
        (_shared(sought, _around(passage.text, said)) - _RANK_WEIGHT * rank, said, passage)
        for rank, passage in enumerate(passages)
        for said in _labelled(asked["label"], passage.text)
    ]
    if not found:
        return None
    _, said, passage = max(found, key=lambda one: one[0])
    return Identifier(" ".join(said[0].strip(" .:;,()").split()), passage)


def _labelled(label: str, text: str) -> Iterator[re.Match[str]]:
    """`Case No. 21-15604`, `Phone: (020) 7946-0123`."""
    marks = r"(?: ?(?:numbers?|nos?\.?|codes?|ids?|#))?[ \t]*[:#]?\s?"
    pattern = rf"\b{re.escape(label)}s?\b{marks}{_CODE}"
    for found in re.finditer(pattern, text, re.IGNORECASE):
        if len(found["code"].strip(".:-–(),")) > 2:
            yield found


def _around(text: str, said: re.Match[str]) -> str:
    """The end of the text before a number, and the rest of its line."""
    behind = text[said.end() : said.end() + _BEHIND].split("\n")[0]
    return f"{text[: said.start()][-_NEAR:]} {behind}"


def _shared(sought: frozenset[str], around: str) -> int:
    """How many of the stems `sought`, or synonyms of them, the text `around` has."""
    near = frozenset(content_stems(around))
    ways = synonyms_of(sought)
    return sum(is_said(word, near, ways) for word in sought)
