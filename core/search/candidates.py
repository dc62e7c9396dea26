"""Candidates for a search: the best chunks by words and by meaning, under every filter.

One statement searches by both, so that both see the same documents. The number of chunks in
reach decides how (docs/adr/0006):

- If few chunks are in reach, the statement reads all of them.
- Otherwise it takes vectors from the HNSW index. PostgreSQL continues the scan until enough
  of them are in reach (pgvector's README, "Iterative Index Scans"). If the scan yields too
  few, all vectors in reach are compared.
- It looks words up in the full-text index, rarest first, until it has enough chunks.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Literal

from sqlalchemy import TextClause, text

from core.db import Executor
from core.db.models import write_vector
from core.embedding.base import Vectors
from core.embedding.models import scale_of
from core.search.lexemes import terms_of
from core.search.reach import IN_REACH, Reach

Mode = Literal["hybrid", "vector", "text"]

CANDIDATES = 60  # by meaning, and as many by words
EXACT_MAX_CHUNKS = 10  # a code, number or phrase in more chunks does not count as exact

# docs/adr/0006 has the measurements behind these thresholds.
FULL_SCAN_MAX_CHUNKS = 2_000  # chunks in reach; up to this many, all are read for their words
EXACT_KNN_MAX_CHUNKS = 20_000  # chunks in reach; up to this many, all vectors are compared
RARE_TERM_BUDGET = 300  # chunks that the rarest words may add

# If less than half of a tenant's chunks are in reach, words are counted in a sample.
SAMPLE = 400  # chunks
PRIOR = 10  # chunks; the weight of the tenant's own frequency beside the sample

_PART = re.compile(r"^-- part: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)


def _read_statement(path: Path) -> TextClause:
    """The parts of the file as one statement: `WITH` all but the last, then the last."""
    _, *pieces = _PART.split(path.read_text(encoding="utf-8"))
    parts = {
        name: _COMMENT.sub("", sql).strip()
        for name, sql in zip(pieces[::2], pieces[1::2], strict=True)
    }
    is_live = parts.pop("is_live")
    result = parts.pop("result")
    whole = "WITH " + ",\n".join(parts.values()) + "\n" + result
    same_model = "(CAST(:model AS text) IS NULL OR model = :model)"
    fixed = {"in_reach": IN_REACH, "is_live": is_live, "same_model": same_model}
    return text(Template(whole).substitute(fixed))


_SEARCH = _read_statement(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that a search considers. The fields are in the order of the statement's columns.

    `vector_rank` and `text_rank` count from 1; None if the chunk is not among the best by
    meaning, or by words. `vector_score` is the cosine, on the scale of
    the default embedding model. `text_score` is the weighted share of
    the query's words that the chunk contains. A score is None if the mode does not use it.
    `context` and `ordinal` are those of `core.db.models.Chunk`.
    """

    chunk_id: str
    document_id: str
    filename: str
    title: str | None
    context: str
    ordinal: int
    page_start: int
    page_end: int
    page_label: str | None
    page_break: int | None
    text: str
    vector_rank: int | None
    vector_score: float | None
    text_rank: int | None
    text_score: float | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates, the most promising first, and statistics of the query's words.

    Keys of both mappings are the names of `core.search.lexemes.terms_of`. `weights` are inverse
    document frequencies; `frequency` is the approximate number of chunks in reach that contain
    the word. Both are empty in vector mode.
    """

    items: list[Candidate]
    weights: dict[str, float] = field(default_factory=dict)
    frequency: dict[str, float] = field(default_factory=dict)


def find_candidates(
    db: Executor,
    *,
    reach: Reach,
    query: str,
    vector: Vectors | None,
    mode: Mode,
    model: str | None = None,
    most: int = 2 * CANDIDATES,
) -> Candidates:
    """The `most` promising chunks among the CANDIDATES best by meaning and the best by words.

    `vector` is the query's embedding, of shape (1, dimensions); None in text mode. It is
    compared only with vectors of the embedding model `model`, or with all if that is None.
    `db` must be bound to the tenant of `reach`.
    """
    values = reach_values(reach) | _query_values(query, vector, mode)
    low, high = scale_of(model)
    values |= {"most": most, "model": model, "unrelated": low, "related": high}
    rows = db.execute(_SEARCH, values).all()
    # The column is text and is parsed once; psycopg2 would parse a JSON column in each row.
    known = json.loads(rows[0][-1] or "{}") if rows else {}
    return Candidates(
        [Candidate(*row[:-1]) for row in rows],
        weights={name: weight for name, (weight, _) in known.items()},
        frequency={name: frequency for name, (_, frequency) in known.items()},
    )


def reach_values(reach: Reach) -> dict[str, Any]:
    """The parameters of IN_REACH and of what narrows it."""
    ids = reach.document_ids
    return {
        "tenant_id": reach.tenant_id,
        "user_id": reach.user_id,
        "session_id": None if reach.session_id is None else str(reach.session_id),
        "whole": reach.everything and ids is None,
        "document_ids": None if ids is None else f"{{{','.join(map(str, ids))}}}",
    }


def _query_values(query: str, vector: Vectors | None, mode: Mode) -> dict[str, Any]:
    terms = terms_of(query)
    return {
        "query": query,
        "lexemes": [term.name for term in terms],
        "terms": [term.query for term in terms],
        "forms": [term.forms for term in terms],
        "vector": None if vector is None else write_vector(vector[0].tolist()),
        "model": None,
        "unrelated": 0.0,
        "related": 1.0,
        "by_meaning": mode != "text",
        "by_words": mode != "vector",
        "candidates": CANDIDATES,
        "full_scan_max": FULL_SCAN_MAX_CHUNKS,
        "exact_knn_max": EXACT_KNN_MAX_CHUNKS,
        "rare_budget": RARE_TERM_BUDGET,
        "exact_max": EXACT_MAX_CHUNKS,
        "sample": SAMPLE,
        "prior": PRIOR,
    }
