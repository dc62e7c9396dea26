"""Schemas of the health checks' responses."""

from marshmallow import Schema, fields

from web.http.schemas import one_of


class Health(Schema):
    status = fields.String(required=True, validate=one_of(("healthy", "degraded", "unhealthy")))
    database = fields.String(required=True, validate=one_of(("connected", "disconnected")))
    service = fields.String(required=True, metadata={"example": "Chat Storage API"})
    redis = fields.String(validate=one_of(("connected", "disconnected")))
    limits = fields.String(validate=one_of(("shared", "per process")))
    queue = fields.Integer(allow_none=True)
    workers = fields.Integer(allow_none=True, metadata={"example": 1})
    version = fields.String(metadata={"example": "0.1.0"})


class Alive(Schema):
    status = fields.String(required=True, validate=one_of(("alive",)))


class Ready(Schema):
    status = fields.String(required=True, validate=one_of(("ready", "unready")))
    reason = fields.String(
        validate=one_of(("database_unavailable", "schema_behind", "embedding_model_changed"))
    )
    code = fields.String(metadata={"example": "embedding_model_changed"})
    detail = fields.String()
