"""Scores candidates by meaning, words, distances between words, and document names. Pure.

A score is the cosine plus a weighted sum of shares, each from 0 to 1:

- words: BM25 (Robertson and Zaragoza, 2009) over the question's words, divided by its limit;
- sentence: the largest weighted share of those words in one sentence, or in one row of a table
  and the caption above its rows;
- pairs: the weighted share of neighbouring words of the question that are neighbours in the text;
- period: the share of the question's year and quarter that the document's name states. If the
  question asks for the latest document, 1 for the newest of a series.

A word of the question that is in the document's name counts as found in all passages of the
document, because it distinguishes documents and not passages. Finally, a passage gains from a
neighbour with a high score. docs/adr/0005 has the measurements behind the weights.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter
from statistics import fmean, median
from typing import NamedTuple, Protocol

from core.search import rows
from core.search.candidates import EXACT_MAX_CHUNKS
from core.search.document_names import (
    Label,
    asks_for_latest,
    named,
    question_words,
    read_label,
    read_period,
)
from core.search.lexemes import QUOTED
from core.text.dates import MONTH_STEMS
from core.text.questions import numbered_parts
from core.text.synonyms import equivalents_of
from core.text.words import JOINER, SINGLE_CHARACTERS, content_stems, fold, normalise, stem

WORDS_WEIGHT = 0.7
SENTENCE_WEIGHT = 0.3
PAIRS_WEIGHT = 0.2
PERIOD_WEIGHT = 0.3
NEIGHBOUR_WEIGHT = 0.1
EXACT_WEIGHT = 1.0  # more than the difference between any two cosines in practice

_SATURATION = 0.6  # BM25's k1
_LENGTH = 0.4  # BM25's b
_PAIR_GAP = 16  # characters between two words that still count as neighbours
_PHRASE_GAP = 8  # characters between two words of a phrase
_MAX_WORDS = 64  # of a question; each is looked for in each text
_SENTENCE_END = re.compile(r"[.!?…؟۔।][\"'”’)\]]*\s|[。！？｡]|\n\s*\n")
_LETTERS = re.compile(r"[^\W\d_]*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SINGLE = re.compile(f"[{SINGLE_CHARACTERS}]")
_CODE = re.compile(r"\d.|.\d")
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_CODE_PART = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_SEPARATOR_OF_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")

_Name = tuple[str, str | None]  # a document's file name and title
_Equivalents = Mapping[str, Collection[tuple[str, ...]]]  # ways to say a stem, as stems


class Evidence(Protocol):
    """The fields of a candidate that its score depends on.

    `ordinal` is its place in the document, `context` the name and heading that are
    indexed with its text, `vector_score` the cosine.
    """

    @property
    def document_id(self) -> str: ...
    @property
    def ordinal(self) -> int: ...
    @property
    def filename(self) -> str: ...
    @property
    def title(self) -> str | None: ...
    @property
    def context(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def vector_score(self) -> float | None: ...


class _Hit(NamedTuple):
    """A word of the question in a text."""

    word: str
    start: int
    end: int


def score(
    question: str,
    candidates: Sequence[Evidence],
    *,
    weights: Mapping[str, float] | None = None,
    frequency: Mapping[str, float] | None = None,
) -> list[float]:
    """A score for each candidate, in their order; higher is better.

    `weights` are inverse document frequencies of the question's stems; missing ones are
    estimated from the candidates. `frequency` is the approximate number of chunks that contain
    a stem; a code or number in few chunks counts as exact.
    """
    if not candidates:
        return []
    asked = content_stems(question)[:_MAX_WORDS]
    texts = [_SearchedText(f"{item.context}\n\n{item.text}") for item in candidates]
    others = _equivalents(asked)
    hits = [text.locate(set(asked), others) for text in texts]
    by_stem = _estimate_weights(asked, hits) | dict(weights or {})
    exact = _exact_stems(asked, hits, frequency or {})
    phrases = [*_quoted_phrases(question), *map(_at_line_start, numbered_parts(question))]
    names = [(item.filename, item.title) for item in candidates]
    labels = {name: read_label(*name) for name in names}
    held = _names_hold(question, labels)
    periods = _period_shares(question, labels)
    asking = _Question(asked, by_stem)
    length = fmean(len(text.folded) for text in texts)
    scores = [
        (item.vector_score or 0.0)
        + asking.share(text.folded, found, sure=held[name], length=len(text.folded) / length)
        + PERIOD_WEIGHT * periods[name]
        + EXACT_WEIGHT * _exact_share(text, found, exact, phrases)
        for item, text, found, name in zip(candidates, texts, hits, names, strict=True)
    ]
    return _add_neighbours(candidates, scores)


def missing_words(stems: Collection[str], candidates: Sequence[Evidence]) -> set[str]:
    """Those of `stems` that no candidate holds, in its text or in what the index has besides."""
    missing = set(stems)
    others = _equivalents(stems)
    for item in candidates:
        found = _SearchedText(f"{item.context}\n\n{item.text}").locate(missing, others)
        missing.difference_update(hit.word for hit in found)
        if not missing:
            break
    return missing


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
        """The weighted sum of words, sentence and pairs.

        `sure` are words that count as found. `length` is the text's, divided by the mean.
        """
        unsure = [hit for hit in hits if hit.word not in sure]
        given = sum(self._weights.get(word, 0.0) for word in sure)
        found = (given + self._bm25(unsure, length)) / self._total
        sentence = (given + self._best_sentence(text, unsure)) / self._total
        return (
            WORDS_WEIGHT * found + SENTENCE_WEIGHT * sentence + PAIRS_WEIGHT * self._adjacent(hits)
        )

    def _bm25(self, hits: Sequence[_Hit], length: float) -> float:
        damping = _SATURATION * (1 - _LENGTH + _LENGTH * length)
        counts = Counter(hit.word for hit in hits)
        return sum(self._weights[word] * n / (n + damping) for word, n in counts.items())

    def _best_sentence(self, text: str, hits: Sequence[_Hit]) -> float:
        """The most weight in one sentence, or in one row of a table with the table's caption."""
        caption, rows_start = _words_of_caption(text, hits)
        best, weight, held, end = 0.0, 0.0, set[str](), 0
        for hit in hits:
            if _SENTENCE_END.search(text, end, hit.start):
                best, weight, held = max(best, weight), 0.0, set()
                if hit.start >= rows_start:
                    held = set(caption)
                    weight = sum(self._weights[word] for word in held)
            if hit.word not in held:
                held.add(hit.word)
                weight += self._weights[hit.word]
            end = hit.end
        return max(best, weight)

    def _adjacent(self, hits: Sequence[_Hit]) -> float:
        found = {
            (one.word, other.word)
            for one, other in pairwise(hits)
            if other.start - one.end <= _PAIR_GAP
        }
        return sum(self._pairs.get(pair, 0.0) for pair in found) / self._pairs_total


