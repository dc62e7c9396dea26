"""Structured logs: one JSON object per line on stdout, context carried by contextvars."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import EventDict


@dataclass(slots=True)
class DatabaseStats:
    """The statements that one request or task sent to PostgreSQL, and their seconds."""

    statements: int = 0
    seconds: float = 0.0


# Local variables contain keys and users' texts, so tracebacks show no values.
_render_exception = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _shorten_exceptions(_: object, __: str, event: EventDict) -> EventDict:
    """Keep an exception's first line. PostgreSQL's DETAIL in the next lines quotes the row."""
    for part in event.get("exception") or ():
        part["exc_value"] = str(part["exc_value"]).split("\n", 1)[0][:500]
    return event


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Encodes lines of structlog, which are processed already; processes other loggers' lines."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict) and hasattr(record, "_from_us"):
            return _encode(record.msg)
        return super().format(record)


def _hand_over(_: object, __: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    return (event,), {"extra": {"_from_us": True}}


_database_stats: ContextVar[DatabaseStats | None] = ContextVar("database_stats", default=None)


def configure_logging(*, level: str = "INFO") -> None:
    """Send everything, the standard library's loggers included, to stdout as JSON lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _render_exception,
        _shorten_exceptions,
    ]
    structlog.configure(
        processors=[*shared, _hand_over],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[*shared, structlog.stdlib.PositionalArgumentsFormatter()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            ],
        )
    )
    # Lines do not name their place in the code: looking it up costs more than writing the line.
    logging._srcfile = None  # as the logging HOWTO advises
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # httpx logs each URL at INFO, which may name a private endpoint at every call.
    for noisy in ("httpx", "httpcore", "botocore", "urllib3", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


@contextmanager
def log_context(**values: object) -> Iterator[None]:
    """Add `values` to every log line written inside."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


@contextmanager
def measure_database() -> Iterator[DatabaseStats]:
    """Count the statements that this thread sends to PostgreSQL inside the block."""
    stats = DatabaseStats()
    token = _database_stats.set(stats)
    try:
        yield stats
    finally:
        _database_stats.reset(token)


def record_statement(*, seconds: float) -> None:
    """Called by `core.db.transactions` for each statement."""
    stats = _database_stats.get()
    if stats is not None:
        stats.statements += 1
        stats.seconds += seconds
