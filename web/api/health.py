"""/health, /health/live, /health/ready, /metrics: no key, no rate limit, fast responses."""

from typing import Any

from flask import Response, current_app
from flask_limiter import Limiter

from core.db import schema_is_current
from core.documents import jobs
from core.embedding import describe_model
from core.errors import RagError
from core.queue.worker_heartbeats import look
from core.search.embedding_model import CODE, find_change
from web.http import limits, metrics, system_schemas
from web.http.context import services
from web.http.parsing import Blueprint
from web.http.presenters import json_response

MAX_DUE = 10_000  # counting more would make /health slow
SERVICE = "Chat Storage API"
VERSION = "0.1.0"

blp = Blueprint("system", __name__, description="For orchestrators and monitoring.")

_UNHEALTHY = {"status": "unhealthy", "database": "disconnected", "service": SERVICE}
_UNREADY = {"status": "unready", "reason": "database_unavailable"}


@blp.route("/health", methods=["GET"])
@blp.response(200, system_schemas.Health)
@blp.response(503, system_schemas.Health, example=_UNHEALTHY)
def health() -> Response:
    """Report whether the service works. It is `degraded` while Redis is down.

    While Redis is down, no work is lost, and each process counts rate limits by itself.
    `workers` is the number of workers with a heartbeat in the last ten seconds. `queue` is the
    number of page ranges that wait for a worker, or of messages in the work queue, whichever is
    greater.
    """
    due = _count_due()
    database = due is not None
    broker = look(current_app.extensions["redis"])
    local_limits = limits.is_degraded(_limiter())
    state = "unhealthy" if not database else "healthy" if broker else "degraded"
    body: dict[str, Any] = {
        "status": state,
        "database": "connected" if database else "disconnected",
        "service": SERVICE,
        "redis": "connected" if broker else "disconnected",
        "limits": "per process" if local_limits else "shared",
        "queue": max(due or 0, broker.waiting) if broker else due,
        "workers": broker.workers if broker else None,
        "version": VERSION,
    }
    return _answer(body, ok=database)


def _answer(body: dict[str, Any], *, ok: bool) -> Response:
    headers = {"Cache-Control": "no-store"} | ({} if ok else {"Retry-After": "2"})
    return json_response(body, status=200 if ok else 503, headers=headers)


def _limiter() -> Limiter:
    found: Limiter = current_app.extensions["rate_limiter"]
    return found


def _count_due() -> int | None:
    """Count the due page ranges up to MAX_DUE; None if PostgreSQL does not answer."""
    try:
        with services().database.transaction(tenant_id=None) as db:
            return jobs.count_due(db, limit=MAX_DUE)
    except RagError:
        return None


@blp.route("/health/live", methods=["GET"])
@blp.response(200, system_schemas.Alive)
def live() -> Response:
    """Report whether this process responds. It checks neither PostgreSQL nor Redis."""
    return _answer({"status": "alive"}, ok=True)


@blp.route("/health/ready", methods=["GET"])
@blp.response(200, system_schemas.Ready)
@blp.response(503, system_schemas.Ready, example=_UNREADY)
def ready() -> Response:
    """Report whether this process can serve requests.

    It can if the database responds, has the schema of this version, and holds vectors of the
    embedding model in the settings.
    """
    try:
        with services().database.transaction(tenant_id=None) as db:
            current = schema_is_current(db)
            change = None
            if current:
                model, dimensions = describe_model(services().settings)
                change = find_change(db, model=model, dimensions=dimensions)
    except RagError:
        return _answer({"status": "unready", "reason": "database_unavailable"}, ok=False)
    if not current:
        return _answer({"status": "unready", "reason": "schema_behind"}, ok=False)
    if change:
        body = {"status": "unready", "reason": CODE, "code": CODE, "detail": change.detail}
        return _answer(body, ok=False)
    return _answer({"status": "ready"}, ok=True)


@blp.route("/metrics", methods=["GET"])
@blp.response(200, {"type": "string"}, content_type="text/plain")
def show_metrics() -> Response:
    """Return Prometheus metrics: requests, durations, jobs by state, waiting page ranges."""
    return Response(metrics.render(services()), content_type=metrics.CONTENT_TYPE)
