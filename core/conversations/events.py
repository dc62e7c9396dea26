"""The events of an answer, computed from what is stored of it: the same while it is written,
afterwards, and on every process.

The order is `message_created`, `retrieval`, `delta` …, then `message_completed` or `error`.
A delta is a piece of the text whose end depends on the text before it alone, so the text as
it is stored says where each event begins: no second copy is kept. The id of an event is its
number, from 1; a further attempt at the same answer counts on from the next multiple of
ATTEMPT_STRIDE, so that an id never names two events.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.conversations.messages import MessageRecord
from core.errors import Invalid
from core.text.words import SINGLE_CHARACTERS

ATTEMPT_STRIDE = 10_000_000
MAX_PIECE = 16  # characters, so that a long word, a link say, streams too

# A word with the white space after it, a character of a script without spaces, or a part of
# a long word. What is shorter at the end of the text may still grow: it is held back.
_PIECE = re.compile(
    rf"[^\s{SINGLE_CHARACTERS}]{{0,{MAX_PIECE - 1}}}[\s{SINGLE_CHARACTERS}]"
    rf"|[^\s{SINGLE_CHARACTERS}]{{{MAX_PIECE}}}"
)


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """`name` is that of the server-sent event; `data` holds records, not JSON."""

    number: int
    name: str
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        return self.name in ("message_completed", "error")


@dataclass(slots=True)
class AnswerState:
    """What is stored of an answer at one moment.

    `passages` is None until the retrieval is over. `answer` is the message as it ended, None
    while it is written.
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
        """How many events there are by now."""
        return 1 + (self.passages is not None) + len(self.pieces) + (self.answer is not None)

    def add_text(self, text: str) -> None:
        """Take further text: whole pieces become deltas."""
        text = self.held_back + text
        position = 0
        while match := _PIECE.match(text, position):
            self.pieces.append(match[0])
            position = match.end()
        self.held_back = text[position:]

    def end(self, answer: MessageRecord) -> None:
        """The answer is over: take what is left of its text."""
        known = sum(map(len, self.pieces)) + len(self.held_back)
        self.add_text(answer.content[known:])
        if self.held_back:
            self.pieces.append(self.held_back)
            self.held_back = ""
        self.answer = answer

    def number_after(self, last_event_id: str | None) -> int:
        """How many of this attempt's events the client has. Raises Invalid for an unknown id.

        An id of an earlier attempt counts as none: that text is replaced.
        """
        if last_event_id is None:
            return 0
        known = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 15
        if not known or int(last_event_id) > self.base + self.count:
            detail = "No event of this answer has this id."
            raise Invalid(detail, code="unknown_event_id", errors={"starting_after": [detail]})
        return max(0, int(last_event_id) - self.base)

    def events(self, after: int = 0) -> Iterator[ChatEvent]:
        """The events behind the first `after` ones."""
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
    """`error` when something went wrong; a cancelled answer ends as it was asked to."""
    return "error" if answer.error is not None else "message_completed"
