"""The order of candidates: meaning, words, how close those stand, and what names say. Pure.

A score is the cosine plus a weighted sum of shares, each from 0 to 1:

- words: BM25 (Robertson and Zaragoza, 2009) over the question's words, divided by its limit;
- sentence: the most of those words, by weight, that one sentence holds;
- pairs: how many of the question's neighbouring words are neighbours in the text too;
- period: how much of the year and quarter asked for the document's name states, or that it is
  the newest of its series if the question asks for the latest.

A word of the question that the document's name holds counts as found in all of its
passages: it tells documents apart, not passages. Last, a passage gains from a good
neighbour. The weights' measurements are in docs/adr/0005.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from statistics import fmean, median

from core.labels import asks_for_latest, named, question_words, read_label, read_period
from core.text import SINGLE_CHARACTERS, content_stems, fold, stem

WORDS_WEIGHT = 0.7
SENTENCE_WEIGHT = 0.3
PAIRS_WEIGHT = 0.2
PERIOD_WEIGHT = 0.2
NEIGHBOUR_WEIGHT = 0.1

_SATURATION = 0.6  # BM25's k1
_LENGTH = 0.4  # BM25's b
_PAIR_GAP = 16  # characters between two words that still count as neighbours
_SENTENCE_END = re.compile(r"[.!?…؟۔।][\"'”’)\]]*\s|[。！？｡]|\n\s*\n")
_LETTERS = re.compile(r"[^\W\d_]*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SINGLE = re.compile(f"[{SINGLE_CHARACTERS}]")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a candidate.

    `ordinal` is its place in the document, `context` what the index holds of
    it besides its text (name, heading).
    """

    document_id: str
    ordinal: int
    filename: str
    context: str
    text: str
    cosine: float


@dataclass(frozen=True, slots=True)
class _Hit:
    """A word of the question in a text."""

    word: str
    start: int
    end: int


def score(
    question: str, candidates: Sequence[Evidence], *, weights: Mapping[str, float] | None = None
) -> list[float]:
    """A score for each candidate, in their order; more is better.

    `weights` are inverse document frequencies by stem (`core.text.stem`);
    without them they are estimated from the candidates.
    """
    asked = content_stems(question)
    texts = [fold(f"{item.context}\n\n{item.text}") for item in candidates]
    hits = [_locate(text, set(asked)) for text in texts]
    if weights is None:
        weights = _estimate_weights(asked, hits)
    names = _names_hold(question, {item.filename for item in candidates})
    periods = _period_shares(question, {item.filename for item in candidates})
    length = fmean(map(len, texts)) if texts else 1.0
    question_ = _Question(asked, weights)
    scores = [
        item.cosine
        + question_.share(text, found, sure=names[item.filename], length=len(text) / length)
        + PERIOD_WEIGHT * periods[item.filename]
        for item, text, found in zip(candidates, texts, hits, strict=True)
    ]
    return _add_neighbours(candidates, scores)


class _Question:
    """The question's words and pairs of words, with their weights."""

    def __init__(self, asked: Sequence[str], weights: Mapping[str, float]) -> None:
        self._weights = {word: weights.get(word, 0.0) for word in asked}
        self._total = sum(self._weights.values()) or 1.0
        self._pairs = {(a, b): self._weights[a] + self._weights[b] for a, b in pairwise(asked)}
        self._pairs_total = sum(self._pairs.values()) or 1.0

    def share(
        self, text: str, hits: Sequence[_Hit], *, sure: Collection[str], length: float
    ) -> float:
        """The weighted sum of what is found. `length` is relative to the others' mean."""
        open_hits = [hit for hit in hits if hit.word not in sure]
        named = sum(self._weights.get(word, 0.0) for word in sure)
        words = (named + self._bm25(open_hits, length)) / self._total
        sentence = (named + self._best_sentence(text, open_hits)) / self._total
        return (
            WORDS_WEIGHT * words + SENTENCE_WEIGHT * sentence + PAIRS_WEIGHT * self._adjacent(hits)
        )

    def _bm25(self, hits: Sequence[_Hit], length: float) -> float:
        damping = _SATURATION * (1 - _LENGTH + _LENGTH * length)
        counts = Counter(hit.word for hit in hits)
        return sum(self._weights[word] * n / (n + damping) for word, n in counts.items())

    def _best_sentence(self, text: str, hits: Sequence[_Hit]) -> float:
        best, found, begin = 0.0, set[str](), 0
        for hit in hits:
            if _SENTENCE_END.search(text, begin, hit.start):
                best, found = max(best, self._weigh(found)), set()
            found.add(hit.word)
            begin = hit.end
        return max(best, self._weigh(found))

    def _weigh(self, words: Collection[str]) -> float:
        return sum(self._weights[word] for word in words)

    def _adjacent(self, hits: Sequence[_Hit]) -> float:
        found = {
            (one.word, other.word)
            for one, other in pairwise(hits)
            if other.start - one.end <= _PAIR_GAP
        }
        return sum(self._pairs.get(pair, 0.0) for pair in found) / self._pairs_total


