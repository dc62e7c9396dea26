"""Which vectors stand in the HNSW index: those of tenants that have many.

Up to EXACT_KNN_MAX_CHUNKS chunks a search compares vectors exactly, so an index would only cost:
an insertion takes PostgreSQL four times as long with it. A tenant that grows past that has
its vectors put in here, in the background; until then they are compared as before. What
is added to a large tenant goes in at once. One that shrinks keeps what is in.
"""

import time

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.search.candidates import EXACT_KNN_MAX_CHUNKS
from core.telemetry import get_logger

log = get_logger(__name__)

BATCH = 250  # vectors; less than half a second, for which their documents cannot be deleted
MOST_SECONDS = 20.0  # that one call takes a worker's time

# The lexeme chr(1) || tenant_id is in each chunk of the tenant, see core.search.term_statistics.
_IS_LARGE = text(
    """
    SELECT EXISTS (
        SELECT FROM term_statistics
        WHERE tenant_id = :tenant_id AND lexeme = chr(1) || :tenant_id AND chunks > :most_compared
    )
    """
)
_LARGE = text(
    """
    SELECT tenant_id FROM term_statistics
    WHERE lexeme = chr(1) || tenant_id AND chunks > :most_compared
    """
)
_PUT_IN = text(
    """
    UPDATE chunk_vectors SET indexed = true WHERE chunk_id IN (
        SELECT chunk_id FROM chunk_vectors
        WHERE tenant_id = :tenant_id AND NOT indexed
        LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
    """
)


def is_wanted(db: Session, *, tenant_id: str) -> bool:
    """Whether what is added to the tenant's vectors belongs into the index."""
    values = {"tenant_id": tenant_id, "most_compared": EXACT_KNN_MAX_CHUNKS}
    return bool(db.scalar(_IS_LARGE, values))


def catch_up(services: Services, *, most_seconds: float = MOST_SECONDS) -> int:
    """Put vectors of large tenants into the index that are not in it yet; how many.

    Stops after about `most_seconds`; the next call goes on. Several may run at once.
    """
    deadline = time.monotonic() + most_seconds
    with services.database.transaction(tenant_id=None) as db:
        tenants = db.scalars(_LARGE, {"most_compared": EXACT_KNN_MAX_CHUNKS}).all()
    put_in = 0
    for tenant_id in tenants:
        while time.monotonic() < deadline and (count := _put_in(services, tenant_id)):
            put_in += count
    if put_in:
        log.info("vectors_indexed", count=put_in)
    return put_in


def _put_in(services: Services, tenant_id: str) -> int:
    with services.database.transaction(tenant_id=None) as db:
        return len(db.execute(_PUT_IN, {"tenant_id": tenant_id, "batch": BATCH}).all())
