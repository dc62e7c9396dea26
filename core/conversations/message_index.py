"""Computes the text search vectors (`tsv`) of new and changed messages.

Code that writes messages does not compute them: a new message has no `tsv`, and a trigger
removes the `tsv` of a changed message. A search first indexes its tenant's newest messages; a
periodic task indexes the rest.
"""

import time

from sqlalchemy import text

from core.bootstrap import Services
from core.db import Database
from core.search.lexemes import vector_of
from core.telemetry import get_logger

log = get_logger(__name__)

BATCH = 200  # messages
MAX_CHARS = 100_000  # of a message; a tsvector holds at most 1 MiB
MAX_SECONDS = 20.0  # of a worker's time for one call

_PENDING = text(
    """
    SELECT id, tenant_id, left(content, :max_chars) AS content FROM messages
    WHERE tsv IS NULL AND content <> '' AND tenant_id = :tenant_id
    ORDER BY id DESC LIMIT :batch
    """
)
_PENDING_OF_ALL = text(
    """
    SELECT id, tenant_id, left(content, :max_chars) AS content FROM messages
    WHERE tsv IS NULL AND content <> '' LIMIT :batch
    """
)
# Only where the message still has the text that was read.
_RECORD = text(
    """
    UPDATE messages SET tsv = made.tsv::tsvector
    FROM unnest(CAST(:ids AS uuid[]), CAST(:tsvs AS text[]), CAST(:contents AS text[]))
         AS made (id, tsv, content)
    WHERE messages.id = made.id AND left(messages.content, :max_chars) = made.content
    RETURNING 1
    """
)


def index_new_messages(database: Database, *, tenant_id: str) -> int:
    """Index a tenant's newest messages without a `tsv`, and return their number."""
    db = database.autocommit(tenant_id=tenant_id)
    values = {"max_chars": MAX_CHARS, "batch": BATCH, "tenant_id": tenant_id}
    rows = db.execute(_PENDING, values).all()
    if rows:
        db.execute(_RECORD, _vectors(rows))
    return len(rows)


def index_pending(services: Services, *, max_seconds: float = MAX_SECONDS) -> int:
    """Index messages of all tenants without a `tsv`, and return their number.

    Stops after about `max_seconds`; the next call continues. Several calls may run at once.
    """
    deadline = time.monotonic() + max_seconds
    done = 0
    while time.monotonic() < deadline and (count := _index_batch(services.database)):
        done += count
    if done:
        log.info("messages_cut", count=done)
    return done


def _index_batch(database: Database) -> int:
    db = database.autocommit(tenant_id=None)
    rows = db.execute(_PENDING_OF_ALL, {"max_chars": MAX_CHARS, "batch": BATCH}).all()
    return len(db.execute(_RECORD, _vectors(rows)).all()) if rows else 0


def _vectors(rows: list[tuple[object, ...]]) -> dict[str, object]:
    return {
        "ids": [row[0] for row in rows],
        "tsvs": [vector_of(str(row[2]), tenant_id=str(row[1])) for row in rows],
        "contents": [row[2] for row in rows],
        "max_chars": MAX_CHARS,
    }
