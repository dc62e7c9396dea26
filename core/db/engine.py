"""The SQLAlchemy engine: timeouts for all waits, and the options of every connection."""

import time
from typing import Any

from sqlalchemy import Engine, create_engine, event

from core.db import connections
from core.telemetry import record_statement

# No JIT: compiling a search takes longer than running it. An HNSW scan continues until enough
# rows pass the filter, for at most 40,000 rows. docs/adr/0006 has the measurements.
SEARCH_OPTIONS = (
    "-c jit=off -c hnsw.ef_search=240 -c hnsw.iterative_scan=relaxed_order"
    " -c hnsw.max_scan_tuples=40000 -c hnsw.scan_mem_multiplier=4"
)
# What every connection sends to PostgreSQL when it is made.
OPTIONS = (
    "-c statement_timeout=15s -c lock_timeout=3s -c idle_in_transaction_session_timeout=15s"
    f" -c timezone=UTC {SEARCH_OPTIONS}"
)


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """An engine with timeouts for all waits. It connects at its first use.

    `pool_size` should be the number of threads that may hold a transaction.
    """
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=2,
        pool_timeout=3,  # an exhausted pool answers 503 within 4 s
        pool_recycle=300,
        use_native_hstore=False,  # saves a query per connection
        hide_parameters=True,  # keeps users' texts out of errors and of the log
        connect_args={
            "connection_factory": connections.Connection,
            "connect_timeout": 3,
            "tcp_user_timeout": 5000,  # ms; notices a server behind a dead route
            "keepalives_idle": 30,
            "application_name": "rag-chat-service",
            "options": OPTIONS,
        },
    )
    # Without the check, the first request after a restart of PostgreSQL fails.
    event.listen(engine, "checkin", connections.record_use)
    event.listen(engine, "checkout", connections.check)
    event.listen(engine, "before_cursor_execute", _note_start)
    event.listen(engine, "after_cursor_execute", _note_end)
    return engine


def _note_start(conn: Any, *_: Any) -> None:
    conn.info["statement_started"] = time.perf_counter()


def _note_end(conn: Any, *_: Any) -> None:
    record_statement(seconds=time.perf_counter() - conn.info["statement_started"])
