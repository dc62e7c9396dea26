"""A feed gives the events of one answer to any number of listeners.

A feed holds the stored state of an answer, which may still be being written. The thread that
stores text adds it to the feed. Each listener reads from its own position. A listener that must
not block subscribes instead.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from core.conversations.events import AnswerState, ChatEvent
from core.conversations.messages import MessageRecord
from core.errors import RagError


class Feed:
    """The events of one answer. Safe to share between threads."""

    def __init__(self, state: AnswerState) -> None:
        self._state = state
        self._changed = threading.Condition()
        self._subscribers: tuple[Callable[[], None], ...] = ()
        self._failure: RagError | None = None
        self._readers = 0

    @property
    def attempt(self) -> int:
        return self._state.attempt

    @property
    def question(self) -> MessageRecord:
        return self._state.question

    @property
    def answer(self) -> MessageRecord | None:
        """The final message, or None while the answer is being written."""
        return self._state.answer

    def set_passages(self, passages: Sequence[dict[str, Any]]) -> None:
        with self._changing():
            if self._state.passages is None:
                self._state.passages = passages

    def add_text(self, text: str) -> None:
        with self._changing():
            self._state.add_text(text)

    def end(self, answer: MessageRecord) -> None:
        """End the feed with the final message `answer`."""
        with self._changing():
            if self._state.answer is None:
                self._state.end(answer)

    def fail(self, error: RagError) -> None:
        """Stop the feed without an end: listeners raise `error`."""
        with self._changing():
            self._failure = error

    def restart(self, state: AnswerState) -> None:
        """Switch to a new attempt at the answer: listeners continue with its first event."""
        with self._changing():
            self._state = state

    def position_after(self, last_event_id: str | None) -> int:
        """Return a client's position: the id of its last event, 0 for none. Raises Invalid."""
        with self._changed:
            return self._state.base + self._state.number_after(last_event_id)

    def read(self, position: int) -> list[ChatEvent]:
        """Return the events after the one with the id `position`, without waiting.

        Raises the error given to `fail`.
        """
        with self._changed:
            events = list(self._state.events(max(0, position - self._state.base)))
            if not events and self._failure is not None:
                raise self._failure
            return events

    def is_over_at(self, position: int) -> bool:
        """Whether the event with the id `position` is the answer's last one."""
        with self._changed:
            state = self._state
            return state.answer is not None and position >= state.base + state.count

    def is_behind(self, state: AnswerState) -> bool:
        """Whether `state`, of the same answer, has more events."""
        with self._changed:
            return self._state.base + self._state.count < state.base + state.count

    def wait_for(self, state: AnswerState, *, timeout: float) -> None:
        """Wait up to `timeout` seconds until the feed has the events of `state`."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_behind(state), timeout)

    def wait(self, position: int, *, timeout: float) -> list[ChatEvent]:
        """Like `read`, but wait up to `timeout` seconds for an event."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_more(position), timeout)
        return self.read(position)

    def _has_more(self, position: int) -> bool:
        state = self._state
        return state.base + state.count > position or self._failure is not None

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` now and at each change. It must not block."""
        with self._changed:
            self._subscribers = (*self._subscribers, wake)
        wake()

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        with self._changed:
            self._subscribers = tuple(one for one in self._subscribers if one != wake)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens; the follower drops feeds without listeners."""
        with self._changed:
            return self._readers > 0 or bool(self._subscribers)

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Count the caller as a listener inside the `with` block."""
        with self._changed:
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock for a change, then wake all listeners.

        Subscribers are called without the lock, because they may take it.
        """
        with self._changed:
            yield
            self._changed.notify_all()
            subscribers = self._subscribers
        for wake in subscribers:
            wake()


def listen(feed: Feed, *, position: int = 0, patience: float = 10.0) -> Iterator[ChatEvent | None]:
    """Yield the events after `position` up to the last; None after `patience` idle seconds."""
    with feed.reader():
        while True:
            events = feed.wait(position, timeout=patience)
            if not events:
                yield None
            for event in events:
                position = event.number
                yield event
                if event.is_last:
                    return
