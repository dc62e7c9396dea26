"""Keeps the vectors of large tenants in the HNSW index.

A tenant is large if it has more than EXACT_KNN_MAX_CHUNKS chunks. For smaller ones a search
compares all vectors, and an index would only make insertions four times slower. When a tenant
grows large, `catch_up` adds its vectors to the index in the background; until then a search
compares the missing ones exactly. New vectors of a large tenant are added at once. The vectors
of a tenant that shrinks stay in the index.
"""

import time

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.search.candidates import EXACT_KNN_MAX_CHUNKS
from core.telemetry import get_logger

log = get_logger(__name__)

BATCH = 250  # vectors; takes under half a second, in which their documents cannot be deleted
MAX_SECONDS = 20.0  # for one call

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


def catch_up(services: Services, *, max_seconds: float = MAX_SECONDS) -> int:
    """Add the missing vectors of large tenants to the index. Returns their number.

    Stops after about `max_seconds`; the next call continues. Several may run at once.
    """
    deadline = time.monotonic() + max_seconds
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
