"""Which vectors are in the HNSW index: those of tenants with many chunks.

Up to EXACT_KNN_MAX_CHUNKS chunks a search compares vectors exactly. An index would only
cost there: with it PostgreSQL takes four times as long for an insertion. When a tenant
grows past that, `catch_up` puts its vectors into the index in the background; a search
compares the others exactly meanwhile. New vectors of a large tenant go in at once.
The vectors of a tenant that shrinks stay in.
"""

import time

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.search.candidates import EXACT_KNN_MAX_CHUNKS
from core.telemetry import get_logger

log = get_logger(__name__)

BATCH = 250  # vectors; takes under half a second, and blocks deletion of their documents
MOST_SECONDS = 20.0  # of a worker's time for one call

_IS_LARGE = text(
    """
    SELECT EXISTS (
        SELECT FROM tenant_statistics WHERE tenant_id = :tenant_id AND chunks > :exact_knn_max
    )
    """
)
_LARGE = text("SELECT tenant_id FROM tenant_statistics WHERE chunks > :exact_knn_max")
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
    """Whether new vectors of the tenant belong into the index."""
    values = {"tenant_id": tenant_id, "exact_knn_max": EXACT_KNN_MAX_CHUNKS}
    return bool(db.scalar(_IS_LARGE, values))


def catch_up(services: Services, *, most_seconds: float = MOST_SECONDS) -> int:
    """Put the missing vectors of large tenants into the index. Gives their number.

    Stops after about `most_seconds`; the next call goes on. Several may run at once.
    """
    deadline = time.monotonic() + most_seconds
    with services.database.transaction(tenant_id=None) as db:
        tenants = db.scalars(_LARGE, {"exact_knn_max": EXACT_KNN_MAX_CHUNKS}).all()
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
