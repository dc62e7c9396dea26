"""Turns database rows into the JSON of the API.

These are plain functions, because marshmallow takes longer for a page of fifty messages than
the database.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson
from flask import Response
from werkzeug.datastructures import Headers

from core.access.keys import NewKey
from core.conversations.messages import ListedMessage, MessageHit, MessageRecord
from core.db.models import ApiKey, ChatSession, Document, Job
from core.db.paging import Page
from core.documents.jobs import progress_of
from core.documents.records import ChunkView
from core.documents.uploads import Accepted
from core.documents.watching import DocumentWithJob

T = TypeVar("T")


def rfc3339(value: datetime | None) -> str | None:
    """Format a time by RFC 3339, with Z. `value` must be in UTC, like times from the database."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def to_json(body: Any) -> bytes:
    """Return compact JSON in UTF-8. `body` may contain UUIDs and times in UTC."""
    try:
        return orjson.dumps(body, option=orjson.OPT_UTC_Z)
    except TypeError:  # an integer of more than 64 bits, which a client's metadata may contain
        return json.dumps(
            body, ensure_ascii=False, separators=(",", ":"), default=_as_text
        ).encode()


def _as_text(value: Any) -> str | None:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


class _JsonResponse(Response):
    """A response whose headers are final, so Werkzeug need not copy and complete them."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        return self.headers


def json_response(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    data = to_json(body)
    length = {"Content-Length": str(len(data))}
    return _JsonResponse(
        data, status, {**length, **(headers or {})}, content_type="application/json"
    )


def no_content() -> Response:
    """204."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def page_body(page: Page[T], present: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    return {
        "items": [present(item) for item in page.items],
        "total": page.total,
        "skip": page.skip,
        "limit": page.limit,
        "next_cursor": page.next_cursor,
    }


def session_body(session: ChatSession) -> dict[str, Any]:
    return {
        "id": str(session.id),
        "user_id": session.user_id,
        "title": session.title,
        "is_favorite": session.is_favorite,
        "metadata": session.meta,
        "message_count": session.message_count,
        "created_at": rfc3339(session.created_at),
        "updated_at": rfc3339(session.updated_at),
        "last_message_at": rfc3339(session.last_message_at),
        "active_message_id": _text(session.active_message_id),
    }


def message_body(message: MessageRecord | ListedMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "session_id": message.session_id,
        "position": message.position,
        "sender": message.sender,
        "content": message.content,
        "context_metadata": message.context_metadata,
        "retrieved_context": message.retrieved_context,
        "status": message.status,
        "model": message.model,
        "usage": message.usage,
        "created_at": message.created_at,
        "finish_reason": message.finish_reason,
        "error": message.error,
        "feedback": message.feedback,
        "alternatives": message.alternatives,
    }


def hit_body(hit: MessageHit) -> dict[str, Any]:
    return {
        "message": message_body(hit.message),
        "session_id": hit.message.session_id,
        "snippet": hit.snippet,
    }


def key_body(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "tenant": key.tenant_id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "rate_limit_per_minute": key.rate_limit_per_minute,
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "last_used_at": rfc3339(key.last_used_at),
    }


def new_key_body(made: NewKey) -> dict[str, Any]:
    return key_body(made.key) | {"key": made.secret}


def document_body(document: Document) -> dict[str, Any]:
    return {
        "id": str(document.id),
        "user_id": document.user_id,
        "session_id": _text(document.session_id),
        "filename": document.filename,
        "sha256": document.sha256,
        "size_bytes": document.size_bytes,
        "page_count": document.page_count,
        "chunk_count": document.chunk_count,
        "status": document.status,
        "metadata": document.meta,
        "pages_without_text": document.pages_without_text,
        "pages_unreadable": document.pages_unreadable,
        "pages_ocr": document.pages_ocr,
        "notes": document.notes,
        "created_at": rfc3339(document.created_at),
        "updated_at": rfc3339(document.updated_at),
        "job_id": _text(document.job_id),
    }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def job_body(job: Job) -> dict[str, Any]:
    error = {"code": job.error_code, "detail": job.error_detail or ""}
    return {
        "id": str(job.id),
        "type": job.type,
        "document_id": _text(job.document_id),
        "state": job.state,
        "progress": progress_of(job, now=datetime.now(UTC)),
        "attempts": job.attempts,
        "error": error if job.error_code else None,
        "result": job.result,
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
        "updated_at": rfc3339(job.updated_at),
    }


def document_with_job_body(found: DocumentWithJob) -> dict[str, Any]:
    job = None if found.job is None else job_body(found.job)
    return document_body(found.document) | {"job": job}


def accepted_body(accepted: Accepted) -> dict[str, Any]:
    return {"document": document_body(accepted.document), "job": job_body(accepted.job)}


def chunk_body(chunk: ChunkView) -> dict[str, Any]:
    return {
        "id": str(chunk.id),
        "position": chunk.position,
        "page_start": chunk.page_start,
        "page_end": chunk.page_end,
        "text": chunk.text,
    }
