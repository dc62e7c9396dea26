"""How common a word is among a tenant's chunks: what search asks before it looks words up.

Approximate by nature: counted over a sample, and again when the tenant's chunks
have become more or fewer by a tenth. A tenant of few chunks needs none. Once an
hour everything is counted anew, so that no word outlives its documents for long.
"""

from sqlalchemy import text

from core.bootstrap import Services
from core.search.candidates import FULL_SCAN_MAX_CHUNKS
from core.telemetry import get_logger

log = get_logger(__name__)

SAMPLE = 20_000  # chunks; counted in a fraction of a second
DRIFT = 0.1

# The lexeme chr(1) || tenant_id stands in each chunk of the tenant: its count is their number.
_STALE = text(
    """
    SELECT d.tenant_id, d.chunks
    FROM (
        SELECT tenant_id, sum(chunk_count) AS chunks FROM documents
        WHERE generation > 0 GROUP BY tenant_id
    ) AS d
    LEFT JOIN term_statistics s
      ON s.tenant_id = d.tenant_id AND s.lexeme = chr(1) || d.tenant_id
    WHERE d.chunks > :few AND abs(d.chunks - coalesce(s.chunks, 0)) > :drift * d.chunks
    """
)
_FORGET_SMALL = text(
    """
    DELETE FROM term_statistics WHERE tenant_id IN (
        SELECT known.tenant_id
        FROM (SELECT DISTINCT tenant_id FROM term_statistics) AS known
        LEFT JOIN documents d ON d.tenant_id = known.tenant_id AND d.generation > 0
        GROUP BY known.tenant_id
        HAVING coalesce(sum(d.chunk_count), 0) <= :few
    )
    """
)
_FORGET = text("DELETE FROM term_statistics WHERE tenant_id = :tenant_id")
_LOCK = text(
    "SELECT pg_try_advisory_xact_lock(hashtextextended('term_statistics ' || :tenant_id, 0))"
)
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
    WHERE ndoc > 1
    """
)


def refresh(services: Services, *, drift: float = DRIFT) -> int:
    """Count anew for each tenant whose chunks changed by more than `drift`; for how many.

    Below 0 that is every tenant of more than FULL_SCAN_MAX_CHUNKS chunks.
    """
    with services.database.transaction(tenant_id=None) as db:
        stale = db.execute(_STALE, {"few": FULL_SCAN_MAX_CHUNKS, "drift": drift}).all()
    for tenant_id, chunks in stale:
        step = max(1, round(chunks / SAMPLE))
        with services.database.transaction(tenant_id=None) as db:
            if db.scalar(_LOCK, {"tenant_id": tenant_id}):
                db.execute(_FORGET, {"tenant_id": tenant_id})
                db.execute(_COUNT, {"tenant_id": tenant_id, "step": step})
    if stale:
        log.info("terms_counted", tenants=len(stale))
    return len(stale)


def forget_small(services: Services) -> None:
    """Remove the statistics of tenants that need none any more."""
    with services.database.transaction(tenant_id=None) as db:
        db.execute(_FORGET_SMALL, {"few": FULL_SCAN_MAX_CHUNKS})
