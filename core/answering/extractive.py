"""Answers without an LLM: the sentences of the passages that answer the question."""

import re
from collections.abc import Callable, Iterator, Sequence

from core.answering.base import AnswerStream, Question
from core.answering.scoring import Scored, rank_sentences
from core.embedding.base import Embedder

NOTHING_FOUND = "I could not find anything about this in the documents in reach."
DOCUMENTS_ONLY = (
    "I answer only from documents, and none were searched for this message. "
    "Ask again with document search switched on."
)

MAX_SENTENCES = 3
MAX_CHARS = 400
# A shorter rest of a sentence than this is not worth showing.
MIN_EXCERPT = 60
# Calibrated on SQuAD over PDFs: questions whose document is in reach against the same
# questions with it left out.
MIN_CONFIDENCE = 0.565


class ExtractiveAnswerer:
    """Joins up to three sentences, at most 400 characters, each followed by its `[n]`.

    Deterministic, and safe to share between threads as far as the embedder is.
    """

    model = "extractive-1"

    def __init__(self, *, embedder: Embedder) -> None:
        self._embedder = embedder

    def answer(
        self, question: Question, *, should_stop: Callable[[], bool] = lambda: False
    ) -> AnswerStream:
        """Write an answer word by word. Raises what `Embedder.embed` raises, while iterated."""
        stream = AnswerStream(deltas=iter(()), model=self.model)
        stream.deltas = self._write(stream, question, should_stop)
        return stream

    def compose(self, question: Question) -> str:
        """The whole answer at once."""
        if not question.grounded:
            return DOCUMENTS_ONLY
        query = question.search_query or question.text
        ranked = rank_sentences(query, question.passages, embedder=self._embedder)
        if not ranked or confidence(ranked) < MIN_CONFIDENCE:
            return NOTHING_FOUND
        return join_sentences(ranked)

    def _write(
        self, stream: AnswerStream, question: Question, should_stop: Callable[[], bool]
    ) -> Iterator[str]:
        for word in re.findall(r"\s*\S+", self.compose(question)):
            if should_stop():
                stream.finish_reason = "cancelled"
                return
            yield word


def confidence(ranked: Sequence[Scored]) -> float:
    """How well the best sentence fits the question; below MIN_CONFIDENCE, not at all."""
    return ranked[0].cosine + 0.3 * ranked[0].share


def join_sentences(ranked: Sequence[Scored]) -> str:
    """The best sentences, best first, each with its marker, in at most MAX_CHARS."""
    parts: list[str] = []
    left = MAX_CHARS
    for item in ranked:
        marker = f" [{item.candidate.passage.index}]"
        room = left - len(marker) - bool(parts)
        text = item.candidate.text
        if len(text) > room and parts and room < MIN_EXCERPT:
            continue
        text = _cut(text, room)
        parts.append(text + marker)
        left = room - len(text)
        if len(parts) == MAX_SENTENCES:
            break
    return " ".join(parts)


def _cut(text: str, room: int) -> str:
    """`text`, or as many of its words as fit with an ellipsis."""
    if len(text) <= room:
        return text
    cut = text[: room - 2]
    return f"{cut.rpartition(' ')[0] or cut} …"
