"""Candidates for a search, from both sides in one statement, under every filter.

What is in reach decides how each side looks. Few chunks are all read, by their
documents. Beyond that the vectors come from the HNSW index, scanned on until
enough of them are in reach (pgvector's README, "Iterative Index Scans"), and
exactly if they are not found so; the words come from the full-text index,
those first that stand in the fewest chunks, until enough are found.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import text

from core.db import Executor
from core.db.models import write_vector
from core.embedding.base import Vectors
from core.search.reach import Reach

Mode = Literal["hybrid", "vector", "text"]

CANDIDATES = 60  # taken from each side

# The thresholds by measurement, docs/adr/0006: chunks in reach up to which all
# are read for their words, and up to which all are compared by their vectors;
# and how many chunks the rarest words may bring in to be scored.
FULL_SCAN_MAX_CHUNKS = 2_000
EXACT_KNN_MAX_CHUNKS = 20_000
RARE_TERM_BUDGET = 300

# Where a part of a tenant's chunks is in reach: how many of it are looked into to tell how
# common a word is there, and how many chunks the tenant's own frequency counts for beside them.
SAMPLE = 400
PRIOR = 10


def _is_live(row: str) -> str:
    """The condition that the document of `row` is in reach and this its live generation.

    Looked up where hardly any row fails it; else one of thousands of rows may pass,
    and hashing all that is in reach costs less.
    """
    return f"""
        CASE WHEN :whole THEN (
            SELECT true FROM documents
            WHERE id = {row}.document_id AND generation = {row}.generation
              AND tenant_id = :tenant_id
        ) ELSE ({row}.document_id, {row}.generation) IN (SELECT id, generation FROM live)
        END IS TRUE"""  # noqa: S608 - `row` is an alias in the statement below


# `live` are the documents in reach and `size` their chunks. Of BM25's parts the
# inverse document frequency comes from what was read, from the tenant's
# statistics, or, where less than half of the tenant's chunks are in reach, from a
# sample of those; the saturation of a word's frequency is ts_rank's, the sum of 1/i²
# over its occurrences as a share of its limit; chunks are of like length, so
# length is left out. `|| ''` unpacks a tsvector once instead of for each word.
#
# `rare` are the words of few chunks, `common` the others, of which the rarest must stand
# with another: they are looked for where there is nothing rare, and for lack of the other
# side where the rare bring in too little, a word misspelt say. As the index gives the first
# chunks that hold them, whosever they are, a part of the tenant's is rather read.
#
# Which of the candidates are the most promising is told by the two scores alone;
# words count for less here than in the ranking, whose other shares tell more of them.
#
# What of a large tenant's is not in the index yet (core.search.vector_index) is compared
# beside what the index gives; where that is too little, all in reach is compared.
#
# Where all of a tenant's is in reach, `live` is not read: that would take the longer the more
# documents there are. A candidate's document is then looked up, and the statistics say the size.
#
# OFFSET 0 and IS TRUE keep the planner from turning the exact side into a walk
# of the HNSW index and the approximate one into a join, which has no order. From a
# full join that is not MATERIALIZED no index is reached: all chunks would be read.
# Conditions on `size` and on parameters cost nothing where they are false.
_SEARCH = text(
    f"""
    WITH asked AS MATERIALIZED (SELECT CAST(:vector AS halfvec) AS vector),
    live AS MATERIALIZED (
        SELECT id, generation, chunk_count FROM documents
        WHERE tenant_id = :tenant_id AND generation > 0
          AND (:everything
               OR (user_id IS NULL AND session_id IS NULL)
               OR user_id = :user_id
               OR session_id = CAST(:session_id AS uuid))
          AND (CAST(:document_ids AS uuid[]) IS NULL OR id = ANY(CAST(:document_ids AS uuid[])))
    ),
    size AS MATERIALIZED (
        SELECT n, n <= :most_read AS few, n <= :most_compared AS comparable, counted,
               CASE WHEN counted > n THEN greatest(n, 1) / counted ELSE 1 END AS share
        FROM (
            SELECT counted, CASE
                WHEN :whole AND counted > :most_compared THEN counted
                ELSE (SELECT coalesce(sum(chunk_count), 0) FROM live)
            END::float8 AS n
            FROM (SELECT max(chunks) AS counted FROM term_statistics
                  WHERE tenant_id = :tenant_id AND lexeme = chr(1) || :tenant_id) AS tenant
        ) AS reach
    ),
    terms AS MATERIALIZED (
        SELECT lexeme, term, chunks, so_far, so_far <= :most_scored AS rare,
               row_number() OVER (ORDER BY chunks, lexeme)
               - count(*) FILTER (WHERE so_far <= :most_scored) OVER () AS beyond
        FROM (
            SELECT q.lexeme, lexeme_query(q.lexeme) AS term, coalesce(s.chunks, 1) AS chunks,
                   (SELECT share FROM size)
                   * sum(coalesce(s.chunks, 1)) OVER (ORDER BY s.chunks NULLS FIRST, q.lexeme)
                   AS so_far
            FROM unnest(to_tsvector('english', :query)) AS q
            LEFT JOIN term_statistics s ON s.tenant_id = :tenant_id AND s.lexeme = q.lexeme
            WHERE :by_words
        ) AS known
    ),
    wanted AS MATERIALIZED (
        SELECT any_term, rare, CASE
            WHEN rare IS NULL THEN common
            WHEN NOT :by_meaning AND so_far < :candidates THEN common && !!rare
        END AS common
        FROM (
            SELECT string_agg(term::text, '|')::tsquery AS any_term,
                   (string_agg(term::text, '|') FILTER (WHERE rare))::tsquery AS rare,
                   max(so_far) FILTER (WHERE rare) AS so_far,
                   coalesce(
                       (string_agg(term::text, '|') FILTER (WHERE beyond = 1))::tsquery
                       && (string_agg(term::text, '|') FILTER (WHERE beyond > 1))::tsquery,
                       (string_agg(term::text, '|') FILTER (WHERE beyond = 1))::tsquery
                   ) AS common
            FROM terms
        ) AS parts
    ),
    way AS MATERIALIZED (
        SELECT all_read, 2 * :most_scored / share AS most,
               :by_words AND NOT all_read AND comparable AND share < 0.5 AS sampling
        FROM (
            SELECT *, few OR NOT :by_meaning AND comparable AND share < 1
                             AND (SELECT common IS NOT NULL FROM wanted) AS all_read
            FROM size
        ) AS reach
    ),
    matched AS MATERIALIZED (
        SELECT c.id, c.tsv || '' AS tsv
        FROM live CROSS JOIN LATERAL (
            SELECT id, tsv FROM chunks
            WHERE document_id = live.id AND generation = live.generation
              AND tsv @@ (SELECT any_term FROM wanted)
            OFFSET 0
        ) AS c
        WHERE :by_words AND (SELECT all_read FROM way)
        UNION ALL
        SELECT c.id, c.tsv || ''
        FROM wanted
        CROSS JOIN LATERAL unnest(ARRAY[rare, common]) AS telling
        CROSS JOIN LATERAL chunks_with(
            telling, (SELECT CASE WHEN counted > 0 THEN most END FROM size, way)::bigint
        ) AS c
        WHERE :by_words AND NOT (SELECT all_read FROM way) AND {_is_live("c")}
    ),
    approximate AS MATERIALIZED (
        SELECT v.chunk_id AS id, v.embedding <=> (SELECT vector FROM asked) AS distance
        FROM chunk_vectors v
        WHERE indexed AND :by_meaning AND NOT (SELECT comparable FROM size) AND {_is_live("v")}
        ORDER BY v.embedding <=> (SELECT vector FROM asked) LIMIT :candidates
    ),
    compared AS MATERIALIZED (
        SELECT v.chunk_id AS id, v.embedding <=> (SELECT vector FROM asked) AS distance
        FROM live CROSS JOIN LATERAL (
            SELECT chunk_id, embedding FROM chunk_vectors
            WHERE document_id = live.id AND generation = live.generation
            OFFSET 0
        ) AS v
        WHERE (
            SELECT sampling OR :by_meaning AND (
                comparable OR (SELECT count(*) FROM approximate) < :candidates
            ) FROM size, way
        )
    ),
    sampled AS MATERIALIZED (
        SELECT c.tsv || '' AS tsv
        FROM compared JOIN chunks c ON c.id = compared.id
        WHERE (SELECT sampling FROM way)
          AND abs(uuid_hash(compared.id)::bigint)
              % (SELECT greatest(1, round(n / :sample)::bigint) FROM size) = 0
    ),
    weighted AS MATERIALIZED (
        SELECT lexeme, term, ln(1 + (n - holding + 0.5) / (holding + 0.5)) AS weight
        FROM (
            SELECT lexeme, term, n, CASE
                WHEN all_read OR counted IS NULL
                THEN (SELECT count(*) FROM matched WHERE tsv @@ term)
                WHEN looked_into > 0 THEN greatest(
                    (SELECT count(*) FROM matched WHERE tsv @@ term),
                    n * ((SELECT count(*) FROM sampled WHERE tsv @@ term)
                         + :prior * least(1, chunks / counted)) / (looked_into + :prior)
                )
                ELSE least(n, chunks * n / counted)
            END AS holding
            FROM terms CROSS JOIN size CROSS JOIN way
            CROSS JOIN (SELECT count(*)::float8 AS looked_into FROM sampled) AS sample
            OFFSET 0
        ) AS frequencies
    ),
    by_words AS MATERIALIZED (
        SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank
        FROM (
            SELECT m.id, (
                SELECT sum(weight * ts_rank('{{1,1,1,1}}', m.tsv, term)) FROM weighted
            ) AS score
            FROM matched m
        ) AS scored
        ORDER BY rank LIMIT :candidates
    ),
    nearest AS MATERIALIZED (
        SELECT id, distance FROM approximate
        UNION
        (SELECT v.chunk_id, v.embedding <=> (SELECT vector FROM asked) AS distance
         FROM chunk_vectors v
         WHERE NOT indexed AND tenant_id = :tenant_id AND {_is_live("v")}
           AND (SELECT count(*) >= :candidates FROM approximate)
         ORDER BY distance LIMIT :candidates)
        UNION
        (SELECT id, distance FROM compared WHERE :by_meaning
         ORDER BY distance LIMIT :candidates)
    ),
    by_meaning AS MATERIALIZED (
        SELECT id, distance, row_number() OVER (ORDER BY distance, id) AS rank
        FROM nearest ORDER BY rank LIMIT :candidates
    ),
    chosen AS MATERIALIZED (
        SELECT coalesce(m.id, w.id) AS id, m.rank AS vector_rank, w.rank AS text_rank,
               m.distance, w.score
        FROM by_meaning m FULL JOIN by_words w ON w.id = m.id
    ),
    scored AS (
        SELECT c.id, c.document_id, c.context, c.ordinal, c.page_start, c.page_end, c.page_break,
               c.text, vector_rank, text_rank,
               CASE WHEN :by_meaning THEN 1 - coalesce(distance, (
                   SELECT embedding <=> (SELECT vector FROM asked) FROM chunk_vectors
                   WHERE chunk_id = c.id
               )) END AS vector_score,
               CASE WHEN :by_words THEN coalesce(coalesce(score, (
                   SELECT sum(weight * ts_rank('{{1,1,1,1}}', c.tsv, term)) FROM weighted
               )) / (SELECT sum(weight) FROM weighted), 0)::float8 END AS text_score
        FROM chosen JOIN chunks c ON c.id = chosen.id
        OFFSET 0
    ),
    promising AS (
        SELECT *, coalesce(vector_score, 0) + 0.4 * coalesce(text_score, 0) AS promise
        FROM scored ORDER BY promise DESC, id LIMIT :most
    )
    SELECT c.id::text, d.id::text, d.filename, d.title,
           c.context, c.ordinal, c.page_start, c.page_end, c.page_break, c.text,
           c.vector_rank, c.vector_score, c.text_rank, c.text_score,
           (SELECT jsonb_object_agg(lexeme, weight)::text FROM weighted)
    FROM promising c JOIN documents d ON d.id = c.document_id
    ORDER BY c.promise DESC, c.id
    """  # noqa: S608 - nothing of a request's stands in it
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that was considered. A rank counts from 1; None: not among that side's.

    `vector_score` is the cosine, `text_score` the share of the question's words,
    by weight, that the chunk holds; each None if its side was not asked.
    `context` and `ordinal` are what `core.db.models.Chunk` says. The fields are in
    the order of the statement's columns.
    """

    chunk_id: str
    document_id: str
    filename: str
    title: str | None
    context: str
    ordinal: int
    page_start: int
    page_end: int
    page_break: int | None
    text: str
    vector_rank: int | None
    vector_score: float | None
    text_rank: int | None
    text_score: float | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What was found, the promising first, and the inverse document frequencies of the query.

    Those are by lexeme of PostgreSQL's English dictionary; None where no words were looked for.
    """

    items: list[Candidate]
    weights: dict[str, float] | None


def find_candidates(
    db: Executor,
    *,
    reach: Reach,
    query: str,
    vector: Vectors | None,
    mode: Mode,
    most: int = 2 * CANDIDATES,
) -> Candidates:
    """CANDIDATES of each side that `mode` asks; of these the `most` promising by both scores.

    `vector` is the query's embedding, of shape (1, dimensions); None where
    `mode` is "text".
    """
    values = _of_reach(reach) | _of_question(query, vector, mode) | {"most": most}
    rows = db.execute(_SEARCH, values).all()
    # Text, which is parsed once; psycopg2 would parse JSON in each of the rows.
    weights = rows[0][-1] if rows else None
    return Candidates([Candidate(*row[:-1]) for row in rows], weights and json.loads(weights))


def _of_reach(reach: Reach) -> dict[str, Any]:
    ids = reach.document_ids
    return {
        "tenant_id": reach.tenant_id,
        "user_id": reach.user_id,
        "session_id": None if reach.session_id is None else str(reach.session_id),
        "everything": reach.everything,
        "whole": reach.everything and ids is None,
        "document_ids": None if ids is None else f"{{{','.join(map(str, ids))}}}",
    }


def _of_question(query: str, vector: Vectors | None, mode: Mode) -> dict[str, Any]:
    return {
        "query": query,
        "vector": None if vector is None else write_vector(vector[0].tolist()),
        "by_meaning": mode != "text",
        "by_words": mode != "vector",
        "candidates": CANDIDATES,
        "most_read": FULL_SCAN_MAX_CHUNKS,
        "most_compared": EXACT_KNN_MAX_CHUNKS,
        "most_scored": RARE_TERM_BUDGET,
        "sample": SAMPLE,
        "prior": PRIOR,
    }
