"""/messages and /sessions/{id}/messages."""

from typing import Any, cast
from uuid import UUID

from flask import Response
from sqlalchemy.orm import Session

from core.conversations import message_index, messages
from web.http import schemas
from web.http.auth import requires
from web.http.context import autocommit, services, tenant_id, transaction
from web.http.idempotency import idempotent, store_response
from web.http.parsing import Blueprint, take_page
from web.http.presenters import hit_body, json_response, message_body, no_content, page_body

blp = Blueprint("messages", __name__, url_prefix="/api/v1", description="Messages.")


@blp.route("/sessions/<uuid:session_id>/messages", methods=["POST"])
@requires("write")
@idempotent(atomic=True)
@blp.arguments(schemas.MessageCreate)
@blp.response(201, schemas.Message)
def append_message(body: dict[str, Any], session_id: UUID) -> Response:
    """Append a message. Positions are 1, 2, 3 … without gaps, also with concurrent appends."""
    with autocommit() as db:
        message = messages.append_message(db, tenant_id=tenant_id(), session_id=session_id, **body)
        headers = {"Location": f"/api/v1/messages/{message.id}"}
        # `db` is a Session if there is a response to store.
        return store_response(
            cast(Session, db), json_response(message_body(message), status=201, headers=headers)
        )


@blp.route("/sessions/<uuid:session_id>/messages", methods=["GET"])
@requires("read")
@blp.arguments(schemas.MessageQuery, location="query")
@blp.response(200, schemas.page_of(schemas.Message, "MessagePage"))
def list_messages(query: dict[str, Any], session_id: UUID) -> Response:
    """List a conversation's messages by position."""
    page = take_page(query)
    with autocommit() as db:
        found = messages.list_messages(
            db, tenant_id=tenant_id(), session_id=session_id, page=page, **query
        )
    return json_response(page_body(found, message_body))


@blp.route("/messages/search", methods=["GET"])
@requires("read")
@blp.arguments(schemas.MessageSearchQuery, location="query")
@blp.response(200, schemas.page_of(schemas.MessageHit, "MessageHitPage"))
def search_messages(query: dict[str, Any]) -> Response:
    """Search messages by their words, best first.

    A message matches if it contains any of the words; the last word may be a prefix. It must
    contain each `"a phrase"` literally, and must not contain `-word`.
    """
    page = take_page(query)
    message_index.index_new_messages(services().database, tenant_id=tenant_id())
    with autocommit() as db:
        found = messages.search_messages(db, tenant_id=tenant_id(), page=page, **query)
    return json_response(page_body(found, hit_body))


@blp.route("/messages/<uuid:message_id>", methods=["GET"])
@requires("read")
@blp.response(200, schemas.Message)
def get_message(message_id: UUID) -> Response:
    """Get a message."""
    with autocommit() as db:
        message = messages.get_message(db, tenant_id=tenant_id(), message_id=message_id)
    return json_response(message_body(message))


@blp.route("/messages/<uuid:message_id>/feedback", methods=["PUT"])
@requires("write")
@blp.arguments(schemas.Feedback)
@blp.response(200, schemas.Message)
def rate_message(body: dict[str, Any], message_id: UUID) -> Response:
    """Rate an answer up or down. This replaces an earlier rating."""
    feedback = {"rating": body["rating"], "comment": body.get("comment")}
    with transaction() as db:
        message = messages.set_feedback(
            db, tenant_id=tenant_id(), message_id=message_id, feedback=feedback
        )
    return json_response(message_body(message))


@blp.route("/messages/<uuid:message_id>/feedback", methods=["DELETE"])
@requires("write")
@blp.response(204)
def unrate_message(message_id: UUID) -> Response:
    """Remove the rating of an answer."""
    with transaction() as db:
        messages.set_feedback(db, tenant_id=tenant_id(), message_id=message_id, feedback=None)
    return no_content()
