"""Schemas of requests and responses.

Request schemas validate. Response schemas only describe, for the OpenAPI document;
`web.http.presenters` builds the responses.
"""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from core.access.keys import SCOPES
from core.db.models import DOCUMENT_STATUSES, JOB_STATES, MESSAGE_STATUSES, SENDERS
from core.db.paging import MAX_LIMIT, MAX_SKIP
from web.http.fields import (
    MAX_NAME,
    MAX_QUERY,
    MAX_TITLE,
    JsonObject,
    QueryBoolean,
    QueryInteger,
    StrictBoolean,
    StrictInteger,
    StrictUUID,
    Text,
    UtcDateTime,
)
from web.http.passage_schemas import ID, Passage, PassageIn, StoredPassage

MAX_GRACE_SECONDS = 30 * 86_400
TIMESTAMP = {"example": "2026-03-01T12:00:00.123456Z"}
BINARY = {"type": "string", "format": "binary"}
EVENTS = {"description": "Server-sent events with JSON data."}


def one_of(values: tuple[str, ...]) -> validate.OneOf:
    return validate.OneOf(values)


class Paging(Schema):
    skip = QueryInteger(
        load_default=0,
        validate=validate.Range(min=0, max=MAX_SKIP),
        metadata={"description": "Rows to skip; not together with `cursor`."},
    )
    limit = QueryInteger(load_default=50, validate=validate.Range(min=1, max=MAX_LIMIT))
    cursor = Text(
        most=1000,
        metadata={
            "format": "cursor",
            "description": "`next_cursor` of the previous page, with the same filters.",
        },
    )

    @validates_schema
    def _check_skip_or_cursor(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("cursor") is not None and data.get("skip"):
            raise ValidationError("Give either skip or cursor.", field_name="cursor")


def page_of(schema: type[Schema], name: str) -> type[Schema]:
    """Return the schema of a page whose items are `schema`."""
    members: dict[str, Any] = {
        "items": fields.List(fields.Nested(schema), required=True),
        "total": fields.Integer(required=True, metadata={"example": 1}),
        "skip": fields.Integer(required=True, metadata={"example": 0}),
        "limit": fields.Integer(required=True, metadata={"example": 50}),
        "next_cursor": fields.String(
            required=True, allow_none=True, metadata={"description": "Null on the last page."}
        ),
    }
    return Schema.from_dict(members, name=name)


class Problem(Schema):
    """RFC 9457."""

    type = fields.String(required=True, metadata={"example": "about:blank"})
    title = fields.String(required=True, metadata={"example": "Not Found"})
    status = fields.Integer(required=True, metadata={"example": 404})
    detail = fields.String(required=True, metadata={"example": "There is no such session."})
    code = fields.String(
        required=True,
        metadata={"example": "session_not_found", "description": "Stable, snake_case."},
    )
    request_id = fields.String(required=True, allow_none=True, metadata=ID)
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "For invalid input: maps field paths to messages."},
    )


class Session(Schema):
    id = fields.UUID(required=True, metadata=ID)
    user_id = fields.String(required=True, metadata={"example": "alice"})
    title = fields.String(required=True, allow_none=True, metadata={"example": "Annual report"})
    is_favorite = fields.Boolean(required=True)
    metadata = fields.Dict(required=True, metadata={"example": {"channel": "web"}})
    message_count = fields.Integer(required=True, metadata={"example": 2})
    created_at = fields.DateTime(required=True, metadata=TIMESTAMP)
    updated_at = fields.DateTime(required=True, metadata=TIMESTAMP)
    last_message_at = fields.DateTime(required=True, allow_none=True, metadata=TIMESTAMP)
    active_message_id = fields.UUID(
        required=True,
        allow_none=True,
        metadata={
            "example": None,
            "description": "The answer that is being written; `GET /messages/{id}/stream`"
            " continues it.",
        },
    )


class SessionCreate(Schema):
    user_id = Text(required=True, most=MAX_NAME, metadata={"example": "alice"})
    title = Text(least=0, most=MAX_TITLE, allow_none=True, metadata={"example": "Annual report"})
    metadata = JsonObject(metadata={"example": {"channel": "web"}})


class SessionUpdate(Schema):
    body_required = True  # although no field is required

    title = Text(least=0, most=MAX_TITLE, allow_none=True, metadata={"example": "Renamed"})
    metadata = JsonObject(metadata={"example": {"channel": "web"}})


class SessionQuery(Paging):
    user_id = Text(most=MAX_NAME)
    is_favorite = QueryBoolean()
    q = Text(
        most=MAX_QUERY, metadata={"description": "Words to find in titles; case does not matter."}
    )


class FavoriteUpdate(Schema):
    is_favorite = StrictBoolean(
        metadata={"example": True, "description": "Without it, the mark is toggled."}
    )


FINISH_REASONS = ("stop", "length", "content_filter", "cancelled")


class MessageError(Schema):
    code = fields.String(required=True, metadata={"example": "provider_timeout"})
    detail = fields.String(required=True)


