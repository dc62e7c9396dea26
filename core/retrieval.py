"""Finding passages: by meaning (pgvector), by words (full text), or both fused by rank.

Fusion is reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, and_, func, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session

from core import documents, reranking
from core.bootstrap import Services
from core.citations import best_quote
from core.embedding.base import Vectors
from core.errors import NotFound
from core.models import ChatSession, Chunk, ChunkVector, Document
from core.passages import Passage

Mode = Literal["hybrid", "vector", "text"]

_ENGLISH: ColumnElement[Any] = literal_column(
    "'english'::regconfig"
)  # the configuration of chunks.tsv

CANDIDATES = 60  # taken from each side before fusion
RRF_K = 60  # the paper's constant


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that was considered, with its place and score on each side that found it."""

    chunk_id: str
    document_id: str
    filename: str
    page_start: int
    page_end: int
    vector_rank: int | None
    vector_score: float | None
    text_rank: int | None
    text_score: float | None
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """`passages` are the best of `candidates`; `timings` are milliseconds by stage."""

    passages: list[Passage]
    candidates: list[Candidate]
    timings: dict[str, float]


def search(
    services: Services,
    *,
    tenant_id: str,
    query: str,
    user_id: str | None = None,
    session_id: UUID | None = None,
    document_ids: Sequence[UUID] | None = None,
    top_k: int = 5,
    mode: Mode = "hybrid",
) -> list[Passage]:
    """The `top_k` passages that fit `query` best, best first, numbered from 1.

    In reach are the user's documents, the shared ones and those attached to
    the session; with neither given, all of the tenant's. `document_ids`
    narrows that.

    Raises NotFound for a session or a document that is not in reach,
    ProviderError if the query cannot be embedded.
    """
    return find(
        services,
        tenant_id=tenant_id,
        query=query,
        user_id=user_id,
        session_id=session_id,
        document_ids=document_ids,
        top_k=top_k,
        mode=mode,
    ).passages


def find(
    services: Services,
    *,
    tenant_id: str,
    query: str,
    user_id: str | None = None,
    session_id: UUID | None = None,
    document_ids: Sequence[UUID] | None = None,
    top_k: int = 5,
    mode: Mode = "hybrid",
) -> Found:
    """As `search`, with what else was considered and the time it took."""
    started = time.perf_counter()
    vector = None if mode == "text" else services.embedder.embed([query])
    embedded = time.perf_counter()
    depth = top_k if services.reranker is None else max(top_k, reranking.DEPTH)
    with services.database.transaction(tenant_id=tenant_id) as db:
        reach = resolve_reach(
            db,
            tenant_id=tenant_id,
            user_id=user_id,
            session_id=session_id,
            document_ids=document_ids,
        )
        rows = db.execute(
            _search_query(reach, query=query, vector=vector, top_k=depth, mode=mode)
        ).all()
    passages = [_passage(index, row, query=query) for index, row in enumerate(rows, start=1)]
    candidates = [_candidate(passage) for passage in passages]
    if services.reranker is not None:
        passages = reranking.rerank(services.reranker, query=query, passages=passages)
    searched = time.perf_counter()
    timings = {"embed": 1000 * (embedded - started), "search": 1000 * (searched - embedded)}
    return Found(passages[:top_k], candidates, timings)


def resolve_reach(
    db: Session,
    *,
    tenant_id: str,
    user_id: str | None,
    session_id: UUID | None,
    document_ids: Sequence[UUID] | None,
) -> ColumnElement[bool]:
    """The condition on `documents` that a search obeys. Raises NotFound."""
    if session_id is not None:
        owner = db.scalar(
            select(ChatSession.user_id).where(
                ChatSession.tenant_id == tenant_id, ChatSession.id == session_id
            )
        )
        if owner is None:
            raise NotFound("No such session.", code="session_not_found")
        user_id = user_id or owner
    reach = documents.in_reach(tenant_id=tenant_id, user_id=user_id, session_id=session_id)
    if document_ids is None:
        return reach
    documents.check_reach(db, reach=reach, document_ids=document_ids)
    return and_(reach, Document.id.in_(document_ids))


