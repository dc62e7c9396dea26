"""Cuts the words of old chunks again, in the background.

Chunks that are older than `core.search.lexemes` have the words of PostgreSQL's own parser.
While such chunks exist, searches look for those words too (`terms` in candidates.sql).
"""

import time

from sqlalchemy import text

from core.bootstrap import Services
from core.search.lexemes import VERSION, vector_of
from core.telemetry import get_logger

log = get_logger(__name__)

BATCH = 200  # chunks; takes about a second, in which their documents cannot be deleted
MAX_SECONDS = 20.0  # for one call

_OLD = text(
    """
    SELECT id, tenant_id, context, text FROM chunks WHERE words_version = 0
    LIMIT :batch FOR UPDATE SKIP LOCKED
    """
)
_RECORD = text(
    """
    UPDATE chunks SET tsv = made.tsv::tsvector, words_version = :version
    FROM unnest(CAST(:ids AS uuid[]), CAST(:tsvs AS text[])) AS made (id, tsv)
    WHERE chunks.id = made.id
    """
)


def catch_up(services: Services, *, max_seconds: float = MAX_SECONDS) -> int:
    """Cut the words of old chunks again. Returns the number of chunks.

    Stops after about `max_seconds`; the next call continues. Several may run at once.
    """
    deadline = time.monotonic() + max_seconds
    done = 0
    while time.monotonic() < deadline and (count := _recut_batch(services)):
        done += count
    if done:
        log.info("chunks_recut", count=done)
    return done


def _recut_batch(services: Services) -> int:
    with services.database.transaction(tenant_id=None) as db:
        rows = db.execute(_OLD, {"batch": BATCH}).all()
        if rows:
            tsvs = [
                vector_of(f"{row.context}\n{row.text}", tenant_id=row.tenant_id) for row in rows
            ]
            ids = [row.id for row in rows]
            db.execute(_RECORD, {"version": VERSION, "ids": ids, "tsvs": tsvs})
    return len(rows)