class Feedback(Schema):
    rating = fields.String(required=True, validate=one_of(("up", "down")))
    comment = Text(least=0, allow_none=True, metadata={"example": "Right, with the right page."})


class Message(Schema):
    id = fields.UUID(required=True, metadata=ID)
    session_id = fields.UUID(required=True, metadata=ID)
    position = fields.Integer(required=True, metadata={"example": 2})
    sender = fields.String(
        required=True, validate=one_of(SENDERS), metadata={"example": "assistant"}
    )
    content = fields.String(required=True, metadata={"example": "Revenue grew by 12 % [1]."})
    context_metadata = fields.Dict(required=True)
    retrieved_context = fields.List(fields.Nested(StoredPassage), required=True)
    status = fields.String(
        required=True, validate=one_of(MESSAGE_STATUSES), metadata={"example": "complete"}
    )
    model = fields.String(required=True, allow_none=True, metadata={"example": "extractive"})
    usage = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"example": {"prompt_tokens": 900, "completion_tokens": 40}},
    )
    created_at = fields.DateTime(required=True, metadata=TIMESTAMP)
    finish_reason = fields.String(
        required=True,
        allow_none=True,
        validate=one_of(FINISH_REASONS),
        metadata={"example": "stop"},
    )
    error = fields.Nested(
        MessageError,
        required=True,
        allow_none=True,
        metadata={"example": None, "description": "Why an answer failed or was interrupted."},
    )
    feedback = fields.Nested(Feedback, required=True, allow_none=True, metadata={"example": None})
    alternatives = fields.List(
        fields.UUID(),
        required=True,
        metadata={"example": [], "description": "Other answers to the same question."},
    )


class MessageCreate(Schema):
    sender = fields.String(required=True, validate=one_of(SENDERS))
    content = Text(required=True, metadata={"example": "How did revenue develop?"})
    context_metadata = JsonObject()
    retrieved_context = fields.List(fields.Nested(PassageIn), validate=validate.Length(max=1000))


class MessageQuery(Paging):
    order = fields.String(load_default="asc", validate=one_of(("asc", "desc")))
    sender = fields.String(validate=one_of(SENDERS))


class MessageSearchQuery(Paging):
    q = Text(required=True, most=MAX_QUERY, metadata={"example": "revenue"})
    user_id = Text(most=MAX_NAME)


class MessageHit(Schema):
    message = fields.Nested(Message, required=True)
    session_id = fields.UUID(required=True, metadata=ID)
    snippet = fields.String(required=True, metadata={"example": "How did revenue develop?"})


class Key(Schema):
    id = fields.UUID(required=True, metadata=ID)
    tenant = fields.String(required=True, metadata={"example": "default"})
    name = fields.String(required=True, metadata={"example": "mobile app"})
    prefix = fields.String(required=True, metadata={"example": "rcs_0f1e2d3c4b5a"})
    scopes = fields.List(fields.String(validate=one_of(SCOPES)), required=True)
    rate_limit_per_minute = fields.Integer(required=True, allow_none=True)
    created_at = fields.DateTime(required=True, metadata=TIMESTAMP)
    expires_at = fields.DateTime(required=True, allow_none=True, metadata=TIMESTAMP)
    last_used_at = fields.DateTime(required=True, allow_none=True, metadata=TIMESTAMP)


class NewKey(Key):
    key = fields.String(
        required=True,
        metadata={
            "example": "rcs_0f1e2d3c4b5a_" + "x" * 43,
            "description": "The key itself; only this response contains it.",
        },
    )


class KeyCreate(Schema):
    name = Text(required=True, most=MAX_NAME, metadata={"example": "mobile app"})
    scopes = fields.List(
        fields.String(validate=one_of(SCOPES)),
        required=True,
        validate=validate.Length(min=1, max=len(SCOPES)),
        metadata={"example": ["read", "write", "chat"]},
    )
    tenant = Text(
        most=100,
        validate=validate.Regexp(r"^[A-Za-z0-9._-]+\Z"),
        metadata={
            "example": "default",
            "pattern": "^[A-Za-z0-9._-]+$",
            "description": "Default: the caller's tenant. Only the first key may name another.",
        },
    )
    expires_at = UtcDateTime(allow_none=True, metadata={"example": "2027-01-01T00:00:00Z"})
    rate_limit_per_minute = StrictInteger(
        allow_none=True, validate=validate.Range(min=1, max=1_000_000)
    )


class KeyRotate(Schema):
    grace_seconds = StrictInteger(
        load_default=3600,
        validate=validate.Range(min=0, max=MAX_GRACE_SECONDS),
        metadata={"example": 600, "description": "How long the old key still works."},
    )


class Progress(Schema):
    stage = fields.String(required=True, metadata={"example": "embedding"})
    pages_total = fields.Integer(required=True, allow_none=True, metadata={"example": 40})
    pages_done = fields.Integer(required=True, metadata={"example": 16})
    chunks_done = fields.Integer(required=True, metadata={"example": 70})
    percent = fields.Integer(required=True, metadata={"example": 40})
    eta_seconds = fields.Integer(required=True, allow_none=True, metadata={"example": 3})