def _search_query(
    reach: ColumnElement[bool], *, query: str, vector: Vectors | None, top_k: int, mode: Mode
) -> Select[Any]:
    """One statement: candidates of each side, fused, joined to text and file name."""
    live = select(Document.id, Document.generation).where(reach, Document.generation > 0)
    sides = []
    if mode != "text":
        assert vector is not None
        sides.append(_by_meaning(live, vector))
    if mode != "vector":
        sides.append(_by_words(live, query))
    ranked = union_all(*sides).subquery("ranked")
    score = func.sum(1.0 / (RRF_K + ranked.c.rank))
    fused = (
        select(ranked.c.chunk_id, score.label("score"))
        .group_by(ranked.c.chunk_id)
        .order_by(score.desc(), ranked.c.chunk_id)
        .limit(top_k)
        .subquery("fused")
    )
    return (
        select(
            fused.c.chunk_id,
            fused.c.score,
            Chunk.text,
            Chunk.page_start,
            Chunk.page_end,
            Chunk.page_break,
            Document.id.label("document_id"),
            Document.filename,
        )
        .join(Chunk, Chunk.id == fused.c.chunk_id)
        .join(Document, Document.id == Chunk.document_id)
        .order_by(fused.c.score.desc(), fused.c.chunk_id)
    )


def _by_meaning(live: Select[UUID, int], vector: Vectors) -> Select[Any]:
    documents_live = live.subquery()
    distance = ChunkVector.embedding.cosine_distance(vector[0])
    nearest = (
        select(ChunkVector.chunk_id, distance.label("distance"))
        .join(
            documents_live,
            and_(
                ChunkVector.document_id == documents_live.c.id,
                ChunkVector.generation == documents_live.c.generation,
            ),
        )
        .order_by(distance)
        .limit(CANDIDATES)
        .subquery()
    )
    rank = func.row_number().over(order_by=nearest.c.distance)
    return select(nearest.c.chunk_id, rank.label("rank"))


def _by_words(live: Select[UUID, int], query: str) -> Select[Any]:
    documents_live = live.subquery()
    # Any of the words may match: a question holds more words than its answer's passage.
    plain = func.plainto_tsquery(_ENGLISH, query).cast(Text)
    wanted = func.replace(plain, "&", "|").cast(TSQUERY)
    relevance = func.ts_rank(Chunk.tsv, wanted)
    found = (
        select(Chunk.id.label("chunk_id"), relevance.label("relevance"))
        .join(
            documents_live,
            and_(
                Chunk.document_id == documents_live.c.id,
                Chunk.generation == documents_live.c.generation,
            ),
        )
        .where(Chunk.tsv.bool_op("@@")(wanted))
        .order_by(relevance.desc(), Chunk.id)
        .limit(CANDIDATES)
        .subquery()
    )
    rank = func.row_number().over(order_by=(found.c.relevance.desc(), found.c.chunk_id))
    return select(found.c.chunk_id, rank.label("rank"))


def _passage(index: int, row: Any, *, query: str) -> Passage:
    return Passage(
        index=index,
        document_id=str(row.document_id),
        filename=row.filename,
        page_start=row.page_start,
        page_end=row.page_end,
        chunk_id=str(row.chunk_id),
        text=row.text,
        quote=best_quote(row.text, query, page_break=row.page_break),
        score=float(row.score),
        page_break=row.page_break,
    )


def _candidate(passage: Passage) -> Candidate:
    return Candidate(
        chunk_id=passage.chunk_id,
        document_id=passage.document_id,
        filename=passage.filename,
        page_start=passage.page_start,
        page_end=passage.page_end,
        vector_rank=None,
        vector_score=None,
        text_rank=None,
        text_score=None,
        score=passage.score,
    )
