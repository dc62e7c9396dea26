"""Cuts the words of old chunks again, in the background.

A chunk from before `core.search.lexemes` has the words of PostgreSQL's own parser. Searches
look for those words too until none is left (`terms` in candidates.sql).
"""

import time

from sqlalchemy import text

from core.bootstrap import Services
from core.search.lexemes import VERSION, vector_of
from core.telemetry import get_logger

log = get_logger(__name__)

BATCH = 200  # chunks; about a second, for which their documents cannot be deleted
MOST_SECONDS = 20.0  # of a worker's time for one call

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


def catch_up(services: Services, *, most_seconds: float = MOST_SECONDS) -> int:
    """Cut the words of old chunks again. Gives their number.

    Stops after about `most_seconds`; the next call goes on. Several may run at once.
    """
    deadline = time.monotonic() + most_seconds
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
