"""The protocol of whatever writes an answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.answering.passages import Passage

Role = Literal["system", "user", "assistant"]
Receive = Callable[[str], None]
FinishReason = Literal["stop", "length", "content_filter", "cancelled"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the conversation.

    `cited` is False for an answer without passages: brackets in it are text, not markers.
    """

    role: Role
    content: str
    cited: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """The input of an answerer.

    `text` is the user's message. `search_query` is the query of the search: the message, with
    terms of `history` if it cannot be understood alone. `history` has the earlier turns, oldest
    first; `memories` are messages of the same user in other sessions. `grounded` is False if
    the caller switched retrieval off.
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
    """An answer in progress: iterate over it for its deltas.

    `model`, `usage` and `finish_reason` are final when the iteration is over. `usage` is None
    if the provider reports none. `finish_reason` is `length` if the answer was cut at a
    token limit, `content_filter` if the provider's filter cut it, `cancelled` if `should_stop`
    ended it.

    `restarted` becomes True when an end tag shows that all deltas so far were the model's
    reasoning. The answer begins with the next delta; the earlier deltas are no part of it.
    """

    deltas: Iterator[str]
    model: str
    usage: Usage | None = None
    finish_reason: FinishReason = "stop"
    restarted: bool = False
    reader: Callable[[Receive], None] | None = None

    def __iter__(self) -> Iterator[str]:
        return self.deltas

    def read(self, receive: Receive) -> None:
        """Call `receive` with each delta, and return at the end. Raises the iteration's errors.

        Deltas of an LLM do not wake the caller's thread: a thread that all answers share calls
        `receive`, which must not block, except for the first delta after `restarted`.
        """
        if self.reader is not None:
            self.reader(receive)
            return
        for delta in self.deltas:
            receive(delta)


class Answerer(Protocol):
    """Writes an answer to a question from its passages."""

    model: str
    top_k: int  # passages that are searched for it unless the request names a number

    def answer(
        self, question: Question, *, should_stop: Callable[[], bool] = lambda: False
    ) -> AnswerStream:
        """Start an answer. Deltas are non-empty; `[n]` in them names a passage's index.

        The answerer calls `should_stop` between deltas, and five times a second while a provider
        is silent; the answer ends soon after it returns True. Raises ProviderError, also
        ProviderBusy, ProviderRefused and ProviderTimeout, here or during the iteration.
        """
        ...
