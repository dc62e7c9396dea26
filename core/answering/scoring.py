"""Scores how well the sentences of passages answer a question. Pure, apart from the embedder."""

import math
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np

from core.answering.agents import agent_fit
from core.answering.asking import YEAR_ALONE, Need
from core.answering.citations import mark_code, strip_citations
from core.answering.passages import Passage
from core.answering.table_row import with_asked_cells_first
from core.embedding.base import Embedder, Query
from core.embedding.models import rescale
from core.text.abbreviations import spelt_out
from core.text.sentences import is_list_item, split_sentences
from core.text.synonyms import is_said, synonyms_of
from core.text.table_rows import CELL_END
from core.text.words import content_stems, stem, words

# Sentences of the first MAX_PASSAGES passages are scored by their words, and the best
# MAX_EMBEDDED of them are embedded.
MAX_PASSAGES = 5
MAX_EMBEDDED = 16
MAX_SENTENCE_CHARS = 380
_ELLIPSIS = " …"
_MIN_ITEMS = 2  # of a list; one line with a mark may be anything

# Weights, fitted on 1,002 questions of SQuAD over PDFs by softmax regression on the sentence with
# the answer; validated two-fold by document (docs/adr/0010).
# The cosine of the sentence after its file's name, and of both after the previous sentence.
W_TITLED, W_PAIR = 0.57, 0.43
# The share of the question's words (by inverse document frequency) in the sentence and its
# neighbours, and in the sentence and its file's name; the share of the question's word pairs in
# the sentence; whether the sentence has the kind of answer that the question asks for.
W_CONTEXT, W_NAMED = 0.24, 0.38
W_PHRASE = 0.08
W_KIND = 0.12
W_RANK = 0.02
W_LABEL = 0.15  # for `Sponsor: …` where the question says "sponsor"
W_AGENT = 0.15  # for “replaced by Elsa Holm” where the question says who replaced somebody
W_YEAR = 0.12  # against a sentence that names other years than the question
W_ROW = 0.1  # against a table's row, which core.answering.figures reads better

_CELL_WITH_FIGURE = re.compile(r" \| [^|]*\d")
# A code or numbers on a line above their description: `100-999:`, or a command's option.
_TERM = re.compile(
    r"(?!.*[^\W\d_A-Z]{3})[^|.!?]{1,40}:"
    r"|--?\w[\w=<>\[\]-]{0,30}(?:,? (?:--?\w|<|\[)[\w=<>\[\]-]{0,30}){0,2}"
)
_PART_END = re.compile(r"(?<=;) (?:and )?")
_LABEL = re.compile(r".{1,60}?(?:: | \| | = )")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may become part of an answer, in the form in which it would be shown.

    `before` is the previous sentence, `after` the next one. `stems` are the sentence's stems in
    order. `context` are those of the sentence and its neighbours, for a row of a table also of
    its caption, `named` those of the sentence and its file's name. Both have the words of the
    question that the sentence abbreviates. `rank` is the passage's, from 0.
    """

    text: str
    before: str
    after: str
    title: str
    passage: Passage
    rank: int
    stems: tuple[str, ...]
    context: frozenset[str]
    named: frozenset[str]


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with its score, its cosine and the share of the question's words near it.

    `cosine` is on the scale of the default embedding model, which the thresholds are set for.
    """

    candidate: Candidate
    score: float
    cosine: float
    share: float

    @property
    def text(self) -> str:
        return self.candidate.text


def rank_sentences(query: str, passages: Sequence[Passage], *, embedder: Embedder) -> list[Scored]:
    """The best sentences of the first passages, best first; ties keep their order."""
    candidates = _candidates(query, passages[:MAX_PASSAGES])
    weights = _weights(query, candidates)
    need = Need.read(query)
    lexical = [_by_words(query, need, candidate, weights) for candidate in candidates]
    order = sorted(range(len(candidates)), key=lambda index: -lexical[index])[:MAX_EMBEDDED]
    if not order:
        return []
    cosines = _cosines(query, [candidates[index] for index in order], embedder)
    scored = [
        Scored(
            candidate=candidates[index],
            score=lexical[index] + cosine,
            cosine=cosine,
            share=_share(weights, candidates[index].context | candidates[index].named),
        )
        for index, cosine in zip(order, cosines, strict=True)
    ]
    return sorted(scored, key=lambda item: -item.score)


