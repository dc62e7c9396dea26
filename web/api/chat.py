"""/sessions/{id}/chat: one turn, as JSON or as server-sent events."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal
from uuid import UUID

from flask import Response, request

from core.conversations.chat import ChatEvent, run_turn
from core.errors import RagError
from web.http import schemas
from web.http.auth import requires
from web.http.context import services, tenant_id
from web.http.errors import describe
from web.http.idempotency import held_claim, idempotent
from web.http.parsing import Blueprint
from web.http.presenters import json_response, message_body
from web.http.request_state import request_state
from web.http.streaming import EVENT_STREAM, Event, event_response, request_slot

blp = Blueprint("chat", __name__, url_prefix="/api/v1", description="Cited answers.")

_ENDINGS: dict[str, Literal["done", "failed"]] = {"message_completed": "done", "error": "failed"}


@blp.route("/sessions/<uuid:session_id>/chat", methods=["POST"])
@requires("chat")
@idempotent(atomic=False)
@blp.arguments(schemas.ChatRequest)
@blp.response(200, schemas.ChatAnswer)
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def chat(body: dict[str, Any], session_id: UUID) -> Response:
    """Ask, and get an answer that cites the passages it rests on.

    With `stream: true` (or `Accept: text/event-stream`) the answer comes as
    server-sent events: `message_created`, `retrieval`, `delta` …, then
    `message_completed` or `error`.
    """
    stream = body.pop("stream") or request.accept_mimetypes.best == EVENT_STREAM
    stopped = threading.Event()
    turn = run_turn(
        services(),
        tenant_id=tenant_id(),
        session_id=session_id,
        claim=held_claim(),
        should_stop=stopped.is_set,
        **body,
    )
    if stream:
        events = _events(turn, request_id=request_state().request_id)
        return event_response(events, stopped=stopped)
    with request_slot():
        return _collect(turn)


def _collect(turn: Iterator[ChatEvent]) -> Response:
    """The turn as one answer; raises what its `error` event holds."""
    answer: dict[str, Any] = {}
    with closing(turn):  # type: ignore[type-var]
        for event in turn:
            if event.name == "message_created":
                answer["user_message"] = message_body(event.data["user_message"])
            elif event.name == "message_completed":
                answer["assistant_message"] = message_body(event.data["assistant_message"])
            elif event.name == "error":
                raise event.data["error"]
    return json_response(answer)


def _events(turn: Iterator[ChatEvent], *, request_id: str) -> Iterator[Event | None]:
    with closing(turn):  # type: ignore[type-var]
        for event in turn:
            yield Event(
                event.name,
                _present(event, request_id=request_id),
                _ENDINGS.get(event.name),
            )


def _present(event: ChatEvent, *, request_id: str) -> dict[str, Any]:
    data = event.data
    match event.name:
        case "retrieval":
            return {"passages": [passage.as_dict() for passage in data["passages"]]}
        case "delta":
            return {"content": data["content"]}
        case "error":
            error: RagError = data["error"]
            failed = message_body(data["assistant_message"])
            return describe(error, request_id=request_id) | {"assistant_message": failed}
        case _:
            return {name: message_body(message) for name, message in data.items()}