class JobError(Schema):
    code = fields.String(required=True, metadata={"example": "pdf_no_text"})
    detail = fields.String(required=True)


class Job(Schema):
    id = fields.UUID(required=True, metadata=ID)
    type = fields.String(required=True, metadata={"example": "ingest"})
    document_id = fields.UUID(required=True, allow_none=True, metadata=ID)
    state = fields.String(required=True, validate=one_of(JOB_STATES))
    progress = fields.Nested(Progress, required=True)
    attempts = fields.Integer(required=True, metadata={"example": 1})
    error = fields.Nested(JobError, required=True, allow_none=True)
    result = fields.Dict(required=True, allow_none=True)
    created_at = fields.DateTime(required=True, metadata=TIMESTAMP)
    started_at = fields.DateTime(required=True, allow_none=True, metadata=TIMESTAMP)
    finished_at = fields.DateTime(required=True, allow_none=True, metadata=TIMESTAMP)
    updated_at = fields.DateTime(required=True, metadata=TIMESTAMP)


class JobQuery(Paging):
    state = fields.String(validate=one_of(JOB_STATES))
    document_id = StrictUUID()


class DocumentNote(Schema):
    """Tells about content of the PDF that is not searchable."""

    code = fields.String(required=True, metadata={"example": "attachments_not_read"})
    detail = fields.String(
        required=True, metadata={"example": "2 attached files were not read: a.csv, b.csv."}
    )
    pages = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "Empty for a note about the whole document."},
    )


class Document(Schema):
    id = fields.UUID(required=True, metadata=ID)
    user_id = fields.String(required=True, allow_none=True, metadata={"example": "alice"})
    session_id = fields.UUID(required=True, allow_none=True, metadata=ID)
    filename = fields.String(required=True, metadata={"example": "report.pdf"})
    sha256 = fields.String(required=True, metadata={"example": "9f86d081884c7d65" * 4})
    size_bytes = fields.Integer(required=True, metadata={"example": 120000})
    page_count = fields.Integer(required=True, allow_none=True, metadata={"example": 40})
    chunk_count = fields.Integer(required=True, metadata={"example": 170})
    status = fields.String(required=True, validate=one_of(DOCUMENT_STATUSES))
    metadata = fields.Dict(required=True)
    pages_without_text = fields.List(
        fields.Integer(), metadata={"description": "Pages without text, such as scans."}
    )
    pages_unreadable = fields.List(
        fields.Integer(),
        metadata={"description": "Pages whose fonts have no mapping to characters."},
    )
    pages_ocr = fields.List(fields.Integer(), metadata={"description": "Pages read by OCR."})
    notes = fields.List(fields.Nested(DocumentNote))
    created_at = fields.DateTime(required=True, metadata=TIMESTAMP)
    updated_at = fields.DateTime(required=True, metadata=TIMESTAMP)
    job_id = fields.UUID(required=True, allow_none=True, metadata=ID)
    job = fields.Nested(
        Job, allow_none=True, metadata={"description": "With `include=job` and in events."}
    )


class DocumentFilter(Schema):
    user_id = Text(most=MAX_NAME)
    session_id = StrictUUID()


class DocumentQuery(Paging, DocumentFilter):
    status = fields.String(validate=one_of(DOCUMENT_STATUSES))
    include = fields.String(
        validate=one_of(("job",)),
        metadata={"description": "`job` adds each document's `job` with its progress."},
    )


class UploadFields(Schema):
    """The form's fields other than `file`."""

    user_id = Text(most=MAX_NAME, metadata={"example": "alice"})
    session_id = StrictUUID()
    metadata = JsonObject()


class AcceptedUpload(Schema):
    document = fields.Nested(Document, required=True)
    job = fields.Nested(Job, required=True)
    duplicate = fields.Boolean(metadata={"description": "Present and true with 200."})


class Chunk(Schema):
    id = fields.UUID(required=True, metadata=ID)
    position = fields.Integer(required=True, metadata={"example": 1})
    page_start = fields.Integer(required=True, metadata={"example": 1})
    page_end = fields.Integer(required=True, metadata={"example": 1})
    text = fields.String(required=True, metadata={"example": "Revenue grew by 12 %."})


class PageImageQuery(Schema):
    highlight = Text(most=500, metadata={"description": "Text to mark on the page."})


class SearchRequest(Schema):
    query = Text(required=True, most=10_000, metadata={"example": "How did revenue develop?"})
    user_id = Text(most=MAX_NAME, allow_none=True)
    session_id = StrictUUID(allow_none=True)
    document_ids = fields.List(
        StrictUUID(), allow_none=True, validate=validate.Length(min=1, max=1000)
    )
    top_k = StrictInteger(load_default=5, validate=validate.Range(min=1, max=50))
    mode = fields.String(load_default="hybrid", validate=one_of(("hybrid", "vector", "text")))


class SearchResult(Schema):
    items = fields.List(fields.Nested(Passage), required=True)
