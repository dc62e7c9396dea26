"""Rows as the contract's JSON. Plain functions: a page of fifty messages passes here."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from flask import Response

from core.keys import NewKey
from core.messages import MessageHit, MessageRecord
from core.models import ApiKey, ChatSession
from core.paging import Page

T = TypeVar("T")


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, ending in Z. The database's time zone is UTC."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def json_response(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status=status, mimetype="application/json", headers=headers)


def no_content() -> Response:
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
        "created_at": moment(session.created_at),
        "updated_at": moment(session.updated_at),
        "last_message_at": moment(session.last_message_at),
    }


def message_body(message: MessageRecord) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "session_id": str(message.session_id),
        "position": message.position,
        "sender": message.sender,
        "content": message.content,
        "context_metadata": message.context_metadata,
        "retrieved_context": message.retrieved_context,
        "status": message.status,
        "model": message.model,
        "usage": message.usage,
        "created_at": moment(message.created_at),
    }


def hit_body(hit: MessageHit) -> dict[str, Any]:
    return {
        "message": message_body(hit.message),
        "session_id": str(hit.message.session_id),
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
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "last_used_at": moment(key.last_used_at),
    }


def new_key_body(made: NewKey) -> dict[str, Any]:
    return key_body(made.key) | {"key": made.secret}
