"""/sessions/{id}/chat, and the actions on a turn: stream, cancel, retry, regenerate, edit."""

from functools import partial
from typing import Any
from uuid import UUID

from flask import Response, request

from core.conversations import messages, turns
from core.conversations.chat import turn_options, without_none
from web.http import schemas, turn_schemas
from web.http.answer_streams import answer_turn, follow_answer, live_answers, pop_stream_option
from web.http.auth import requires
from web.http.context import autocommit, tenant_id, transaction
from web.http.idempotency import idempotent
from web.http.parsing import Blueprint
from web.http.presenters import json_response, message_body
from web.http.request_state import request_state
from web.http.streaming import EVENT_STREAM

blp = Blueprint("chat", __name__, url_prefix="/api/v1", description="Cited answers.")


@blp.route("/sessions/<uuid:session_id>/chat", methods=["POST"])
@requires("chat")
@idempotent(atomic=False)
@blp.arguments(turn_schemas.ChatRequest)
@blp.response(200, turn_schemas.ChatAnswer)
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def chat(body: dict[str, Any], session_id: UUID) -> Response:
    """Ask a question, and get an answer that cites passages.

    With `stream: true` (or `Accept: text/event-stream`) the answer comes as
    server-sent events: `message_created`, `retrieval`, `delta` …, then
    `message_completed` or `error`. If the client disconnects, the answer is still written to
    its end; `GET /messages/{id}/stream` continues the stream.
    """
    stream, on_disconnect = pop_stream_option(body), body.pop("on_disconnect")
    message = body.pop("message")
    opening = partial(
        turns.open_turn,
        tenant_id=tenant_id(),
        session_id=session_id,
        message=message,
        options=turn_options(**body, request_id=request_state().request_id),
    )
    return answer_turn(
        session_id=session_id, opening=opening, stream=stream, on_disconnect=on_disconnect
    )


@blp.route("/messages/<uuid:message_id>/stream", methods=["GET"])
@requires("read")
@blp.arguments(turn_schemas.StreamQuery, location="query")
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def stream_answer(query: dict[str, Any], message_id: UUID) -> Response:
    """Get the events of an answer, live or replayed, until the message is deleted.

    `Last-Event-ID` or `starting_after` is the id of the last event that the client has. The ids
    are the same while the answer is written and afterwards. The id of a user's message gives
    the events of its answer. This request generates nothing.
    """
    # A browser that reconnects sends the header, and the URL of its first request.
    last_event_id = request.headers.get("Last-Event-ID") or query.get("starting_after")
    feed = live_answers().follow(tenant_id=tenant_id(), message_id=message_id)
    return follow_answer(feed, last_event_id=last_event_id or None)


@blp.route("/messages/<uuid:message_id>/cancel", methods=["POST"])
@requires("chat", cost="request")
@idempotent(atomic=False)
@blp.response(202, schemas.Message)
def cancel_answer(message_id: UUID) -> Response:
    """Stop an answer that is being written; its text so far is kept.

    Any client can do this. Repeating it gives 202 again. An answer that ended in another way
    gives 409 `message_finished`.
    """
    answer = live_answers().cancel(tenant_id=tenant_id(), message_id=message_id)
    return json_response(message_body(answer), status=202)


@blp.route("/messages/<uuid:message_id>/retry", methods=["POST"])
@requires("chat")
@idempotent(atomic=False)
@blp.arguments(turn_schemas.TurnRequest, required=False)
@blp.response(200, turn_schemas.ChatAnswer)
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def retry_answer(body: dict[str, Any], message_id: UUID) -> Response:
    """Write a failed or interrupted answer again, without repeating the question."""
    return _answer_again(turns.retry_turn, body, message_id)


@blp.route("/messages/<uuid:message_id>/regenerate", methods=["POST"])
@requires("chat")
@idempotent(atomic=False)
@blp.arguments(turn_schemas.TurnRequest, required=False)
@blp.response(200, turn_schemas.ChatAnswer)
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def regenerate_answer(body: dict[str, Any], message_id: UUID) -> Response:
    """Write another answer to the same question; the earlier ones become alternatives."""
    return _answer_again(turns.regenerate_turn, body, message_id)


@blp.route("/messages/<uuid:message_id>", methods=["PUT"])
@requires("chat")
@blp.arguments(turn_schemas.MessageEdit)
@blp.response(200, turn_schemas.ChatAnswer)
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def edit_message(body: dict[str, Any], message_id: UUID) -> Response:
    """Replace the user's last message, and write a new answer to it."""
    return _answer_again(turns.edit_turn, body, message_id)


@blp.route("/messages/<uuid:message_id>/select", methods=["POST"])
@requires("chat", cost="request")
@idempotent(atomic=False)
@blp.response(200, schemas.Message)
def select_answer(message_id: UUID) -> Response:
    """Make an alternative the current answer to its question."""
    with transaction() as db:
        answer = turns.select_answer(db, tenant_id=tenant_id(), message_id=message_id)
    return json_response(message_body(answer))


def _answer_again(begin: Any, body: dict[str, Any], message_id: UUID) -> Response:
    """Begin a turn with `begin`; `body` holds the options that the client changes."""
    stream, on_disconnect = pop_stream_option(body), body.pop("on_disconnect", "continue")
    content = {"content": body.pop("content")} if "content" in body else {}
    with autocommit() as db:
        message = messages.get_message(db, tenant_id=tenant_id(), message_id=message_id)
    if body.get("document_ids") is not None:
        body["document_ids"] = [str(one) for one in body["document_ids"]]
    opening = partial(
        begin,
        tenant_id=tenant_id(),
        message_id=message_id,
        options=without_none(body | {"request_id": request_state().request_id}),
        **content,
    )
    return answer_turn(
        session_id=message.session_id, opening=opening, stream=stream, on_disconnect=on_disconnect
    )
