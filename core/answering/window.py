"""Fits a prompt into a model's context window, which may have to be learned."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.answering.base import Question
from core.answering.prompt import CountTokens, Message, build_messages
from core.providers.failures import Refusal

# Without `max_tokens` the answer gets a fourth of the window, and at most _ANSWER_TOKENS.
_ANSWER_SHARE = 4
_ANSWER_TOKENS = 1024
_MESSAGE_TOKENS = 8  # what a chat template adds to each message
_SAFETY = 0.9  # the endpoint counts with another tokenizer
_MIN_TOKENS = 32  # a question is not shortened below this

_NUMBER = r"(\d[\d,_]*\d|\d)"
_LIMITS = (
    rf"context[ _](?:length|size|window|limit)\D{{0,40}}{_NUMBER}",
    rf"{_NUMBER}\s*(?:tokens? )?(?:maximum|max\b)",
    rf"(?:maximum|max|limit|less than|more than|at most|longer than|exceeds?)\D{{0,60}}{_NUMBER}",
)


class Window:
    """The largest prompt that an endpoint accepts, in tokens as `count_tokens` counts them.

    `context_tokens` is the model's window, None if it is not known. `max_tokens` is the limit
    of an answer, which shares the window.
    """

    def __init__(
        self,
        *,
        count_tokens: CountTokens,
        context_tokens: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self._prompt_tokens: int | None = None
        if context_tokens is not None:
            self._prompt_tokens = int(self._without_answer(context_tokens) * _SAFETY)

    def fit(self, question: Question, *, history_tokens: int) -> list[Message]:
        """The messages for `question` that fit into the window.

        Only as far as necessary, it leaves out in this order: earlier turns and memories, the
        last passages, the middle of the first passage, the middle of the question. The rules
        are never shortened.
        """
        messages: list[Message] = []
        for shorter, budget in self._ever_shorter(question, history_tokens):
            messages = build_messages(
                shorter, history_tokens=budget, count_tokens=self._count_tokens
            )
            if self._prompt_tokens is None or self._size(messages) <= self._prompt_tokens:
                break
        return messages

    def learn(self, refusal: Refusal, sent: Sequence[Message]) -> None:
        """Fit prompts into a smaller window from now on, because `sent` was too long.

        The refusal may name the limit and the tokens that the endpoint counted. Their ratio
        and our own count give the new limit.
        """
        size = self._size(sent)
        limit = _limit_in(refusal.message)
        if limit is None:
            fits = size * 0.5
        else:
            counted = max((n for n in _numbers(refusal.message) if n > limit), default=0)
            room = self._without_answer(limit)
            fits = size * room / counted if counted else min(room, size * 0.75)
        self._prompt_tokens = int(min(fits, self._prompt_tokens or fits) * _SAFETY)

    def _without_answer(self, context_tokens: int) -> int:
        share = context_tokens // _ANSWER_SHARE
        answer = min(self._max_tokens or min(share, _ANSWER_TOKENS), context_tokens // 2)
        return context_tokens - answer

    def _size(self, messages: Sequence[Message]) -> int:
        return sum(self._count_tokens(one["content"]) + _MESSAGE_TOKENS for one in messages)

    def _ever_shorter(
        self, question: Question, history_tokens: int
    ) -> Iterator[tuple[Question, int]]:
        for share in (1.0, 0.5, 0.25):
            yield question, int(history_tokens * share)
        bare = replace(question, history=(), memories=())
        for kept in range(len(question.passages), 0, -1):
            yield replace(bare, passages=question.passages[:kept]), 0
        for text in self._halves(question.passages[0].text if question.passages else ""):
            yield replace(bare, passages=[replace(question.passages[0], text=text)]), 0
        for text in self._halves(question.text):
            yield replace(bare, passages=(), text=text), 0

    def _halves(self, text: str) -> Iterator[str]:
        while self._count_tokens(text) >= 2 * _MIN_TOKENS:
            quarter = len(text) // 4
            text = f"{text[:quarter]} … {text[-quarter:]}"
            yield text


def _limit_in(message: str) -> int | None:
    for pattern in _LIMITS:
        if found := re.search(pattern, message, re.I):
            return _as_int(found[1])
    return None


def _numbers(message: str) -> list[int]:
    return [_as_int(found) for found in re.findall(_NUMBER, message)]


def _as_int(digits: str) -> int:
    return int(re.sub(r"[,_]", "", digits)[:12])