def _locate(text: str, asked: Collection[str]) -> list[_Hit]:
    """Where the words stand, in order. `str.find` is ten times faster here than a pattern."""
    hits = []
    for word in asked:
        # A stem begins its word, but for a final y (city, cities).
        prefix = word.rstrip("y") or word
        start = text.find(prefix)
        while start >= 0:
            end = _word_end(text, start)
            if not _in_word(text, start) and stem(text[start:end]) == word:
                hits.append(_Hit(word, start, end))
            start = text.find(prefix, end)
    return sorted(hits, key=attrgetter("start"))


def _in_word(text: str, start: int) -> bool:
    """Whether a word or number goes on at `start` that began before."""
    before = text[start - 1 : start]
    if text[start].isdigit():
        return before.isdigit() or (before in (".", ",") and text[start - 2 : start - 1].isdigit())
    return before.isalpha() and not _SINGLE.match(text, start)


def _word_end(text: str, start: int) -> int:
    if _SINGLE.match(text, start):
        return start + 1
    found = (_NUMBER if text[start].isdigit() else _LETTERS).match(text, start)
    return max(found.end() if found else start, start + 1)


def _estimate_weights(asked: Sequence[str], hits: Sequence[Sequence[_Hit]]) -> dict[str, float]:
    holding = Counter(word for found in hits for word in {hit.word for hit in found})
    return {word: inverse_frequency(holding[word], len(hits)) for word in asked}


def inverse_frequency(holding: int, total: int) -> float:
    """BM25's inverse document frequency of a word that `holding` of `total` texts hold."""
    return math.log(1 + (total - holding + 0.5) / (holding + 0.5))


def _names_hold(question: str, filenames: Collection[str]) -> dict[str, set[str]]:
    """The stems of the question's words that each name holds."""
    asked = question_words(question)
    return {name: set(map(stem, named(asked, read_label(name)))) for name in filenames}


def _period_shares(question: str, filenames: Collection[str]) -> dict[str, float]:
    """How well each name's period is the one that is asked for."""
    if asks_for_latest(question):
        return _newest(filenames)
    wanted = read_period(question)
    return {name: wanted.covered_by(read_label(name).period) for name in filenames}


def _newest(filenames: Collection[str]) -> dict[str, float]:
    """1 for the newest edition of each series that has several, else 0."""
    ends: dict[str, set[tuple[int, int]]] = {}
    labels = {name: read_label(name) for name in filenames}
    for label in labels.values():
        ends.setdefault(label.series, set()).add(label.period.end())
    return {
        name: float(len(ends[label.series]) > 1 and label.period.end() == max(ends[label.series]))
        for name, label in labels.items()
    }


def _add_neighbours(candidates: Sequence[Evidence], scores: Sequence[float]) -> list[float]:
    """Each score, plus a share of what the better of its neighbours is above the median."""
    if not scores:
        return []
    middle = median(scores)
    places = {
        (item.document_id, item.ordinal): value
        for item, value in zip(candidates, scores, strict=True)
    }
    raised = []
    for item, value in zip(candidates, scores, strict=True):
        around = (places.get((item.document_id, item.ordinal + step), middle) for step in (-1, 1))
        raised.append(value + NEIGHBOUR_WEIGHT * max(0.0, *(near - middle for near in around)))
    return raised
