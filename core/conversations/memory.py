"""What a user said in other sessions, recalled by meaning.

The messages table is the truth: workers embed, on beat's clock, what stands there without a
vector, so that appending a message costs nothing more. What they have not come to yet is
embedded within the turn that asks, if it is fresh. Vectors go with their message, and so with
its session.
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
from core.embedding.base import Vectors
from core.errors import ProviderError
from core.telemetry import get_logger
from core.text.words import content_stems

log = get_logger(__name__)

TOP = 5
# Measured with all-MiniLM-L6-v2 on 21 questions: what was said about a question's subject has
# a cosine of .28 to .79 to it, all but one; the nearest of what was said about anything else
# .18 to .24, and up to .43 where both are about business.
MIN_SIMILARITY = 0.25
MAX_CHARS = 500  # of one message, in a prompt
EMBEDDED_CHARS = 2000  # more than the local model's window, less than any endpoint's limit
BATCH = 64  # a document that arrives waits for one of these at most
RUN_SECONDS = 10.0  # how long one run may keep a worker from other work
LEASE_SECONDS = 60
FRESH = 16  # messages embedded within a turn at most
_CANDIDATES = 20
# Ids are ordered by the clocks of the processes that made them, an hour apart at worst, and
# messages are embedded in their order: nothing older than this before the newest is left.
_OVERLAP_MS = 2 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Recollection:
    """What the same user said in another session; `similarity` is a cosine."""

    message_id: UUID
    session_id: UUID
    content: str
    similarity: float


def recall(
    services: Services, *, tenant_id: str, session_id: UUID, query: str, asked: str
) -> list[Recollection]:
    """What the session's user said elsewhere about `query`: at most TOP messages.

    Statements first, then questions, each by similarity; never `asked` itself.
    Nothing if the texts cannot be embedded: an answer does not depend on it.
    """
    with services.database.transaction(tenant_id=tenant_id) as db:
        scope = {"tenant_id": tenant_id, "session_id": session_id, "limit": FRESH}
        fresh = [row for row in db.execute(_FRESH, scope) if is_worth_embedding(row.content)]
    try:
        texts = [query, *(row.content for row in fresh)]
        vectors = services.embedder.embed([text[:EMBEDDED_CHARS] for text in texts])
    except ProviderError as error:
        log.warning("recall_failed", code=error.code, detail=error.detail)
        return []
    with services.database.transaction(tenant_id=tenant_id) as db:
        model = services.embedder.name
        stored = _nearest(
            db, tenant_id=tenant_id, session_id=session_id, vector=vectors[0], model=model
        )
    found = stored + [
        Recollection(row.id, row.session_id, row.content, float(vector @ vectors[0]))
        for row, vector in zip(fresh, vectors[1:], strict=True)
    ]
    return _choose(found, asked=asked)


def excerpt(content: str) -> str:
    """As much of a message as a prompt is given."""
    return content if len(content) <= MAX_CHARS else content[: MAX_CHARS - 2].rstrip() + " …"


def _choose(found: Sequence[Recollection], *, asked: str) -> list[Recollection]:
    chosen = {_fold(asked): None}
    kept = []
    order = sorted(found, key=lambda one: (_fold(one.content).endswith("?"), -one.similarity))
    for one in order:
        if one.similarity >= MIN_SIMILARITY and _fold(one.content) not in chosen:
            chosen[_fold(one.content)] = None
            kept.append(one)
    return kept[:TOP]


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
# Exact: one user's messages are few, and a shared index would miss them among all others.
_NEAREST = text(
    """
    SELECT m.id, m.session_id, m.content, nearest.similarity
    FROM (
        SELECT v.message_id, 1 - (v.embedding <=> :vector) AS similarity
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
    return [Recollection(*row) for row in rows]


def embed_pending(services: Services) -> int:
    """Embed what users said and has no vector yet, oldest first; how many messages that was.

    One batch, and further ones for RUN_SECONDS as long as no document waits to be ingested.
    What fails is due again when its lease is over.
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
    """Embed one batch; how many messages were claimed for it."""
    with services.database.transaction(tenant_id=None) as db:
        model, _ = describe_model(services.settings)
        claimed = claim_messages(db, model=model, limit=BATCH)
    if not claimed:
        return 0  # before the embedder loads its model
    worth = {id_: text[:EMBEDDED_CHARS] for id_, text in claimed if is_worth_embedding(text)}
    # What is said again and again, a suggested question say, is embedded once.
    place = {content: number for number, content in enumerate(dict.fromkeys(worth.values()))}
    try:
        vectors = services.embedder.embed(list(place))
    except ProviderError as error:
        log.warning("messages_not_embedded", code=error.code, detail=error.detail)
        return 0
    with services.database.transaction(tenant_id=None) as db:
        own = [place[content] for content in worth.values()]
        _record(db, ids=list(worth), vectors=vectors[own])
        _settle(db, ids=[id_ for id_, _ in claimed])
    return len(claimed)


def is_worth_embedding(content: str) -> bool:
    """Whether it says something by itself; "hello" and "yes" do not."""
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
    """Messages without a vector, as (id, text), in this caller's hands for LEASE_SECONDS."""
    lease = {"lease": LEASE_SECONDS, "model": model}
    rows = db.execute(_RECLAIM, {**lease, "limit": limit}).all()
    if left := limit - len(rows):
        since = _settled_before(db.scalar(_NEWEST))
        rows = [*rows, *db.execute(_CLAIM, {**lease, "limit": left, "since": since})]
    return [(row[0], row[1]) for row in rows]


def _settled_before(newest: UUID | None) -> UUID:
    """The least id that may still be without a vector. The first 48 bits are milliseconds."""
    moment = 0 if newest is None else max(0, (newest.int >> 80) - _OVERLAP_MS)
    return UUID(int=moment << 80)


_SET_VECTOR = text(
    "UPDATE message_vectors SET embedding = :vector WHERE message_id = :id"
).bindparams(bindparam("vector", type_=MessageVector.embedding.type))
_SETTLE = text(
    "UPDATE message_vectors SET lease_expires_at = NULL"
    " WHERE message_id = ANY(CAST(:ids AS uuid[]))"
)


def _record(db: Session, *, ids: Sequence[UUID], vectors: Vectors) -> None:
    rows = [{"id": id_, "vector": vector} for id_, vector in zip(ids, vectors, strict=True)]
    if rows:
        db.execute(_SET_VECTOR, rows)


def _settle(db: Session, *, ids: Sequence[UUID]) -> None:
    db.execute(_SETTLE, {"ids": list(ids)})
