"""Schemas of chat turns: bodies and query strings."""

from marshmallow import Schema, fields, validate

from web.http.fields import StrictBoolean, StrictInteger, StrictUUID, Text
from web.http.schemas import Message, one_of


class ChatRequest(Schema):
    message = Text(required=True, metadata={"example": "How did revenue develop?"})
    use_rag = StrictBoolean(load_default=True)
    stream = StrictBoolean(load_default=False)
    top_k = StrictInteger(
        load_default=None, allow_none=True, validate=validate.Range(min=1, max=50)
    )
    document_ids = fields.List(
        StrictUUID(),
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1, max=1000),
    )
    memory = fields.String(load_default="session", validate=one_of(("none", "session", "user")))
    on_disconnect = fields.String(
        load_default="continue",
        validate=one_of(("continue", "cancel")),
        metadata={"description": "What happens to the answer when the client disconnects."},
    )


class TurnRequest(Schema):
    """Options for a new answer. Omitted options are those of the earlier answer."""

    use_rag = StrictBoolean(load_default=None, allow_none=True)
    stream = StrictBoolean(load_default=False)
    top_k = StrictInteger(
        load_default=None, allow_none=True, validate=validate.Range(min=1, max=50)
    )
    document_ids = fields.List(
        StrictUUID(),
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1, max=1000),
    )
    memory = fields.String(
        load_default=None, allow_none=True, validate=one_of(("none", "session", "user"))
    )
    on_disconnect = fields.String(load_default="continue", validate=one_of(("continue", "cancel")))


class MessageEdit(TurnRequest):
    content = Text(required=True, metadata={"example": "How did revenue develop in 2023?"})


class StreamQuery(Schema):
    starting_after = Text(
        metadata={
            "example": "3",
            "description": "Like `Last-Event-ID`, for clients that cannot set headers:"
            " the id of the last event that the client has.",
        }
    )


class ChatAnswer(Schema):
    user_message = fields.Nested(Message, required=True)
    assistant_message = fields.Nested(Message, required=True)
