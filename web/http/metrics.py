"""Prometheus metrics of this service.

No label contains a user or a document. A tenant appears in one metric only: the waiting time
of its page ranges.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import text

from core.bootstrap import Services
from core.db.models import JOB_STATES
from core.documents import waiting
from core.errors import RagError
from web.http import metrics_files

CONTENT_TYPE = CONTENT_TYPE_LATEST

_requests = Counter("rag_http_requests", "HTTP requests answered.", ["method", "route", "status"])
_seconds = Histogram(
    "rag_http_request_duration_seconds",
    "From the request's arrival to the last byte of its response.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def observe_request(*, method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request. `route` is the URL rule, not the path, because a label needs few values."""
    count, duration = _series(method if method in _METHODS else "other", route or "none", status)
    count.inc()
    duration.observe(seconds)


@lru_cache(maxsize=10_000)
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return _requests.labels(method, route, str(status)), _seconds.labels(method, route)


class _Jobs(Collector):
    """Reads jobs by state, and the waiting time of each tenant's page ranges, from the database."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("rag_jobs", "Jobs by state.", labels=["state"])
        oldest = GaugeMetricFamily(
            "rag_queue_oldest_seconds",
            "For how long the oldest page range that is due has been waiting.",
            labels=["tenant"],
        )
        up = GaugeMetricFamily("rag_database_up", "1 while PostgreSQL answers.")
        try:
            with self._services.database.transaction(tenant_id=None) as db:
                rows = db.execute(text("SELECT state, count(*) FROM jobs GROUP BY state")).all()
                ages = waiting.oldest_due_seconds(db)
        except RagError:
            up.add_metric([], 0)
            yield up
            return
        found = {row[0]: row[1] for row in rows}
        for state in JOB_STATES:
            jobs.add_metric([state], found.get(state, 0))
        for tenant_id, age in ages:
            oldest.add_metric([tenant_id], age)
        up.add_metric([], 1)
        yield jobs
        yield oldest
        yield up


def render(services: Services) -> bytes:
    """Return the metrics of all processes; of this one if PROMETHEUS_MULTIPROC_DIR is not set."""
    registry = CollectorRegistry()
    registry.register(_Jobs(services))
    try:
        together: Any = MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:  # PROMETHEUS_MULTIPROC_DIR is not set
        return generate_latest(registry) + generate_latest(REGISTRY)
    with metrics_files.locked(Path(together._path)):
        return generate_latest(registry)
