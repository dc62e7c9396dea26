"""How well a sentence of a passage answers a question. Pure but for the embedder."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.citations import strip_citations
from core.embedding.base import Embedder
from core.passages import Passage
from core.sentences import split_sentences
from core.text import content_stems

# The passages whose sentences are looked at, and how many of those are embedded, best by
# their words first: more costs time and finds nothing.
MAX_PASSAGES = 5
MAX_EMBEDDED = 24

# Fitted on real questions; see docs/adr.
W_WORDS = 0.4
W_CONTEXT = 0.5
W_NAME = 0.3
W_KIND = 0.2
W_RANK = 0.03

_DATE = re.compile(
    r"\b(?:when|(?:what|which) (?:year|date|day|month|decade|century|time))\b", re.IGNORECASE
)
_AMOUNT = re.compile(
    r"\b(?:how (?:many|much|long|far|old|tall|high|large|often|big|deep|fast)"
    r"|(?:what|which) (?:percent|percentage|number|population|amount|price|share)|percentage)\b",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"\b(?:who|whom|whose|where|(?:what|which) (?:city|country|state|place|region|group|company"
    r"|organi[sz]ation|person|king|queen|university|river|war|battle))\b",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b(?:1\d|20)\d\d\b")
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty"
    r"|half|third|quarter|dozen|hundred|thousand|million|billion)s?\b",
    re.IGNORECASE,
)
_CAPITALISED = re.compile(r"(?<=[\w,;:(\"“] )\W?[A-Z]\w+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may become part of an answer, as it would be shown.

    `context` are the word stems of it and its neighbours, `named` those of it and
    its file's name; `rank` counts passages from 0.
    """

    text: str
    passage: Passage
    rank: int
    stems: frozenset[str]
    context: frozenset[str]
    named: frozenset[str]


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with its score, its cosine and the share of the question's words near it."""

    candidate: Candidate
    score: float
    cosine: float
    share: float


def rank_sentences(query: str, passages: Sequence[Passage], *, embedder: Embedder) -> list[Scored]:
    """The sentences of the first passages, best first; ties keep their order."""
    candidates = _candidates(passages[:MAX_PASSAGES])
    weights = _weights(query, candidates)
    lexical = [_by_words(query, candidate, weights) for candidate in candidates]
    order = sorted(range(len(candidates)), key=lambda index: -lexical[index])[:MAX_EMBEDDED]
    if not order:
        return []
    vectors = embedder.embed([query, *(candidates[index].text for index in order)])
    cosines = vectors[1:] @ vectors[0]
    scored = [
        Scored(
            candidate=candidates[index],
            score=lexical[index] + float(cosine),
            cosine=float(cosine),
            share=_share(weights, candidates[index].context | candidates[index].named),
        )
        for index, cosine in zip(order, cosines, strict=True)
    ]
    return sorted(scored, key=lambda item: -item.score)


def _candidates(passages: Sequence[Passage]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for rank, passage in enumerate(passages):
        texts = _shown_sentences(passage.text)
        stems = [frozenset(content_stems(text)) for text in texts]
        name = frozenset(content_stems(re.sub(r"[\W_]+", " ", passage.filename)))
        for index, text in enumerate(texts):
            context = frozenset().union(*stems[max(0, index - 1) : index + 2])
            found.setdefault(
                text.casefold(),
                Candidate(text, passage, rank, stems[index], context, stems[index] | name),
            )
    return [candidate for candidate in found.values() if candidate.stems]


def _shown_sentences(text: str) -> list[str]:
    """Sentences on one line each, without markers: a quoted `[1]` must not pose as a citation."""
    pieces = (text[segment.start : segment.end] for segment in split_sentences(text))
    return [" ".join(strip_citations(piece).split()) for piece in pieces]


def _weights(query: str, candidates: Sequence[Candidate]) -> dict[str, float]:
    """The inverse document frequency of the question's words, sentences being the documents."""
    frequency = Counter(stem for candidate in candidates for stem in candidate.stems)
    total = len(candidates)
    return {
        stem: math.log(1 + (total - frequency[stem] + 0.5) / (frequency[stem] + 0.5))
        for stem in dict.fromkeys(content_stems(query))
    }


def _share(weights: dict[str, float], stems: frozenset[str]) -> float:
    total = sum(weights.values())
    return sum(weight for stem, weight in weights.items() if stem in stems) / total if total else 0


def _by_words(query: str, candidate: Candidate, weights: dict[str, float]) -> float:
    return (
        W_WORDS * _share(weights, candidate.stems)
        + W_CONTEXT * _share(weights, candidate.context)
        + W_NAME * _share(weights, candidate.named)
        + W_KIND * _fits_kind(query, candidate.text)
        - W_RANK * candidate.rank
    )


def _fits_kind(query: str, text: str) -> bool:
    """Whether the sentence holds the kind of thing asked for: a year, a number, a new name."""
    if _DATE.search(query):
        return bool(_YEAR.search(text))
    if _AMOUNT.search(query):
        return bool(_NUMBER.search(text))
    if _NAME.search(query):
        asked = query.casefold()
        return any(name.strip('"“(').casefold() not in asked for name in _CAPITALISED.findall(text))
    return False
