"""/sessions."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flask import Response

from core.conversations import sessions, transfer
from core.documents import uploads
from web.http import schemas, transfer_schemas
from web.http.auth import requires
from web.http.context import autocommit, services, tenant_id, transaction
from web.http.idempotency import idempotent, store_response
from web.http.parsing import Blueprint, take_page
from web.http.presenters import json_response, no_content, page_body, session_body
from web.http.streaming import download_response
from web.http.uploads import accepts_large_json

MARKDOWN = "text/markdown; charset=utf-8"
_FILES = {"json": ("json", "application/json"), "markdown": ("md", MARKDOWN)}

blp = Blueprint("sessions", __name__, url_prefix="/api/v1", description="Conversations.")


@blp.route("/sessions", methods=["POST"])
@requires("write")
@idempotent(atomic=True)
@blp.arguments(schemas.SessionCreate)
@blp.response(201, schemas.Session)
def create_session(body: dict[str, Any]) -> Response:
    """Create a conversation."""
    with transaction() as db:
        session = sessions.create_session(db, tenant_id=tenant_id(), **body)
        headers = {"Location": f"/api/v1/sessions/{session.id}"}
        return store_response(db, json_response(session_body(session), status=201, headers=headers))


@blp.route("/sessions", methods=["GET"])
@requires("read")
@blp.arguments(schemas.SessionQuery, location="query")
@blp.response(200, schemas.page_of(schemas.Session, "SessionPage"))
def list_sessions(query: dict[str, Any]) -> Response:
    """List conversations, most recently active first."""
    page = take_page(query)
    with transaction() as db:
        found = sessions.list_sessions(db, tenant_id=tenant_id(), page=page, **query)
    return json_response(page_body(found, session_body))


@blp.route("/sessions/<uuid:session_id>", methods=["GET"])
@requires("read")
@blp.response(200, schemas.Session)
def get_session(session_id: UUID) -> Response:
    """Get a conversation."""
    with autocommit() as db:
        session = sessions.get_session(db, tenant_id=tenant_id(), session_id=session_id)
    return json_response(session_body(session))


@blp.route("/sessions/<uuid:session_id>", methods=["PUT"])
@requires("write")
@blp.arguments(schemas.SessionUpdate)
@blp.response(200, schemas.Session)
def update_session(body: dict[str, Any], session_id: UUID) -> Response:
    """Change title or metadata. Omitted fields stay as they are."""
    with transaction() as db:
        session = sessions.update_session(db, tenant_id=tenant_id(), session_id=session_id, **body)
    return json_response(session_body(session))


@blp.route("/sessions/<uuid:session_id>/favorite", methods=["PATCH"])
@requires("write")
@blp.arguments(schemas.FavoriteUpdate, required=False)
@blp.response(200, schemas.Session)
def set_favorite(body: dict[str, Any], session_id: UUID) -> Response:
    """Set the favourite mark, or toggle it if there is no body."""
    with transaction() as db:
        session = sessions.set_favorite(db, tenant_id=tenant_id(), session_id=session_id, **body)
    return json_response(session_body(session))


@blp.route("/sessions/<uuid:session_id>", methods=["DELETE"])
@requires("write")
@blp.response(204)
def delete_session(session_id: UUID) -> Response:
    """Delete a conversation, its messages, and the documents attached to it."""
    uploads.delete_session(services(), tenant_id=tenant_id(), session_id=session_id)
    return no_content()


@blp.route("/sessions/<uuid:session_id>/export", methods=["GET"])
@requires("read")
@blp.arguments(transfer_schemas.ExportQuery, location="query")
@blp.response(200, transfer_schemas.SessionFile)
@blp.response(200, schemas.BINARY, content_type=MARKDOWN)
def export_session(query: dict[str, Any], session_id: UUID) -> Response:
    """Export a conversation: messages, contexts, alternatives and feedback.

    A JSON file can be imported into any installation; a Markdown file is for people.
    """
    format_ = query["format"]
    blocks = transfer.export_session(
        services(),
        tenant_id=tenant_id(),
        session_id=session_id,
        format_=format_,
        now=datetime.now(UTC),
    )
    ending, content_type = _FILES[format_]
    return download_response(
        blocks, content_type=content_type, filename=f"session-{session_id}.{ending}"
    )


@blp.route("/sessions/import", methods=["POST"])
@requires("write")
@accepts_large_json
@idempotent(atomic=True)
@blp.arguments(transfer_schemas.SessionFile)
@blp.response(201, schemas.Session)
def import_session(body: dict[str, Any]) -> Response:
    """Import a conversation from a JSON export, under new ids.

    An export of the new conversation equals the file, except for ids and `exported_at`. An
    answer that was being written at the time of the export becomes interrupted. A file may be
    as large as an upload.
    """
    with transaction() as db:
        session = transfer.import_session(db, tenant_id=tenant_id(), file=body)
        headers = {"Location": f"/api/v1/sessions/{session.id}"}
        return store_response(db, json_response(session_body(session), status=201, headers=headers))
