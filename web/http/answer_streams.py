"""The responses of turns: an answer as JSON, or its feed as server-sent events."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

from flask import Response, current_app, request

from core.access.idempotency import Remembered
from core.conversations.chat import Opening
from core.conversations.events import ChatEvent
from core.conversations.feeds import Feed
from core.conversations.live import LiveAnswers, Turn
from core.errors import Conflict, RagError
from core.telemetry import get_logger
from web.http import errors, idempotency, streaming
from web.http.context import tenant_id
from web.http.deferred import DeferredResponse
from web.http.idempotency import Ticket
from web.http.presenters import json_response, message_body
from web.http.request_state import request_state
from web.http.streaming import EVENT_STREAM, EVENT_STREAM_HEADERS, encode_event

log = get_logger(__name__)


def live_answers() -> LiveAnswers:
    return cast(LiveAnswers, current_app.extensions["live_answers"])


def wants_stream(body: dict[str, Any]) -> bool:
    """Whether the client asked for events; takes `stream` out of the body."""
    return bool(body.pop("stream", False)) or request.accept_mimetypes.best == EVENT_STREAM


def answer_turn(
    *, session_id: Any, opening: Opening, stream: bool, on_disconnect: str
) -> DeferredResponse:
    """Begin a turn; its response is the answer, or the events of its feed."""
    pending = _PendingTurn(stream=stream, cancel=on_disconnect == "cancel")
    pending.turn = live_answers().start(
        tenant_id=tenant_id(),
        session_id=session_id,
        opening=opening,
        claim=idempotency.held_claim(),
        when_over=pending.settle,
    )
    return DeferredResponse(pending)


def follow_answer(feed: Feed, *, last_event_id: str | None) -> DeferredResponse:
    """The events of a feed behind the one that the client has. Raises Invalid."""
    return DeferredResponse(_PendingFeed(feed, position=feed.position_after(last_event_id)))


class AnswerEvents:
    """The body of an event stream over a feed: read without blocking, or iterated.

    `on_leave` is called once if the client goes away before the last event. `may_end` holds
    the last event back until the request's idempotency key remembers the response.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        position: int = 0,
        request_id: str,
        on_leave: Callable[[], None] | None = None,
        may_end: Callable[[], bool] = lambda: True,
    ) -> None:
        self._feed, self._position, self._request_id = feed, position, request_id
        self._on_leave, self._may_end = on_leave, may_end
        self._wake: Callable[[], None] | None = None
        self.is_over = False

    def read(self) -> list[bytes]:
        """The encoded events that can be sent now."""
        if self.is_over:
            return []
        try:
            events = self._feed.read(self._position)
        except RagError as error:
            self.is_over = True
            data = errors.describe(error, request_id=self._request_id)
            return [encode_event("error", data, number=self._position + 1)]
        # A client that reconnects behind the last event gets an empty stream.
        self.is_over = not events and self._feed.is_over_at(self._position)
        return [self._encode(event) for event in events if self._may_send(event)]

    def _may_send(self, event: ChatEvent) -> bool:
        return not event.is_last or self._may_end()

    def _encode(self, event: ChatEvent) -> bytes:
        self._position, self.is_over = event.number, event.is_last
        return encode_chat_event(event)

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._feed.subscribe(wake)

    def wake(self) -> None:
        """The last event may be sent now."""
        if self._wake is not None:
            self._wake()

    def __iter__(self) -> Iterator[bytes]:
        """For a server that blocks: events, and a comment after a silence."""
        news = threading.Event()
        self.subscribe(news.set)
        while not self.is_over:
            if not news.wait(streaming.HEARTBEAT_SECONDS):
                yield streaming.HEARTBEAT
            news.clear()
            if data := b"".join(self.read()):
                yield data

    def close(self) -> None:
        if self._wake is not None:
            self._feed.unsubscribe(self._wake)
        on_leave, self._on_leave = self._on_leave, None
        if on_leave is not None and not self.is_over:
            on_leave()


class _PendingFeed:
    """A stream over a feed that exists."""

    def __init__(self, feed: Feed, *, position: int) -> None:
        self._feed, self._position = feed, position

    def when_ready(self, callback: Callable[[], None]) -> None:
        callback()

    def respond(self) -> Response:
        events = AnswerEvents(
            self._feed, position=self._position, request_id=request_state().request_id
        )
        return _event_stream(events)

    def abandon(self) -> None:
        """Nothing depends on this client."""


