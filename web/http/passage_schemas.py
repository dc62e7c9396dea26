"""Schemas of passages: in search results, in requests, and in stored messages."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from core.db.paging import MAX_SKIP
from web.http.fields import MAX_NAME, MAX_TITLE, StrictInteger, Text

ID = {"example": "0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"}
PAGE_LABEL = {
    "example": "iii",
    "description": "The number printed on page `page_start`, by the PDF's page labels.",
}


class Quote(Schema):
    quote = fields.String(required=True, metadata={"example": "Revenue grew by 12 %."})
    page = fields.Integer(required=True, metadata={"example": 3})


QUOTES = {
    "description": "The words that support each statement of the answer which cites the passage."
}


class Passage(Schema):
    index = fields.Integer(metadata={"example": 1})
    document_id = fields.String(metadata=ID)
    filename = fields.String(metadata={"example": "report.pdf"})
    page_start = fields.Integer(metadata={"example": 3})
    page_end = fields.Integer(metadata={"example": 3})
    page_label = fields.String(allow_none=True, metadata=PAGE_LABEL)
    chunk_id = fields.String(metadata=ID)
    text = fields.String(required=True, metadata={"example": "Revenue grew by 12 %."})
    quote = fields.String(metadata={"example": "Revenue grew by 12 %."})
    quotes = fields.List(fields.Nested(Quote), metadata=QUOTES)
    score = fields.Float(metadata={"example": 0.71})


class QuoteIn(Schema):
    quote = Text(required=True, least=0)
    page = StrictInteger(required=True, validate=validate.Range(min=0, max=MAX_SKIP))


class PassageIn(Schema):
    """A passage from a client's own retrieval; only `text` is required."""

    index = StrictInteger(allow_none=True, validate=validate.Range(min=0, max=MAX_SKIP))
    document_id = Text(most=MAX_NAME, allow_none=True)
    filename = Text(most=MAX_TITLE, allow_none=True)
    page_start = StrictInteger(allow_none=True, validate=validate.Range(min=0, max=MAX_SKIP))
    page_end = StrictInteger(allow_none=True, validate=validate.Range(min=0, max=MAX_SKIP))
    page_label = Text(least=0, most=MAX_NAME, allow_none=True)
    chunk_id = Text(most=MAX_NAME, allow_none=True)
    text = Text(required=True, least=0)
    quote = Text(least=0, allow_none=True)
    quotes = fields.List(fields.Nested(QuoteIn), validate=validate.Length(max=1000))
    score = fields.Raw(allow_none=True, metadata={"type": "number"})

    @validates_schema
    def _score_is_number(self, data: dict[str, Any], **_: Any) -> None:
        if type(data.get("score", 0.0)) not in (int, float, type(None)):
            raise ValidationError("Not a valid number.", field_name="score")


class StoredPassage(Schema):
    """A stored passage. A passage from a client may lack some members."""

    index = fields.Integer(allow_none=True, metadata={"example": 1})
    document_id = fields.String(allow_none=True, metadata=ID)
    filename = fields.String(allow_none=True, metadata={"example": "report.pdf"})
    page_start = fields.Integer(allow_none=True, metadata={"example": 3})
    page_end = fields.Integer(allow_none=True, metadata={"example": 3})
    page_label = fields.String(allow_none=True, metadata=PAGE_LABEL)
    chunk_id = fields.String(allow_none=True, metadata=ID)
    text = fields.String(required=True, metadata={"example": "Revenue grew by 12 %."})
    quote = fields.String(allow_none=True, metadata={"example": "Revenue grew by 12 %."})
    quotes = fields.List(fields.Nested(Quote), metadata=QUOTES)
    score = fields.Float(allow_none=True, metadata={"example": 0.71})
