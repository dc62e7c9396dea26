"""Finds passages by meaning (pgvector), by words (full text), or by both.

`core.search.candidates` finds the best chunks by meaning and by words. In mode `hybrid`,
`core.search.ranking` orders them by the cosine plus weighted scores of words and names. A
convex combination of scores is better than a fusion of ranks (Bruch, Gai and Ingber,
2023): it keeps the distance between the first and the second.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from core.answering.citations import best_quote
from core.answering.passages import Passage
from core.bootstrap import Services
from core.embedding.base import Query, Vectors
from core.errors import ProviderRefused, Unavailable
from core.search import embedding_model, ranking, repeats, reranking, spelling
from core.search.candidates import Candidate, Candidates, Mode, find_candidates
from core.search.document_names import document_label
from core.search.reach import Reach, resolve_reach
from core.text.questions import without_instructions

SHORTLIST = 40  # candidates whose texts are ranked; docs/adr/0005 has the cost


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate and its final score."""

    candidate: Candidate
    score: float

    def summary(self) -> dict[str, Any]:
        """The fields that a trace shows."""
        kept = asdict(self.candidate)
        for name in ("title", "context", "ordinal", "page_break", "text"):
            del kept[name]
        return kept | {"score": self.score}


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first; the candidates behind them; milliseconds per stage.

    `query` is what was searched for in the end, with typos corrected.
    """

    query: str
    passages: list[Passage]
    candidates: list[Scored]
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
    """The passages of `find_in_reach`, for a caller that has not resolved the reach.

    In reach are the user's documents, the shared ones and those attached to
    the session; without user and session, all of the tenant's. `document_ids`
    limits the search to these documents.
    Raises NotFound for a session or a document that is not in reach,
    ProviderError if the query cannot be embedded.
    """
    reach = Reach(tenant_id, user_id, session_id, document_ids)
    if session_id is not None or document_ids is not None:
        with services.database.transaction(tenant_id=tenant_id) as db:
            reach = resolve_reach(db, reach)
    return find_in_reach(services, reach=reach, query=query, top_k=top_k, mode=mode).passages


def find_in_reach(
    services: Services, *, reach: Reach, query: str, top_k: int = 5, mode: Mode = "hybrid"
) -> Found:
    """The `top_k` passages that fit `query` best, best first, numbered from 1.

    `reach` comes from `core.search.reach.resolve_reach`: its session and documents are not
    checked again. The query is embedded while no transaction is open.

    A word that no chunk in reach holds is corrected if it is misspelt (`core.search.spelling`).

    While the database has vectors of another length than the embedder's (see
    `core.search.embedding_model`), `hybrid` searches by words alone.

    Raises ProviderError if the query cannot be embedded, Unavailable in mode `vector` while
    the lengths differ.
    """
    started = time.perf_counter()
    mode = _possible_mode(services, mode)
    most = max(SHORTLIST, 2 * top_k)
    found, embed = _candidates(services, reach=reach, query=query, mode=mode, most=most)
    if mode != "vector":
        db = services.database.autocommit(tenant_id=reach.tenant_id)
        corrected = spelling.correct(db, reach=reach, query=query, found=found)
        if corrected != query:
            query = corrected
            found, again = _candidates(services, reach=reach, query=query, mode=mode, most=most)
            embed += again
    ranked = _ranked(query, found, mode=mode)
    passages = _passages(services, ranked, query=query, top_k=top_k)
    search = 1000 * (time.perf_counter() - started) - embed
    return Found(query, passages, ranked, {"embed": embed, "search": search})


def _candidates(
    services: Services, *, reach: Reach, query: str, mode: Mode, most: int
) -> tuple[Candidates, float]:
    """The candidates for `query`, and the milliseconds that its embedding took."""
    started = time.perf_counter()
    vector = None if mode == "text" else _embed(services, query)
    embed = 1000 * (time.perf_counter() - started)
    found = find_candidates(
        services.database.autocommit(tenant_id=reach.tenant_id),
        reach=reach,
        query=query,
        vector=vector,
        mode=mode,
        model=None if mode == "text" else services.embedder.name,
        most=most,
    )
    return found, embed


def _embed(services: Services, query: str) -> Vectors:
    return services.embedder.embed([Query(without_instructions(query))])


def _possible_mode(services: Services, mode: Mode) -> Mode:
    if mode == "text" or services.vectors_fit:
        return mode
    try:
        embedding_model.check_length(services)
    except ProviderRefused as error:
        if mode == "vector":
            raise Unavailable(error.detail, code=error.code) from None
        return "text"
    services.vectors_fit = True
    return mode


def _ranked(query: str, found: Candidates, *, mode: Mode) -> list[Scored]:
    """The candidates with their scores for `mode`, best first."""
    if mode == "hybrid":
        scores = ranking.score(query, found.items, weights=found.weights, frequency=found.frequency)
    else:
        scores = [(one.vector_score or 0.0) + (one.text_score or 0.0) for one in found.items]
    scored = map(Scored, found.items, scores)
    return sorted(scored, key=lambda one: (-one.score, one.candidate.chunk_id))


def _passages(
    services: Services, ranked: Sequence[Scored], *, query: str, top_k: int
) -> list[Passage]:
    """The best candidates without repeats, reordered by the reranker if there is one."""
    depth = top_k if services.reranker is None else max(top_k, reranking.DEPTH)
    kept = repeats.without_repeats((one.candidate.text for one in ranked), limit=depth)
    passages = [
        _passage(index, ranked[place], query=query) for index, place in enumerate(kept, start=1)
    ]
    if services.reranker is not None:
        passages = reranking.rerank(services.reranker, query=query, passages=passages)
    return passages[:top_k]


def _passage(index: int, scored: Scored, *, query: str) -> Passage:
    found = scored.candidate
    return Passage(
        index=index,
        document_id=found.document_id,
        filename=found.filename,
        page_start=found.page_start,
        page_end=found.page_end,
        chunk_id=found.chunk_id,
        text=found.text,
        quote=best_quote(found.text, query, page_break=found.page_break),
        score=scored.score,
        page_break=found.page_break,
        page_label=found.page_label,
        heading=found.context.removeprefix(document_label(found.filename, found.title)).strip(),
    )