def _words_of_caption(text: str, hits: Sequence[_Hit]) -> tuple[set[str], int]:
    """The question's words above a table's rows, and where the rows begin."""
    begin, start = rows.caption_of(text)
    return {hit.word for hit in hits if begin <= hit.start < start}, start


class _SearchedText:
    """A text, normalised for looking up words."""

    def __init__(self, text: str) -> None:
        self.plain = _SEPARATOR_OF_THOUSANDS.sub("", normalise(rows.set_apart(text)))
        self.folded = self.plain.casefold()

    def locate(self, asked: Collection[str], others: _Equivalents) -> list[_Hit]:
        """Where the stems `asked` occur, or phrases equivalent to them, in order."""
        hits = []
        for word in asked:
            hits += self._locate_stem(word)
            for way in others.get(word, ()):
                hits += [_Hit(word, start, end) for start, end in self._locate_phrase(way)]
        return sorted(hits, key=attrgetter("start"))

    def _locate_stem(self, word: str) -> list[_Hit]:
        if word.isupper():
            found = re.finditer(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", self.plain)
            return [_Hit(word, match.start(), match.end()) for match in found]
        if len(parts := _CODE_PART.findall(word)) > 1:
            found = _code_pattern(tuple(parts)).finditer(self.folded)
            return [_Hit(word, match.start(), match.end()) for match in found]
        hits = list(_locate_word(self.folded, word))
        if short := MONTH_STEMS.get(word):
            hits += [hit._replace(word=word) for hit in _locate_word(self.folded, short)]
        return hits

    def _locate_phrase(self, way: Sequence[str]) -> list[tuple[int, int]]:
        """From where to where the stems `way` follow each other."""
        first, *rest = way
        places = [(hit.start, hit.end) for hit in self._locate_stem(first)]
        for word in rest if places else ():
            ends = {hit.start: hit.end for hit in self._locate_stem(word)}
            places = [
                (start, ends[after])
                for start, end in places
                if (after := next((one for one in ends if 0 < one - end <= _PHRASE_GAP), None))
            ]
        return places


def _equivalents(stems: Collection[str]) -> _Equivalents:
    """For each stem: the stems of the phrases that a text may have instead."""
    return {
        word: tuple(dict.fromkeys(others.values()))
        for word, others in equivalents_of(stems).items()
    }


@lru_cache(maxsize=1000)
def _code_pattern(parts: tuple[str, ...]) -> re.Pattern[str]:
    """A code of letters and digits, whatever joins them: `10k` is found in `10-K`."""
    joined = rf"(?:{JOINER}| )?".join(map(re.escape, parts))
    return re.compile(rf"(?<![^\W_]){joined}(?![^\W_])")


def _locate_word(text: str, word: str) -> Iterator[_Hit]:
    """The words of `text` with the stem `word`. `str.find` is ten times faster than a pattern."""
    # A word begins with its stem, except for last letters that the stemmer changes (city: citi).
    prefix = word.rstrip("eiy") or word
    start = text.find(prefix)
    while start >= 0:
        end = start + 1
        if not _in_word(text, start):
            end = _word_end(text, start)
            if stem(text[start:end]) == word:
                yield _Hit(word, start, end)
        start = text.find(prefix, end)


def _in_word(text: str, start: int) -> bool:
    """Whether `start` is inside a word or number, not at its beginning."""
    before, char = text[start - 1 : start], text[start]
    if char.isdigit():
        return before.isdigit() or (before in (".", ",") and text[start - 2 : start - 1].isdigit())
    return before.isalpha() and not _is_word(char)


def _word_end(text: str, start: int) -> int:
    if _is_word(text[start]):
        return start + 1
    found = (_NUMBER if text[start].isdigit() else _LETTERS).match(text, start)
    return max(found.end() if found else start, start + 1)


def _is_word(char: str) -> bool:
    return not char.isascii() and _SINGLE.match(char) is not None


def _exact_stems(
    asked: Sequence[str], hits: Sequence[Sequence[_Hit]], frequency: Mapping[str, float]
) -> set[str]:
    """The codes, numbers (no years) and names in capitals (`WHO`) that are in few chunks."""
    codes = {
        word
        for word in asked
        if word.isupper() or (_CODE.search(word) and not _YEAR.fullmatch(word))
    }
    found = Counter(word for own in hits for word in {hit.word for hit in own})
    return {
        word
        for word in codes
        if 0 < found[word] <= EXACT_MAX_CHUNKS and frequency.get(word, 0) <= EXACT_MAX_CHUNKS
    }


def _quoted_phrases(question: str) -> list[re.Pattern[str]]:
    """The question's phrases in quotation marks, of two or more words."""
    found = (fold(phrase).split() for phrase in QUOTED.findall(question))
    return [re.compile(r"\s+".join(map(re.escape, words))) for words in found if len(words) > 1]


def _at_line_start(part: str) -> re.Pattern[str]:
    """`Note 5` where it is a heading or a line of a table of contents, not a reference."""
    words = r"\s+".join(map(re.escape, fold(part).split()))
    return re.compile(rf"^\W*{words}(?!\w|\.\d)", re.MULTILINE)


def _exact_share(
    text: _SearchedText,
    hits: Sequence[_Hit],
    exact: Set[str],
    phrases: Sequence[re.Pattern[str]],
) -> float:
    """The share of the question's exact words, quoted phrases and parts that a text contains."""
    if not exact and not phrases:
        return 0.0
    held = len({hit.word for hit in hits} & exact)
    held += sum(phrase.search(text.folded) is not None for phrase in phrases)
    return held / (len(exact) + len(phrases))


def _estimate_weights(asked: Sequence[str], hits: Sequence[Sequence[_Hit]]) -> dict[str, float]:
    """BM25's inverse document frequencies, with the candidates as the whole collection."""
    frequency = Counter(word for found in hits for word in {hit.word for hit in found})
    return {
        word: math.log(1 + (len(hits) - frequency[word] + 0.5) / (frequency[word] + 0.5))
        for word in asked
    }


def _names_hold(question: str, labels: Mapping[_Name, Label]) -> dict[_Name, set[str]]:
    """For each name, the stems of the question's words in it."""
    asked = question_words(question)
    return {name: set(map(stem, named(asked, label))) for name, label in labels.items()}


def _period_shares(question: str, labels: Mapping[_Name, Label]) -> dict[_Name, float]:
    """For each name, the share of the question's period that it covers."""
    if asks_for_latest(question):
        return _newest(labels)
    wanted = read_period(question)
    if not wanted:
        return dict.fromkeys(labels, 0.0)
    return {name: wanted.covered_by(label.period) for name, label in labels.items()}


def _newest(labels: Mapping[_Name, Label]) -> dict[_Name, float]:
    """1 for the newest document of each series that has several, else 0."""
    ends: dict[str, set[tuple[int, int]]] = {}
    for label in labels.values():
        ends.setdefault(label.series, set()).add(label.period.end())
    return {
        name: float(len(ends[label.series]) > 1 and label.period.end() == max(ends[label.series]))
        for name, label in labels.items()
    }


def _add_neighbours(candidates: Sequence[Evidence], scores: Sequence[float]) -> list[float]:
    """Each score, plus a share of the amount by which its better neighbour exceeds the median."""
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
