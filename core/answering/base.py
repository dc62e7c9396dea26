"""What writes an answer: one small protocol."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.answering.passages import Passage

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """All an answerer is given.

    `text` is the user's message; `search_query` what was searched for (the
    message, made to stand alone with the help of `history`); `history` the
    earlier turns, oldest first; `memories` what the same user said in other
    sessions; `grounded` is False when the caller asked for no retrieval.
    """

    text: str
    search_query: str
    passages: Sequence[Passage] = ()
    history: Sequence[Turn] = ()
    memories: Sequence[str] = ()
    grounded: bool = True


@dataclass(slots=True)
class Usage:
    """Tokens, as the provider counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(slots=True)
class AnswerStream:
    """An answer being written: iterate over it for its deltas.

    `model` and `usage` are final when the iteration is over. `finish_reason`
    is `stop`, `length` or `cancelled`.
    """

    deltas: Iterator[str]
    model: str
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "stop"

    def __iter__(self) -> Iterator[str]:
        return self.deltas


class Answerer(Protocol):
    """Writes an answer to a question from its passages."""

    model: str

    def answer(
        self, question: Question, *, should_stop: Callable[[], bool] = lambda: False
    ) -> AnswerStream:
        """Start an answer. Deltas are non-empty; `[n]` in them names a passage's index.

        `should_stop` is asked between deltas, and some ten times a second while a provider is
        silent: the answer ends soon after it is true. Raises, here or while iterated,
        ProviderBusy, ProviderTimeout or ProviderError.
        """
        ...
