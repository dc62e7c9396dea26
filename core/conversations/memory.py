"""Recalls messages of the same user from other sessions, by similarity of embeddings.

Appending a message does not embed it. A periodic task embeds messages without a vector. A turn
that recalls also embeds the messages of the last hour that the task has not reached yet. A
vector is deleted with its message, and so with its session.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.db.models import MessageVector
from core.documents import jobs
from core.embedding import describe_model
from core.embedding.base import Query, Vectors
from core.embedding.models import rescale
from core.errors import ProviderError
from core.telemetry import get_logger
from core.text.words import content_stems

log = get_logger(__name__)

TOP = 5
# Measured with all-MiniLM-L6-v2 on 21 questions. All but one message about a question's subject
# have a cosine similarity of .28 to .79 to the question. The most similar messages about other
# subjects have .18 to .24, and up to .43 if both are about business.
MIN_SIMILARITY = 0.25
MAX_CHARS = 500  # of one message, in a prompt
EMBEDDED_CHARS = 2000  # more than the local model's window, less than any endpoint's limit
BATCH = 64  # messages; a document that arrives waits for at most one batch
RUN_SECONDS = 10.0  # the longest that one run keeps a worker from other work
LEASE_SECONDS = 60
FRESH = 16  # the most messages that a turn embeds
_CANDIDATES = 20
# Messages are embedded in the order of their ids. Ids begin with the time of the process that
# made them, and clocks differ by an hour at worst. So every message that is older by more than
# this than the newest embedded message has a vector.
_OVERLAP_MS = 2 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Recollection:
    """A message of the same user in another session.

    `similarity` is a cosine, on the scale of the default embedding model.
    """

    message_id: UUID
    session_id: UUID
    content: str
    similarity: float


def recall(
    services: Services, *, tenant_id: str, session_id: UUID, query: str, question: str
) -> list[Recollection]:
    """Return at most TOP messages of the session's user in other sessions about `query`.

    Statements come first, then questions, each by similarity. Repeats of `question` are left
    out. Returns an empty list if embedding fails, because answers work without memories.
    """
    with services.database.transaction(tenant_id=tenant_id) as db:
        scope = {"tenant_id": tenant_id, "session_id": session_id, "limit": FRESH}
        fresh = [row for row in db.execute(_FRESH, scope) if is_worth_embedding(row.content)]
    try:
        texts = [row.content[:EMBEDDED_CHARS] for row in fresh]
        vectors = services.embedder.embed([Query(query[:EMBEDDED_CHARS]), *texts])
    except ProviderError as error:
        log.warning("recall_failed", code=error.code, detail=error.detail)
        return []
    with services.database.transaction(tenant_id=tenant_id) as db:
        model = services.embedder.name
        stored = _nearest(
            db, tenant_id=tenant_id, session_id=session_id, vector=vectors[0], model=model
        )
    found = stored + [
        Recollection(row.id, row.session_id, row.content, _similarity(vector @ vectors[0], model))
        for row, vector in zip(fresh, vectors[1:], strict=True)
    ]
    return _choose(found, question=question)


def excerpt(content: str) -> str:
    """Return the part of a message that goes into a prompt."""
    return content if len(content) <= MAX_CHARS else content[: MAX_CHARS - 2].rstrip() + " …"


def _choose(found: Sequence[Recollection], *, question: str) -> list[Recollection]:
    seen = {_fold(question)}
    chosen = []
    order = sorted(found, key=lambda one: (_fold(one.content).endswith("?"), -one.similarity))
    for one in order:
        if one.similarity >= MIN_SIMILARITY and _fold(one.content) not in seen:
            seen.add(_fold(one.content))
            chosen.append(one)
    return chosen[:TOP]


def _fold(content: str) -> str:
    return " ".join(content.casefold().split())


# Messages of the last hour that have no vector yet.
_FRESH = text(
    """
    SELECT m.id, m.session_id, m.content
    FROM sessions me
    JOIN sessions s ON s.tenant_id = me.tenant_id AND s.user_id = me.user_id AND s.id <> me.id
    JOIN messages m ON m.session_id = s.id
    WHERE me.tenant_id = :tenant_id AND me.id = :session_id
      AND s.active_at > now() - interval '1 hour'
      AND m.sender = 'user' AND m.created_at > now() - interval '1 hour'
      AND NOT EXISTS (
          SELECT FROM message_vectors v
          WHERE v.message_id = m.id AND v.lease_expires_at IS NULL
      )
    ORDER BY m.id DESC LIMIT :limit
    """
)
# An exact scan, because one user has few messages, and a vector index over the messages of all
# users could miss them.
_NEAREST = text(
    """
    SELECT m.id, m.session_id, m.content, nearest.cosine
    FROM (
        SELECT v.message_id, 1 - (v.embedding <=> :vector) AS cosine
        FROM message_vectors v
        JOIN sessions me ON me.tenant_id = v.tenant_id AND me.user_id = v.user_id
        WHERE v.tenant_id = :tenant_id AND me.id = :session_id AND v.session_id <> me.id
          AND v.model = :model AND v.embedding IS NOT NULL
        ORDER BY v.embedding <=> :vector LIMIT :limit
    ) nearest
    JOIN messages m ON m.id = nearest.message_id
    """
).bindparams(bindparam("vector", type_=MessageVector.embedding.type))


def _nearest(
    db: Session, *, tenant_id: str, session_id: UUID, vector: Any, model: str
) -> list[Recollection]:
    rows = db.execute(
        _NEAREST,
        {
            "tenant_id": tenant_id,
            "session_id": session_id,
            "vector": vector,
            "model": model,
            "limit": _CANDIDATES,
        },
    )
    return [
        Recollection(row.id, row.session_id, row.content, _similarity(row.cosine, model))
        for row in rows
    ]


def _similarity(cosine: float, model: str) -> float:
    return float(rescale(cosine, model))


def embed_pending(services: Services) -> int:
    """Embed users' messages without a vector, oldest first; return their number.

    Embeds one batch, and then more for RUN_SECONDS while no document waits for ingestion. A
    message whose embedding failed is due again when its lease expires.
    """
    until, done = time.monotonic() + RUN_SECONDS, 0
    while True:
        claimed = _embed_batch(services)
        done += claimed
        if claimed < BATCH or time.monotonic() > until or _ingestion_waits(services):
            break
    if done:
        log.info("messages_embedded", count=done)
    return done


def _embed_batch(services: Services) -> int:
    """Embed one batch, and return how many messages were claimed for it."""
    with services.database.transaction(tenant_id=None) as db:
        model, _ = describe_model(services.settings)
        claimed = claim_messages(db, model=model, limit=BATCH)
    if not claimed:
        return 0  # without loading the embedding model
    texts = {id_: text[:EMBEDDED_CHARS] for id_, text in claimed if is_worth_embedding(text)}
    # A text that occurs several times, such as a suggested question, is embedded once.
    row_of = {content: number for number, content in enumerate(dict.fromkeys(texts.values()))}
    try:
        vectors = services.embedder.embed(list(row_of))
    except ProviderError as error:
        log.warning("messages_not_embedded", code=error.code, detail=error.detail)
        return 0
    with services.database.transaction(tenant_id=None) as db:
        rows = [row_of[content] for content in texts.values()]
        _record_vectors(db, ids=list(texts), vectors=vectors[rows])
        _end_leases(db, ids=[id_ for id_, _ in claimed])
    return len(claimed)


def is_worth_embedding(content: str) -> bool:
    """Whether a message has enough words of its own; "hello" and "yes" have not."""
    return len(content_stems(content[:EMBEDDED_CHARS])) >= 2


def _ingestion_waits(services: Services) -> bool:
    with services.database.transaction(tenant_id=None) as db:
        return jobs.count_due(db, limit=1) > 0


_NEWEST = text("SELECT message_id FROM message_vectors ORDER BY message_id DESC LIMIT 1")
_RECLAIM = text(
    """
    WITH due AS (
        SELECT message_id FROM message_vectors WHERE lease_expires_at < now()
        ORDER BY message_id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE message_vectors v
        SET lease_expires_at = now() + make_interval(secs => :lease), model = :model
        FROM due WHERE v.message_id = due.message_id
        RETURNING v.message_id
    )
    SELECT m.id, m.content FROM claimed JOIN messages m ON m.id = claimed.message_id
    """
)
_CLAIM = text(
    """
    WITH claimed AS (
        INSERT INTO message_vectors
               (message_id, tenant_id, user_id, session_id, model, lease_expires_at)
        SELECT m.id, m.tenant_id, s.user_id, s.id, :model, now() + make_interval(secs => :lease)
        FROM messages m JOIN sessions s ON s.id = m.session_id
        WHERE m.id >= :since AND m.sender = 'user'
          AND NOT EXISTS (SELECT FROM message_vectors v WHERE v.message_id = m.id)
        ORDER BY m.id LIMIT :limit
        FOR NO KEY UPDATE OF m SKIP LOCKED
        ON CONFLICT (message_id) DO NOTHING
        RETURNING message_id
    )
    SELECT m.id, m.content FROM claimed JOIN messages m ON m.id = claimed.message_id
    """
)


def claim_messages(db: Session, *, model: str, limit: int) -> list[tuple[UUID, str]]:
    """Claim messages without a vector for LEASE_SECONDS; return (id, text) pairs."""
    lease = {"lease": LEASE_SECONDS, "model": model}
    rows = db.execute(_RECLAIM, {**lease, "limit": limit}).all()
    if left := limit - len(rows):
        since = _first_pending_id(db.scalar(_NEWEST))
        rows = [*rows, *db.execute(_CLAIM, {**lease, "limit": left, "since": since})]
    return [(row[0], row[1]) for row in rows]


def _first_pending_id(newest: UUID | None) -> UUID:
    """Return a lower bound of the ids without a vector; `newest` is the newest id with one.

    The first 48 bits of a UUIDv7 are its time in milliseconds.
    """
    milliseconds = 0 if newest is None else max(0, (newest.int >> 80) - _OVERLAP_MS)
    return UUID(int=milliseconds << 80)


_SET_VECTOR = text(
    "UPDATE message_vectors SET embedding = :vector WHERE message_id = :id"
).bindparams(bindparam("vector", type_=MessageVector.embedding.type))
_END_LEASES = text(
    "UPDATE message_vectors SET lease_expires_at = NULL"
    " WHERE message_id = ANY(CAST(:ids AS uuid[]))"
)


def _record_vectors(db: Session, *, ids: Sequence[UUID], vectors: Vectors) -> None:
    rows = [{"id": id_, "vector": vector} for id_, vector in zip(ids, vectors, strict=True)]
    if rows:
        db.execute(_SET_VECTOR, rows)


def _end_leases(db: Session, *, ids: Sequence[UUID]) -> None:
    db.execute(_END_LEASES, {"ids": list(ids)})
