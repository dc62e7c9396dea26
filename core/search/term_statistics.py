"""Counts a tenant's chunks, and the chunks that contain each word.

A search reads these numbers before it looks words up: `tenant_statistics` has the number of
chunks per tenant, `term_statistics` the number per lexeme. A tenant with few chunks has no
rows, because a search reads all of its chunks. The numbers are approximate: words are counted
in a sample, and again when the number of chunks has changed by a tenth. A full recount every
hour removes the words of deleted documents.
"""

from sqlalchemy import text

from core.bootstrap import Services
from core.search.candidates import FULL_SCAN_MAX_CHUNKS
from core.telemetry import get_logger

log = get_logger(__name__)

SAMPLE = 20_000  # chunks; counting takes a fraction of a second
DRIFT = 0.1  # share by which a tenant's number of chunks may change before a recount

_STALE = text(
    """
    SELECT d.tenant_id, d.chunks
    FROM (
        SELECT tenant_id, sum(chunk_count) AS chunks FROM documents
        WHERE generation > 0 GROUP BY tenant_id
    ) AS d
    LEFT JOIN tenant_statistics s ON s.tenant_id = d.tenant_id
    WHERE d.chunks > :few AND abs(d.chunks - coalesce(s.chunks, 0)) > :drift * d.chunks
    """
)
_SMALL = """
    SELECT known.tenant_id
    FROM (SELECT tenant_id FROM tenant_statistics) AS known
    LEFT JOIN documents d ON d.tenant_id = known.tenant_id AND d.generation > 0
    GROUP BY known.tenant_id
    HAVING coalesce(sum(d.chunk_count), 0) <= :few
"""
_FORGET_SMALL = text(
    f"""
    WITH forgotten AS (
        DELETE FROM tenant_statistics WHERE tenant_id IN ({_SMALL}) RETURNING tenant_id
    )
    DELETE FROM term_statistics WHERE tenant_id IN (SELECT tenant_id FROM forgotten)
    """  # noqa: S608  # constants only
)
_FORGET = text("DELETE FROM term_statistics WHERE tenant_id = :tenant_id")
_LOCK = text(
    "SELECT pg_try_advisory_xact_lock(hashtextextended('term_statistics ' || :tenant_id, 0))"
)
_RECORD_CHUNKS = text(
    """
    INSERT INTO tenant_statistics (tenant_id, chunks) VALUES (:tenant_id, :chunks)
    ON CONFLICT (tenant_id) DO UPDATE SET chunks = excluded.chunks
    """
)
# ts_stat takes its query as text. The lexeme that begins with chr(1) is the tenant's name,
# which is in each chunk (core.db.models.Chunk).
_COUNT = text(
    """
    INSERT INTO term_statistics (tenant_id, lexeme, chunks)
    SELECT :tenant_id, word, ndoc * :step
    FROM ts_stat(format(
        'SELECT c.tsv FROM documents d JOIN chunks c
           ON c.document_id = d.id AND c.generation = d.generation
         WHERE d.tenant_id = %L AND abs(uuid_hash(c.id)::bigint) %% %s = 0',
        CAST(:tenant_id AS text), CAST(:step AS int)
    ))
    WHERE ndoc > 1 AND NOT starts_with(word, chr(1))
    """
)


def refresh(services: Services, *, drift: float = DRIFT) -> int:
    """Count again for each tenant whose number of chunks changed by more than the share `drift`.

    A negative `drift` recounts every tenant with more than FULL_SCAN_MAX_CHUNKS chunks.
    Returns the number of tenants.
    """
    with services.database.transaction(tenant_id=None) as db:
        stale = db.execute(_STALE, {"few": FULL_SCAN_MAX_CHUNKS, "drift": drift}).all()
    for tenant_id, chunks in stale:
        values = {"tenant_id": tenant_id, "chunks": chunks, "step": max(1, round(chunks / SAMPLE))}
        with services.database.transaction(tenant_id=None) as db:
            if db.scalar(_LOCK, values):
                db.execute(_FORGET, values)
                db.execute(_COUNT, values)
                db.execute(_RECORD_CHUNKS, values)
    if stale:
        log.info("terms_counted", tenants=len(stale))
    return len(stale)


def forget_small(services: Services) -> None:
    """Remove the statistics of tenants that now have few chunks."""
    with services.database.transaction(tenant_id=None) as db:
        db.execute(_FORGET_SMALL, {"few": FULL_SCAN_MAX_CHUNKS})
