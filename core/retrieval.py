"""Finding passages: by meaning (pgvector), by words (full text), or by both.

Both sides propose candidates, and each candidate is scored by both. `hybrid`
adds the two scores: the cosine, and a BM25 (Robertson and Zaragoza, 2009) over
the documents in reach, divided by what a chunk with every word would score. A
convex combination of scores beats fusion by rank (Bruch, Gai and Ingber, 2023):
it keeps how much better the first is than the second.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import numpy as np
from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from core import documents, reranking
from core.bootstrap import Services
from core.citations import best_quote
from core.embedding.base import Vectors
from core.errors import NotFound
from core.models import ChatSession
from core.passages import Passage

Mode = Literal["hybrid", "vector", "text"]

CANDIDATES = 60  # taken from each side
WORDS_WEIGHT = 0.7  # of the words' score, at most 1, beside the cosine; by measurement

# One statement, so that both sides see the same documents. `live` are those in
# reach. Of BM25's parts the inverse document frequency is exact, counted over
# what is in reach; the saturation of a word's frequency is ts_rank's, the sum
# of 1/i² over its occurrences as a share of its limit; chunks are of like
# length, so length is left out. The conditions on parameters alone are folded
# by the planner: a side that is not wanted costs nothing.
_SEARCH = text(
    """
    WITH live AS MATERIALIZED (
        SELECT id, generation, filename, chunk_count FROM documents
        WHERE tenant_id = :tenant_id AND generation > 0
          AND (:everything
               OR (user_id IS NULL AND session_id IS NULL)
               OR user_id = :user_id
               OR session_id = CAST(:session_id AS uuid))
          AND (CAST(:document_ids AS uuid[]) IS NULL OR id = ANY(CAST(:document_ids AS uuid[])))
    ),
    terms AS (
        SELECT plainto_tsquery('simple', lexeme) AS term
        FROM unnest(to_tsvector('english', :query))
        WHERE :by_words
    ),
    matched AS MATERIALIZED (
        SELECT c.id, c.tsv
        FROM live JOIN chunks c ON c.document_id = live.id AND c.generation = live.generation
        WHERE :by_words
          AND c.tsv @@ replace(plainto_tsquery('english', :query)::text, '&', '|')::tsquery
    ),
    weighted AS MATERIALIZED (
        SELECT term, ln(1 + (total.n - holding.n + 0.5) / (holding.n + 0.5)) AS weight
        FROM terms
        CROSS JOIN (SELECT sum(chunk_count) AS n FROM live) AS total
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM matched WHERE tsv @@ term) AS holding
    ),
    by_words AS MATERIALIZED (
        SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank
        FROM (
            SELECT m.id, (
                SELECT sum(weight * ts_rank('{1,1,1,1}', m.tsv, term)) / sum(weight) FROM weighted
            )::float8 AS score
            FROM matched m
        ) AS scored
        ORDER BY rank LIMIT :candidates
    ),
    by_meaning AS MATERIALIZED (
        SELECT chunk_id AS id, row_number() OVER (ORDER BY distance, chunk_id) AS rank
        FROM (
            SELECT v.chunk_id, v.embedding <=> CAST(:vector AS vector) AS distance
            FROM live JOIN chunk_vectors v
              ON v.document_id = live.id AND v.generation = live.generation
            WHERE :by_meaning
            ORDER BY distance LIMIT :candidates
        ) AS nearest
    )
    SELECT c.id AS chunk_id, live.id AS document_id, live.filename, c.page_start, c.page_end,
           c.text, c.page_break, by_meaning.rank AS vector_rank, by_words.rank AS text_rank,
           by_words.score AS text_score,
           1 - (v.embedding <=> CAST(:vector AS vector)) AS vector_score
    FROM (SELECT id FROM by_meaning UNION SELECT id FROM by_words) AS chosen
    JOIN chunks c ON c.id = chosen.id
    JOIN live ON live.id = c.document_id
    LEFT JOIN chunk_vectors v ON v.chunk_id = c.id AND :by_meaning
    LEFT JOIN by_meaning ON by_meaning.id = c.id
    LEFT JOIN by_words ON by_words.id = c.id
    """
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that was considered. A rank counts from 1; None: not among that side's."""

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
    """Passages, best first, what they were chosen from, and milliseconds per stage."""

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
    """The passages of `find`."""
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
    """The `top_k` passages that fit `query` best, best first, numbered from 1.

    In reach are the user's documents, the shared ones and those attached to
    the session; with neither given, all of the tenant's. `document_ids`
    narrows that.

    Raises NotFound for a session or a document that is not in reach,
    ProviderError if the query cannot be embedded.
    """
    started = time.perf_counter()
    vector = None if mode == "text" else services.embedder.embed([query])
    embedded = time.perf_counter()
    with services.database.transaction(tenant_id=tenant_id) as db:
        reach = resolve_reach(
            db,
            tenant_id=tenant_id,
            user_id=user_id,
            session_id=session_id,
            document_ids=document_ids,
        )
        rows = db.execute(_SEARCH, reach | _question(query, vector, mode)).all()
    candidates = sorted(map(_candidate, rows), key=lambda item: (-item.score, item.chunk_id))
    passages = _passages(services, rows, candidates, query=query, top_k=top_k)
    timings = {
        "embed": 1000 * (embedded - started),
        "search": 1000 * (time.perf_counter() - embedded),
    }
    return Found(passages, candidates, timings)


