"""Computes the events of an answer from its stored state.

The events are the same while the answer is written, afterwards, and on every process. Their
order is `message_created`, `retrieval`, `delta` …, then `message_completed` or `error`.
Where a delta ends depends only on the text before that point. So the stored text alone
determines all deltas, and no second copy is kept. The id of an event is its number, from 1. A
new attempt at the same answer counts from the next multiple of ATTEMPT_STRIDE, so that no two
events have the same id.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.conversations.messages import MessageRecord
from core.errors import Invalid
from core.text.words import SINGLE_CHARACTERS

ATTEMPT_STRIDE = 10_000_000
MAX_PIECE = 16  # characters, so that a long word (a link, for example) streams too

# A word with the white space after it, a character of a script without spaces, or a part of
# a long word. A shorter rest at the end of the text may still grow, so it is held back.
_PIECE = re.compile(
    rf"[^\s{SINGLE_CHARACTERS}]{{0,{MAX_PIECE - 1}}}[\s{SINGLE_CHARACTERS}]"
    rf"|[^\s{SINGLE_CHARACTERS}]{{{MAX_PIECE}}}"
)


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """One event. `name` is the server-sent event's name; `data` holds records, not JSON."""

    number: int
    name: str
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        return self.name in ("message_completed", "error")


@dataclass(slots=True)
class AnswerState:
    """The stored state of an answer at one moment.

    `passages` is None until the search is over. `answer` is the final message, and None while
    the answer is being written.
    """

    question: MessageRecord
    attempt: int
    passages: Sequence[dict[str, Any]] | None = None
    pieces: list[str] = field(default_factory=list)
    held_back: str = ""
    answer: MessageRecord | None = None

    @property
    def base(self) -> int:
        return (self.attempt - 1) * ATTEMPT_STRIDE

    @property
    def count(self) -> int:
        """How many events exist so far."""
        return 1 + (self.passages is not None) + len(self.pieces) + (self.answer is not None)

    def add_text(self, text: str) -> None:
        """Add text: complete pieces become deltas."""
        text = self.held_back + text
        position = 0
        while match := _PIECE.match(text, position):
            self.pieces.append(match[0])
            position = match.end()
        self.held_back = text[position:]

    def end(self, answer: MessageRecord) -> None:
        """End the answer, and turn the rest of its text into deltas."""
        known = sum(map(len, self.pieces)) + len(self.held_back)
        self.add_text(answer.content[known:])
        if self.held_back:
            self.pieces.append(self.held_back)
            self.held_back = ""
        self.answer = answer

    def number_after(self, last_event_id: str | None) -> int:
        """Return how many events of this attempt the client has.

        For an id of an earlier attempt it is 0, because this attempt replaces that text.
        Raises Invalid for an unknown id.
        """
        if last_event_id is None:
            return 0
        known = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 15
        if not known or int(last_event_id) > self.base + self.count:
            detail = "No event of this answer has this id."
            raise Invalid(detail, code="unknown_event_id", errors={"starting_after": [detail]})
        return max(0, int(last_event_id) - self.base)

    def events(self, after: int = 0) -> Iterator[ChatEvent]:
        """Yield the events after the first `after` ones."""
        for index in range(after, self.count):
            yield self._event(index)

    def _event(self, index: int) -> ChatEvent:
        number = self.base + index + 1
        if index == 0:
            return ChatEvent(number, "message_created", {"user_message": self.question})
        index -= 1
        if self.passages is not None:
            if index == 0:
                return ChatEvent(number, "retrieval", {"passages": self.passages})
            index -= 1
        if index < len(self.pieces):
            return ChatEvent(number, "delta", {"content": self.pieces[index]})
        assert self.answer is not None
        return ChatEvent(number, ending_name(self.answer), {"assistant_message": self.answer})


def ending_name(answer: MessageRecord) -> str:
    """Return `error` if the answer failed. A cancelled answer ends with `message_completed`."""
    return "error" if answer.error is not None else "message_completed"
