"""Recognises a question that compares documents, and asks it for each of them. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.answering.passages import Passage
from core.text.dates import YEAR
from core.text.words import STOP_WORDS, content_stems, fold

MAX_SIDES = 4
_COMPARES = re.compile(
    r"\b(?:compar\w*|versus|vs|difference|differ|both|each|respectively|than)\b\.?", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]+")
# Between two names: “Vinga and Kullen”, “Vinga's and the Kullen's”, “Vinga, Kullen”. Names with
# “or” between them may be two names of one thing.
_JOINED = re.compile(r"(?:['’]s)?\s*(?:,|&|,?\s*\band\b)\s*(?:the\s+)?", re.IGNORECASE)

_Documents = frozenset[str]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the things compared: the question for it alone, and its documents' passages."""

    question: str
    passages: tuple[Passage, ...]


def find_sides(question: str, passages: Sequence[Passage]) -> list[Side]:
    """The sides of a comparison in the order of the question; empty if it compares nothing.

    The words of a side tell its documents from those of the other sides: they are in the
    documents' file names, or they are capitalised and no other documents' passages have them.
    """
    names = _names(question, passages)
    sides: list[_Documents] = []
    for documents in names:
        if all(documents.isdisjoint(side) for side in sides):
            sides.append(documents)
    if len(sides) < 2 or not _are_compared(question, [names[side] for side in sides]):
        return []
    return [_side(question, side, names, passages) for side in sides[:MAX_SIDES]]


def _names(question: str, passages: Sequence[Passage]) -> dict[_Documents, list[re.Match[str]]]:
    """The question's words that tell documents apart, by the documents that hold them."""
    filenames = {one.document_id: fold(re.sub(r"[\W_]+", " ", one.filename)) for one in passages}
    texts: dict[str, set[str]] = {}
    for passage in passages:
        texts.setdefault(passage.document_id, set()).update(content_stems(passage.text))
    found: dict[_Documents, list[re.Match[str]]] = {}
    for word in _WORD.finditer(question):
        documents = _holding(word, filenames, texts)
        if documents and len(documents) < len(filenames):
            found.setdefault(documents, []).append(word)
    return found


def _holding(
    word: re.Match[str], filenames: Mapping[str, str], texts: Mapping[str, set[str]]
) -> _Documents:
    """The documents that `word` names; none if it is no name."""
    folded = fold(word[0])
    if folded in STOP_WORDS:
        return frozenset()
    named = {id_ for id_, name in filenames.items() if folded in name.split()}
    is_name = word[0][0].isupper() and word.start() > 0
    if named or not is_name or re.fullmatch(YEAR, folded):
        return frozenset(named)
    stems = set(content_stems(word[0]))
    return frozenset(id_ for id_, held in texts.items() if stems and stems <= held)


def _are_compared(question: str, sides: Sequence[Sequence[re.Match[str]]]) -> bool:
    if _COMPARES.search(question):
        return True
    return any(
        _JOINED.fullmatch(question, one[-1].end(), other[0].start())
        for one, other in pairwise(sides)
    )


def _side(
    question: str,
    side: _Documents,
    names: Mapping[_Documents, Sequence[re.Match[str]]],
    passages: Sequence[Passage],
) -> Side:
    """The question without the names of the other sides."""
    alone = question
    for documents, own in names.items():
        for word in own if documents.isdisjoint(side) else ():
            alone = alone[: word.start()] + " " * len(word[0]) + alone[word.end() :]
    alone = " ".join(_COMPARES.sub(" ", alone).split())
    return Side(alone, tuple(one for one in passages if one.document_id in side))
