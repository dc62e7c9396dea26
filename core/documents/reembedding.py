"""Embeds everything again after a change of the embedding model."""

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.documents import uploads
from core.errors import Conflict, NotFound
from core.search.embedding_model import stored_length
from core.telemetry import get_logger

log = get_logger(__name__)

_BATCH = 100  # documents
_MESSAGES = 5_000  # per statement, which then takes well under the statement timeout

_STALE = text(
    """
    SELECT id, tenant_id FROM documents d
    WHERE generation > 0 AND embedding_model <> :model AND id > :after
      AND NOT EXISTS (
          SELECT FROM jobs j WHERE j.document_id = d.id AND j.state IN ('queued', 'running')
      )
    ORDER BY id LIMIT :batch
    """
)
# The row is due at once: the task that embeds messages claims rows with an expired lease.
_STALE_MESSAGES = text(
    """
    UPDATE message_vectors SET embedding = NULL, model = :model, lease_expires_at = '-infinity'
    WHERE message_id IN (
        SELECT message_id FROM message_vectors WHERE model <> :model LIMIT :batch
    )
    """
)


def renew_embeddings(services: Services) -> Iterator[int]:
    """Ingest again every document with vectors of another model; yields the count so far.

    Searches find a document's old chunks, by their words, until the new ones are complete. Run
    it again after an interruption: it skips documents that are done or in progress. If the new
    vectors have another length, it deletes all old ones first.
    """
    model, dimensions = services.embedder.name, services.embedder.dimensions
    with services.database.transaction(tenant_id=None) as db:
        if stored_length(db) != dimensions:
            _resize(db, dimensions)
    _reset_messages(services, model=model)
    queued, after = 0, UUID(int=0)
    while True:
        with services.database.transaction(tenant_id=None) as db:
            values = {"model": model, "after": after, "batch": _BATCH}
            stale = db.execute(_STALE, values).all()
        if not stale:
            return
        for document_id, tenant_id in stale:
            queued += _queue(services, tenant_id=tenant_id, document_id=document_id)
        after = stale[-1][0]
        yield queued


def _queue(services: Services, *, tenant_id: str, document_id: UUID) -> bool:
    try:
        uploads.reingest(services, tenant_id=tenant_id, document_id=document_id)
    except (NotFound, Conflict) as error:  # deleted, or changed, just now
        log.info("document_not_renewed", document_id=str(document_id), code=error.code)
        return False
    return True


def _resize(db: Session, dimensions: int) -> None:
    """Change the vectors of both tables to `dimensions`. PostgreSQL rebuilds their indexes."""
    log.info("vectors_resized", dimensions=dimensions)
    db.execute(text("TRUNCATE chunk_vectors"))
    db.execute(text("UPDATE message_vectors SET embedding = NULL"))
    for table, kind in (("chunk_vectors", "halfvec"), ("message_vectors", "vector")):
        column = f"{kind}({int(dimensions)})"
        db.execute(text(f"ALTER TABLE {table} ALTER COLUMN embedding TYPE {column}"))


def _reset_messages(services: Services, *, model: str) -> None:
    while True:
        with services.database.transaction(tenant_id=None) as db:
            changed = db.execute(_STALE_MESSAGES, {"model": model, "batch": _MESSAGES})
        if not changed.rowcount:  # type: ignore[attr-defined]
            return
