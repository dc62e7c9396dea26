"""Tells who did something, where a sentence says by whom it was done. Pure.

“Who replaced Ek?” is answered by “Ek was replaced by Elsa Holm”, and not by “Holm was replaced by
Ek”, which has the same words.
"""

import re
from collections.abc import Iterator

from core.answering.naming import capitalised
from core.text.synonyms import synonyms_of
from core.text.words import fold, stem, words

_ASKS_WHO = re.compile(
    r"\bwho (?:(?:has|had|have|first|originally|also|then|once) )*(?P<deed>[^\W\d_]+)", re.I
)
_BY = re.compile(r"\b(?P<deed>[^\W\d_]+)(?: [^\W\d_]+ly)? by (?P<agent>[^,.;:()]{2,80})")
_AGENT_END = re.compile(
    r" (?:in|on|at|for|to|during|after|before|as|who|which|that|and|from|with|when|while|until|but"
    r"|because|is|was|were|has|had)\b"
)
_NO_DEED = frozenset(words("is are was were be do does did s will would can could should must"))


def find_agent(question: str, text: str) -> str | None:
    """By whom `text` says that was done what the question asks who did: `his daughter Isabel`."""
    return next((one for one in _agents(question, text) if not _is_asked(question, one)), None)


def agent_fit(question: str, text: str) -> int:
    """1 if `text` says by whom it was done, -1 if that is who the question names, else 0."""
    agents = list(_agents(question, text))
    if not agents:
        return 0
    return -1 if all(_is_asked(question, one) for one in agents) else 1


def _agents(question: str, text: str) -> Iterator[str]:
    asked = _ASKS_WHO.search(question)
    if asked is None or fold(asked["deed"]) in _NO_DEED:
        return
    deed = stem(fold(asked["deed"]))
    deeds = {deed} | {way[0] for way in synonyms_of([deed]).get(deed, ()) if len(way) == 1}
    for found in _BY.finditer(text):
        if stem(fold(found["deed"])) in deeds:
            yield _AGENT_END.split(found["agent"])[0].strip()


def _is_asked(question: str, agent: str) -> bool:
    """Whether the question names the agent, so that it asks for somebody else."""
    return not set(capitalised(question)).isdisjoint(words(agent))
