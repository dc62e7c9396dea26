"""Cuts the words of new and changed messages, for the search of messages.

Writers of messages need not know of it: a new message has no `tsv`, and a trigger removes
that of a changed one. A search cuts its tenant's new messages first, the worker the rest.
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

_UNCUT = text(
    """
    SELECT id, tenant_id, left(content, :max_chars) AS content FROM messages
    WHERE tsv IS NULL AND content <> '' AND tenant_id = :tenant_id
    ORDER BY id DESC LIMIT :batch
    """
)
_UNCUT_OF_ANY = text(
    """
    SELECT id, tenant_id, left(content, :max_chars) AS content FROM messages
    WHERE tsv IS NULL AND content <> '' LIMIT :batch
    """
)
# Only where the text is still the one that was read.
_RECORD = text(
    """
    UPDATE messages SET tsv = made.tsv::tsvector
    FROM unnest(CAST(:ids AS uuid[]), CAST(:tsvs AS text[]), CAST(:contents AS text[]))
         AS made (id, tsv, content)
    WHERE messages.id = made.id AND left(messages.content, :max_chars) = made.content
    RETURNING 1
    """
)


def cut_new(database: Database, *, tenant_id: str) -> int:
    """Cut the words of a tenant's newest messages that have none. Gives their number."""
    db = database.autocommit(tenant_id=tenant_id)
    values = {"max_chars": MAX_CHARS, "batch": BATCH, "tenant_id": tenant_id}
    rows = db.execute(_UNCUT, values).all()
    if rows:
        db.execute(_RECORD, _vectors(rows))
    return len(rows)


def catch_up(services: Services, *, max_seconds: float = MAX_SECONDS) -> int:
    """Cut the words of messages of all tenants that have none. Gives their number.

    Stops after about `max_seconds`; the next call goes on. Several may run at once.
    """
    deadline = time.monotonic() + max_seconds
    done = 0
    while time.monotonic() < deadline and (count := _cut_batch(services.database)):
        done += count
    if done:
        log.info("messages_cut", count=done)
    return done


def _cut_batch(database: Database) -> int:
    db = database.autocommit(tenant_id=None)
    rows = db.execute(_UNCUT_OF_ANY, {"max_chars": MAX_CHARS, "batch": BATCH}).all()
    return len(db.execute(_RECORD, _vectors(rows)).all()) if rows else 0


def _vectors(rows: list[tuple[object, ...]]) -> dict[str, object]:
    return {
        "ids": [row[0] for row in rows],
        "tsvs": [vector_of(str(row[2]), tenant_id=str(row[1])) for row in rows],
        "contents": [row[2] for row in rows],
        "max_chars": MAX_CHARS,
    }
