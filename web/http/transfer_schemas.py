"""Schemas of a conversation's file, which `export` writes and `import` reads.

A file for an import may omit all fields that are not required; an export writes all fields.
"""

from typing import Any

from marshmallow import Schema, fields, validate

from core.conversations.transfer import FORMAT, VERSION
from core.db.models import MESSAGE_STATUSES, SENDERS
from web.http.fields import (
    MAX_NAME,
    MAX_TITLE,
    JsonObject,
    StrictBoolean,
    StrictInteger,
    StrictUUID,
    Text,
    UtcDateTime,
)
from web.http.passage_schemas import ID, PassageIn
from web.http.schemas import FINISH_REASONS, TIMESTAMP, Feedback, one_of

MAX_MESSAGES = 1_000_000
_UNSIGNED: dict[str, Any] = {"validate": validate.Range(min=0, max=2**31 - 1)}


class FilePassage(PassageIn):
    """A passage in a message. The document's name may have any length, or be empty."""

    document_id = Text(least=0, allow_none=True, metadata=ID)
    filename = Text(least=0, allow_none=True, metadata={"example": "report.pdf"})
    chunk_id = Text(least=0, allow_none=True, metadata=ID)
    page_label = Text(least=0, allow_none=True)


class ContextPassage(FilePassage):
    """A passage in an answer's context, with all fields."""

    index = StrictInteger(required=True, **_UNSIGNED)
    document_id = Text(required=True, least=0, metadata=ID)
    filename = Text(required=True, least=0, metadata={"example": "report.pdf"})
    page_start = StrictInteger(required=True, **_UNSIGNED)
    page_end = StrictInteger(required=True, **_UNSIGNED)
    page_break = StrictInteger(allow_none=True, **_UNSIGNED)
    chunk_id = Text(required=True, least=0, metadata=ID)
    quote = Text(required=True, least=0)
    score = fields.Raw(required=True, metadata={"type": "number"})
    heading = Text(least=0)


class AnswerContext(Schema):
    """The passages given to an answer, for the `retrieval` event of its stream."""

    passages = fields.List(fields.Nested(ContextPassage), required=True)
    model = Text(least=0, allow_none=True)


class FileError(Schema):
    code = Text(required=True, metadata={"example": "provider_timeout"})
    detail = Text(required=True, least=0)


class TurnOptions(Schema):
    """The options of the turn, for `retry` and `regenerate`."""

    use_rag = StrictBoolean()
    top_k = StrictInteger(allow_none=True, validate=validate.Range(min=1, max=50))
    document_ids = fields.List(
        StrictUUID(), allow_none=True, validate=validate.Length(min=1, max=1000)
    )
    memory = fields.String(validate=one_of(("none", "session", "user")))


class FileMessage(Schema):
    id = StrictUUID(metadata=ID)
    position = StrictInteger(
        validate=validate.Range(min=1, max=MAX_MESSAGES),
        metadata={"example": 1, "description": "Its number in `messages`, from 1."},
    )
    sender = fields.String(required=True, validate=one_of(SENDERS))
    content = Text(required=True, least=0, metadata={"example": "How did revenue develop?"})
    context_metadata = JsonObject()
    retrieved_context = fields.List(fields.Nested(FilePassage))
    status = fields.String(validate=one_of(MESSAGE_STATUSES))
    model = Text(least=0, allow_none=True)
    usage = JsonObject(allow_none=True)
    created_at = UtcDateTime(metadata=TIMESTAMP)
    finish_reason = fields.String(allow_none=True, validate=one_of(FINISH_REASONS))
    error = fields.Nested(FileError, allow_none=True)
    feedback = fields.Nested(Feedback, allow_none=True)
    alternatives = fields.List(StrictUUID())
    reply_to = StrictUUID(
        allow_none=True,
        metadata={"description": "For an answer: the `id` of its question, the message before it."},
    )
    answer_context = fields.Nested(AnswerContext, allow_none=True)
    turn_options = fields.Nested(TurnOptions, allow_none=True)


class FileSession(Schema):
    id = StrictUUID(metadata=ID)
    user_id = Text(required=True, most=MAX_NAME, metadata={"example": "alice"})
    title = Text(least=0, most=MAX_TITLE, allow_none=True, metadata={"example": "Annual report"})
    title_is_automatic = StrictBoolean()
    is_favorite = StrictBoolean()
    metadata = JsonObject(metadata={"example": {"channel": "web"}})
    created_at = UtcDateTime(metadata=TIMESTAMP)
    updated_at = UtcDateTime(metadata=TIMESTAMP)
    last_message_at = UtcDateTime(allow_none=True, metadata=TIMESTAMP)


class SessionFile(Schema):
    body_required = True

    format = fields.String(validate=one_of((FORMAT,)), metadata={"example": FORMAT})
    version = StrictInteger(
        validate=validate.Range(min=VERSION, max=VERSION), metadata={"example": VERSION}
    )
    exported_at = UtcDateTime(metadata=TIMESTAMP)
    session = fields.Nested(FileSession, required=True)
    messages = fields.List(fields.Nested(FileMessage), validate=validate.Length(max=MAX_MESSAGES))
    alternatives = fields.List(
        fields.Nested(FileMessage),
        metadata={"example": [], "description": "Other answers to the same questions."},
    )


class ExportQuery(Schema):
    format = fields.String(
        load_default="json",
        validate=one_of(("json", "markdown")),
        metadata={"description": "`json` can be imported; `markdown` is for people."},
    )