def resolve_reach(
    db: Session,
    *,
    tenant_id: str,
    user_id: str | None,
    session_id: UUID | None,
    document_ids: Sequence[UUID] | None,
) -> dict[str, Any]:
    """The parameters that bound a search to what is in reach. Raises NotFound."""
    if session_id is not None:
        owner = db.scalar(
            select(ChatSession.user_id).where(
                ChatSession.tenant_id == tenant_id, ChatSession.id == session_id
            )
        )
        if owner is None:
            raise NotFound("No such session.", code="session_not_found")
        user_id = user_id or owner
    if document_ids is not None:
        reach = documents.in_reach(tenant_id=tenant_id, user_id=user_id, session_id=session_id)
        documents.check_reach(db, reach=reach, document_ids=document_ids)
    return {
        "tenant_id": tenant_id,
        "user_id": user_id,
        "session_id": session_id,
        "everything": user_id is None and session_id is None,
        "document_ids": None if document_ids is None else [str(item) for item in document_ids],
    }


def _question(query: str, vector: Vectors | None, mode: Mode) -> dict[str, Any]:
    plain = (
        None
        if vector is None
        else np.array2string(
            vector[0], separator=",", threshold=vector.shape[1] + 1, max_line_width=10**9
        )
    )
    return {
        "query": query,
        "vector": plain,
        "by_meaning": mode != "text",
        "by_words": mode != "vector",
        "candidates": CANDIDATES,
    }


def _candidate(row: Row[Any]) -> Candidate:
    meaning = None if row.vector_score is None else float(row.vector_score)
    words = None if row.text_score is None else float(row.text_score)
    return Candidate(
        chunk_id=str(row.chunk_id),
        document_id=str(row.document_id),
        filename=row.filename,
        page_start=row.page_start,
        page_end=row.page_end,
        vector_rank=row.vector_rank,
        vector_score=meaning,
        text_rank=row.text_rank,
        text_score=words,
        score=_score(meaning, words),
    )


def _score(meaning: float | None, words: float | None) -> float:
    """One side's score, or their weighted sum where both were asked."""
    if meaning is None:
        return words or 0.0
    return meaning + WORDS_WEIGHT * (words or 0.0)


def _passages(
    services: Services,
    rows: Sequence[Row[Any]],
    candidates: list[Candidate],
    *,
    query: str,
    top_k: int,
) -> list[Passage]:
    """The best candidates as passages, reordered by the reranker if there is one."""
    found = {str(row.chunk_id): row for row in rows}
    depth = top_k if services.reranker is None else max(top_k, reranking.DEPTH)
    passages = [
        _passage(index, candidate, row=found[candidate.chunk_id], query=query)
        for index, candidate in enumerate(candidates[:depth], start=1)
    ]
    if services.reranker is not None:
        passages = reranking.rerank(services.reranker, query=query, passages=passages)
    return passages[:top_k]


def _passage(index: int, candidate: Candidate, *, row: Row[Any], query: str) -> Passage:
    return Passage(
        index=index,
        document_id=candidate.document_id,
        filename=candidate.filename,
        page_start=candidate.page_start,
        page_end=candidate.page_end,
        chunk_id=candidate.chunk_id,
        text=row.text,
        quote=best_quote(row.text, query, page_break=row.page_break),
        score=candidate.score,
        page_break=row.page_break,
    )