class _PendingTurn:
    """The response to a request that began a turn."""

    turn: Turn

    def __init__(self, *, stream: bool, cancel: bool) -> None:
        self._stream, self._cancel = stream, cancel
        self._ticket: Ticket | None = request_state().held_ticket
        self._request_id = request_state().request_id
        self._tenant_id, self._live = tenant_id(), live_answers()
        self._over = threading.Condition()
        self._is_over = False
        self._callbacks: list[Callable[[], None]] = []
        self._events: AnswerEvents | None = None

    def when_ready(self, callback: Callable[[], None]) -> None:
        """A stream is ready when the turn is opened, JSON when its answer is stored."""
        if self._stream:
            self.turn.when_decided(callback)
            return
        with self._over:
            if not self._is_over:
                self._callbacks.append(callback)
                self.turn.when_refused(callback)
                return
        callback()

    def settle(self, feed: Feed) -> None:
        """In the turn's thread: remember the response, then let it be sent."""
        try:
            if self._ticket is not None:
                self._ticket.settle(self._remembered(feed))
        finally:
            with self._over:
                self._is_over = True
                self._over.notify_all()
                callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()
            if self._events is not None:
                self._events.wake()

    def _remembered(self, feed: Feed) -> Remembered | None:
        """The response as another request with the key gets it; a failure is not remembered."""
        if feed.answer is None or feed.answer.error is not None:
            return None
        if not self._stream:
            return idempotency.remembered(_answer_body(feed))
        events = [encode_chat_event(event) for event in feed.read(0)]
        return Remembered(200, EVENT_STREAM_HEADERS, b"".join(events))

    def respond(self) -> Response:
        try:
            feed = self.turn.feed()
        except Exception as error:
            if self._ticket is not None:
                return idempotency.refuse(self._ticket, error)
            return errors.respond(error)
        return self._stream_of(feed) if self._stream else self._json_of(feed)

    def _stream_of(self, feed: Feed) -> Response:
        self._events = AnswerEvents(
            feed,
            request_id=self._request_id,
            on_leave=self._leave if self._cancel else None,
            may_end=lambda: self._is_over or self._ticket is None,
        )
        return _event_stream(self._events)

    def _json_of(self, feed: Feed) -> Response:
        with self._over:
            self._over.wait_for(lambda: self._is_over)
        if feed.answer is None:
            return errors.respond(RagError("The end of the answer could not be stored."))
        if feed.answer.error is not None:
            return errors.respond(errors.stored_error(feed.answer.error))
        return _answer_body(feed)

    def abandon(self) -> None:
        if self._cancel:
            self._leave()

    def _leave(self) -> None:
        """End an answer that was only wanted by the client that is gone."""
        try:
            question = self.turn.feed().question
            self._live.cancel(tenant_id=self._tenant_id, message_id=question.id)
        except Conflict:
            log.debug("answer_over_before_cancel")
        except Exception as error:
            log.warning("answer_not_cancelled", error=type(error).__name__)


def _event_stream(events: AnswerEvents) -> Response:
    # Passed through: the server finds the events themselves, and writes them without a thread.
    return Response(events, headers=EVENT_STREAM_HEADERS, direct_passthrough=True)


def _answer_body(feed: Feed) -> Response:
    assert feed.answer is not None
    return json_response(
        {
            "user_message": message_body(feed.question),
            "assistant_message": message_body(feed.answer),
        }
    )


def encode_chat_event(event: ChatEvent) -> bytes:
    """An event of a turn as a server-sent event."""
    return encode_event(event.name, _present(event), number=event.number)


def _present(event: ChatEvent) -> dict[str, Any]:
    data = event.data
    match event.name:
        case "retrieval":
            return {"passages": list(data["passages"])}
        case "delta":
            return {"content": data["content"]}
        case "error":
            answer = data["assistant_message"]
            # The same for all who listen, now or later.
            request_id = answer.request_id or str(answer.id)
            problem = errors.describe(errors.stored_error(answer.error), request_id=request_id)
            return problem | {"assistant_message": message_body(answer)}
        case _:
            return {name: message_body(message) for name, message in data.items()}
