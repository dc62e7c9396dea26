"""/messages/{id}/trace."""

from uuid import UUID

from flask import Response
from marshmallow import Schema, fields

from core.conversations import trace as traces
from web.http.auth import requires
from web.http.context import tenant_id, transaction
from web.http.parsing import Blueprint
from web.http.passage_schemas import ID, PAGE_LABEL, Passage
from web.http.presenters import json_response

blp = Blueprint("traces", __name__, url_prefix="/api/v1", description="How answers were made.")

_RANK = {"example": 1, "description": "From 1; null if this search did not find it."}
_MILLISECONDS = {"example": 4.2, "description": "Null if the stage did not run."}


class TraceCandidate(Schema):
    chunk_id = fields.String(required=True, metadata=ID)
    document_id = fields.String(required=True, metadata=ID)
    filename = fields.String(required=True, metadata={"example": "report.pdf"})
    page_start = fields.Integer(required=True, metadata={"example": 3})
    page_end = fields.Integer(required=True, metadata={"example": 3})
    page_label = fields.String(allow_none=True, metadata=PAGE_LABEL)
    vector_rank = fields.Integer(required=True, allow_none=True, metadata=_RANK)
    vector_score = fields.Float(required=True, allow_none=True, metadata={"example": 0.63})
    text_rank = fields.Integer(required=True, allow_none=True, metadata=_RANK)
    text_score = fields.Float(required=True, allow_none=True, metadata={"example": 11.4})
    score = fields.Float(required=True, metadata={"example": 0.71})
    in_prompt = fields.Boolean(required=True)


class TraceMemory(Schema):
    message_id = fields.UUID(required=True, metadata=ID)
    similarity = fields.Float(required=True, metadata={"example": 0.69})


class TraceClaim(Schema):
    kind = fields.String(required=True, metadata={"example": "figure"})
    text = fields.String(required=True, metadata={"example": "34,229 million"})
    supported = fields.Boolean(
        required=True, metadata={"description": "Whether a cited passage contains it."}
    )


class TraceStatement(Schema):
    text = fields.String(required=True, metadata={"example": "Net sales, 2022: $34,229 million."})
    passages = fields.List(
        fields.Integer(),
        required=True,
        metadata={"example": [1], "description": "The passages it was checked against."},
    )
    supported = fields.Boolean(required=True)
    claims = fields.List(fields.Nested(TraceClaim), required=True)


class TraceSupport(Schema):
    share = fields.Float(
        required=True,
        allow_none=True,
        metadata={
            "example": 1.0,
            "description": "The share of the answer's figures, names and dates that its "
            "cited passages contain; null if it has none.",
        },
    )
    statements = fields.List(fields.Nested(TraceStatement), required=True)


class TraceTimings(Schema):
    embed = fields.Float(required=True, allow_none=True, metadata=_MILLISECONDS)
    search = fields.Float(required=True, allow_none=True, metadata=_MILLISECONDS)
    recall = fields.Float(required=True, allow_none=True, metadata=_MILLISECONDS)
    prompt = fields.Float(required=True, allow_none=True, metadata=_MILLISECONDS)
    first_token = fields.Float(required=True, allow_none=True, metadata=_MILLISECONDS)
    generate = fields.Float(required=True, allow_none=True, metadata=_MILLISECONDS)
    total = fields.Float(required=True, metadata={"example": 61.0})


class Trace(Schema):
    query = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "example": "How did revenue develop in 2023?",
            "description": "The search query: the message, completed from the conversation.",
        },
    )
    mode = fields.String(
        required=True,
        allow_none=True,
        metadata={"example": "hybrid", "description": "Null if the turn did not search."},
    )
    candidates = fields.List(fields.Nested(TraceCandidate), required=True)
    prompt_passages = fields.List(fields.Nested(Passage), required=True)
    memories = fields.List(
        fields.Nested(TraceMemory),
        required=True,
        metadata={"description": "Messages recalled from other sessions, with `memory: user`."},
    )
    model = fields.String(required=True, allow_none=True, metadata={"example": "extractive-1"})
    usage = fields.Dict(required=True, allow_none=True)
    support = fields.Nested(TraceSupport, required=True, allow_none=True)
    timings_ms = fields.Nested(TraceTimings, required=True)


@blp.route("/messages/<uuid:message_id>/trace", methods=["GET"])
@requires("read")
@blp.response(200, Trace)
def get_trace(message_id: UUID) -> Response:
    """Get the trace of an answer: query, candidates, prompt, tokens, time.

    404 for a message that this service did not answer.
    """
    with transaction() as db:
        trace = traces.get_trace(db, tenant_id=tenant_id(), message_id=message_id)
    return json_response(trace)
