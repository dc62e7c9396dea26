"""Answers from what the user said earlier. Pure."""

import re

from core.answering.base import Question
from core.answering.citations import strip_citations

MAX_CHARS = 400  # of an answer without an LLM
_QUOTED_CHARS = MAX_CHARS - 22  # the rest is for the words before the quote

_FIRST_PERSON = re.compile(
    r"\b(?:i|me|my|we|our|ich|mir|mich|mein\w{0,2}|wir|uns|unser\w{0,2}|je|moi|mon|mes|nous|notre"
    r"|yo|mi|mis|nuestr[oa]s?)\b",
    re.IGNORECASE,
)
_ASKS_FOR_MEMORY = re.compile(
    r"\b(?:(?:did|have|had) (?:i|we) (?:ever |already )?(?:say|said|tell|told|mention|mentioned|ask"
    r"|asked|write|written)|(?:i|we) (?:said|told you|mentioned|asked|wrote)"
    r"|habe ich (?:dir |ihnen )?.{0,60}\b(?:gesagt|erzählt|erwähnt|gefragt))\b",
    re.IGNORECASE,
)


def quote_memory(memory: str) -> str:
    """An answer that quotes the user's own words. It cites nothing, as they are no passage."""
    said = " ".join(strip_citations(memory).split())
    return f"You said earlier: “{shorten(said, _QUOTED_CHARS)}”"


def find_memory(question: Question) -> str | None:
    """For a question about the user: an answer from the memory that fits it best."""
    if question.memories and _FIRST_PERSON.search(question.text):
        return quote_memory(question.memories[0])
    return None


def asks_for_memory(text: str) -> bool:
    """Whether the user asks what they said earlier."""
    return _ASKS_FOR_MEMORY.search(text) is not None


def shorten(text: str, room: int) -> str:
    """`text`, or its beginning with an ellipsis, cut between words if the script has spaces."""
    if len(text) <= room:
        return text
    cut = text[: room - 2]
    whole = cut.rpartition(" ")[0]
    return f"{(whole if len(whole) > len(cut) // 2 else cut).removesuffix(' …')} …"