def _cosines(query: str, candidates: Sequence[Candidate], embedder: Embedder) -> list[float]:
    texts: list[str] = [Query(query)]
    for one in candidates:
        before, text = one.before.strip(_ELLIPSIS), one.text.strip(_ELLIPSIS)
        texts += [f"{one.title}: {text}", f"{one.title}: {before} {text}"]
    vectors = embedder.embed(texts)
    by_form = rescale(vectors[1:] @ vectors[0], embedder.name).reshape(-1, 2)
    return [float(cosine) for cosine in by_form @ np.array([W_TITLED, W_PAIR])]


def _candidates(query: str, passages: Sequence[Passage]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    asked = frozenset(content_stems(query))
    asked_words = words(query)
    for rank, passage in enumerate(passages):
        title = title_of(passage.filename)
        name = frozenset(content_stems(title))
        caption = frozenset(content_stems(passage.heading))
        texts = _shown_sentences(passage.text, asked)
        stems = [tuple(content_stems(text)) for text in texts]
        for index, text in enumerate(_with_lists(texts)):
            own = stems[index] if text == texts[index] else tuple(content_stems(text))
            also = frozenset(map(stem, spelt_out(asked_words, text)))
            candidate = Candidate(
                text=text,
                before=texts[index - 1] if index else "",
                after=texts[index + 1] if index + 1 < len(texts) else "",
                title=title,
                passage=passage,
                rank=rank,
                stems=own,
                context=frozenset(caption if CELL_END in text else ()).union(
                    own, also, *stems[max(0, index - 1) : index + 2]
                ),
                named=name.union(own, also),
            )
            found.setdefault(text.casefold(), candidate)
    return [candidate for candidate in found.values() if candidate.stems]


def title_of(filename: str) -> str:
    stem, _, extension = filename.rpartition(".")
    return re.sub(r"[\W_]+", " ", stem if len(extension) <= 4 and stem else filename).strip()


def _shown_sentences(text: str, asked: Collection[str]) -> list[str]:
    """The sentences, each on one line and without markers: a quoted `[1]` is no citation.

    A table's row begins with the cells whose columns hold the stems `asked`.
    A segment that is too long (a table, a list without full stops) is cut into pieces.
    """
    pieces = (text[segment.start : segment.end] for segment in split_sentences(text))
    lines = (" ".join(strip_citations(mark_code(piece, context=text)).split()) for piece in pieces)
    rows = (
        with_asked_cells_first(line, asked) if CELL_END in line else line
        for line in _with_terms(lines)
    )
    return [part for line in rows for part in _cut_in_pieces(line)]


def _with_terms(lines: Iterable[str]) -> Iterator[str]:
    """The lines; a code on a line of its own goes before its description."""
    term = ""
    for line in lines:
        if _TERM.fullmatch(line):
            if term:
                yield term
            term = line
        else:
            yield f"{term} {line}".strip()
            term = ""
    if term:
        yield term


def _with_lists(texts: Sequence[str]) -> list[str]:
    """The sentences; what introduces a list is followed by as many items as may be shown."""
    return [_with_items(text, texts[place + 1 :]) for place, text in enumerate(texts)]


def _with_items(text: str, following: Sequence[str]) -> str:
    items = list(takewhile(is_list_item, following))
    if len(items) < _MIN_ITEMS or is_list_item(text) or CELL_END in text:
        return text
    shown = text
    for place, item in enumerate(items, start=1):
        room = MAX_SENTENCE_CHARS - len(_ELLIPSIS) * (place < len(items))
        if len(shown) + 1 + len(item) > room:
            return shown + _ELLIPSIS if place > _MIN_ITEMS else text
        shown += f" {item}"
    return shown


def _cut_in_pieces(line: str) -> list[str]:
    """Pieces of at most about MAX_SENTENCE_CHARS, with an ellipsis at each cut.

    A long sentence is cut at its semicolons, because each part says something of its own, and
    further at its commas.
    """
    if len(line) <= MAX_SENTENCE_CHARS:
        return [line]
    parts = _PART_END.split(line)
    pieces = [piece for part in parts for piece in _wrap(part)]
    first, *others = pieces
    pieces = [first, *(f"… {piece}" for piece in others)]
    return [*(piece + _ELLIPSIS for piece in pieces[:-1]), pieces[-1]]


def _wrap(part: str) -> Iterator[str]:
    """Pieces of at most MAX_SENTENCE_CHARS, cut between clauses, else between words."""
    clauses = [part] if CELL_END in part else re.split(r"(?<=\D,) ", part)
    piece = ""
    for clause in clauses:
        joined = f"{piece} {clause}".strip()
        if len(joined) <= MAX_SENTENCE_CHARS:
            piece = joined
        elif len(clause) <= MAX_SENTENCE_CHARS:
            yield piece
            piece = clause
        else:
            *whole, piece = textwrap.wrap(joined, MAX_SENTENCE_CHARS, break_on_hyphens=False)
            yield from whole
    if piece:
        yield piece


@dataclass(frozen=True, slots=True)
class _Weights:
    """The question's words with their inverse document frequency, and their synonyms."""

    by_word: dict[str, float]
    synonyms: Mapping[str, frozenset[tuple[str, ...]]]


def _weights(query: str, candidates: Sequence[Candidate]) -> _Weights:
    """The weights of the question's words, sentences being the documents."""
    frequency = Counter(stem for candidate in candidates for stem in set(candidate.stems))
    total = len(candidates)
    by_word = {
        stem: math.log(1 + (total - frequency[stem] + 0.5) / (frequency[stem] + 0.5))
        for stem in dict.fromkeys(content_stems(query))
    }
    return _Weights(by_word, synonyms_of(by_word))


def _share(weights: _Weights, stems: frozenset[str]) -> float:
    total = sum(weights.by_word.values())
    held = sum(
        weight for word, weight in weights.by_word.items() if is_said(word, stems, weights.synonyms)
    )
    return held / total if total else 0.0


def _by_words(query: str, need: Need, candidate: Candidate, weights: _Weights) -> float:
    return (
        W_CONTEXT * _share(weights, candidate.context)
        + W_NAMED * _share(weights, candidate.named)
        + W_PHRASE * _phrases(query, candidate)
        + W_KIND * need.fits(candidate.text)
        - W_RANK * candidate.rank
        + W_LABEL * _is_labelled(query, candidate.text)
        - W_ROW * is_row_of_figures(candidate.text)
        + W_AGENT * agent_fit(query, candidate.text)
        - W_YEAR * _has_other_years(query, candidate.text)
    )


def _phrases(query: str, candidate: Candidate) -> float:
    """The share of the question's pairs of neighbouring words that are neighbours here too."""
    pairs = set(pairwise(content_stems(query)))
    return len(pairs.intersection(pairwise(candidate.stems))) / max(1, len(pairs))


def _has_other_years(query: str, text: str) -> bool:
    """Whether both name years, but none in common."""
    asked, said = set(YEAR_ALONE.findall(query)), set(YEAR_ALONE.findall(text))
    return bool(asked and said) and asked.isdisjoint(said)


def _is_labelled(query: str, text: str) -> bool:
    """Whether the sentence begins with a label that the question has all words of."""
    label, _, rest = (
        re.split(r"(: | \| | = )", text, maxsplit=1) if _LABEL.match(text) else ("",) * 3
    )
    stems = content_stems(label)
    return bool(stems and rest) and set(stems) <= set(content_stems(query))


def is_row_of_figures(text: str) -> bool:
    """Whether the text is a table's row with several figures."""
    return len(_CELL_WITH_FIGURE.findall(text)) > 1
