"""The responses of turns: an answer as JSON, or its feed as server-sent events."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

from flask import Response, current_app, request

from core.access.idempotency import StoredResponse
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


def pop_stream_option(body: dict[str, Any]) -> bool:
    """Remove `stream` from the body, and return whether the client wants events."""
    return bool(body.pop("stream", False)) or request.accept_mimetypes.best == EVENT_STREAM


def answer_turn(
    *, session_id: Any, opening: Opening, stream: bool, on_disconnect: str
) -> DeferredResponse:
    """Begin a turn. Its response is the answer as JSON, or the events of its feed."""
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
    """Return the events of a feed after the client's last event. Raises Invalid."""
    return DeferredResponse(_PendingFeed(feed, position=feed.position_after(last_event_id)))


class AnswerEvents:
    """The body of a feed's event stream. It can be read without blocking, or iterated.

    `on_leave` is called once if the client disconnects before the last event. The last event is
    held back until `may_end()`, so that the response is first stored under the idempotency key.
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
        """Return the encoded events that can be sent now."""
        if self.is_over:
            return []
        try:
            events = self._feed.read(self._position)
        except RagError as error:
            self.is_over = True
            data = errors.describe(error, request_id=self._request_id)
            return [encode_event("error", data, number=self._position + 1)]
        # A client that reconnects after the last event gets an empty stream.
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
        """Wake the reader, because the last event may be sent now."""
        if self._wake is not None:
            self._wake()

    def __iter__(self) -> Iterator[bytes]:
        """Yield events, and heartbeats between them, for a server that blocks."""
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
    """The pending response of a stream whose feed exists already."""

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
        """Do nothing: the answer does not depend on this client."""


class _PendingTurn:
    """The pending response of a request that began a turn."""

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
        """Call `callback` once the turn is opened (stream) or its answer is stored (JSON)."""
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
        """Store the response under the idempotency key, then let it be sent.

        The turn's thread calls this when the end of the answer is stored.
        """
        try:
            if self._ticket is not None:
                self._ticket.settle(self._response_to_store(feed))
        finally:
            with self._over:
                self._is_over = True
                self._over.notify_all()
                callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()
            if self._events is not None:
                self._events.wake()

    def _response_to_store(self, feed: Feed) -> StoredResponse | None:
        """Return the response to store under the key; None, for a failed answer, stores nothing."""
        if feed.answer is None or feed.answer.error is not None:
            return None
        if not self._stream:
            return idempotency.stored_response(_answer_body(feed))
        events = [encode_chat_event(event) for event in feed.read(0)]
        return StoredResponse(200, EVENT_STREAM_HEADERS, b"".join(events))

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
        """Cancel the answer after its client disconnected, as the client had asked."""
        try:
            question = self.turn.feed().question
            self._live.cancel(tenant_id=self._tenant_id, message_id=question.id)
        except Conflict:
            log.debug("answer_over_before_cancel")
        except Exception as error:
            log.warning("answer_not_cancelled", error=type(error).__name__)


def _event_stream(events: AnswerEvents) -> Response:
    # With `direct_passthrough` the server gets `events` itself and can write it without a thread.
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
    """Encode an event of a turn as a server-sent event."""
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
            # The id of the answer's request, so that all listeners get the same event.
            request_id = answer.request_id or str(answer.id)
            problem = errors.describe(errors.stored_error(answer.error), request_id=request_id)
            return problem | {"assistant_message": message_body(answer)}
        case _:
            return {name: message_body(message) for name, message in data.items()}
