-- The statement of core/search/candidates.py, in parts that Python joins in this order.
--
-- $same_model keeps vectors of another embedding model than the query's out of every comparison.
-- $in_reach is the condition of core/search/reach.py. $is_live is the part of that name.
-- MATERIALIZED keeps PostgreSQL from computing a part twice, or from merging parts into a
-- join that no index serves. PostgreSQL checks a condition on a parameter or on `size` once,
-- before it reads anything, so a part whose condition is false costs nothing.

-- part: is_live
-- Whether the row `found` belongs to the live generation of a document in reach.
-- * All documents are in reach: look up the row's document. Hardly any row fails.
-- * Some documents are in reach: hash the list of live documents. Thousands of rows may fail.
CASE WHEN :whole THEN (
    SELECT true FROM documents
    WHERE id = found.document_id AND generation = found.generation AND tenant_id = :tenant_id
) ELSE (found.document_id, found.generation) IN (SELECT id, generation FROM live)
END IS TRUE

-- part: reach
-- The documents in reach, and their number of chunks.
-- * question: the query's embedding.
-- * live: the documents in reach. Not read if all documents of a large tenant are in reach,
--   because that takes longer with every document.
-- * size: `n` chunks are in reach, and the tenant has `counted` in total. `counted` is
--   NULL for a tenant without statistics. `share` is n / counted.
question AS MATERIALIZED (SELECT CAST(:vector AS halfvec) AS vector),
live AS MATERIALIZED (
    SELECT id, generation, chunk_count FROM documents
    WHERE $in_reach AND generation > 0
      AND (CAST(:document_ids AS uuid[]) IS NULL OR id = ANY(CAST(:document_ids AS uuid[])))
),
size AS MATERIALIZED (
    SELECT n, n <= :full_scan_max AS few, n <= :exact_knn_max AS comparable, counted,
           CASE WHEN counted > n THEN greatest(n, 1) / counted ELSE 1 END AS share
    FROM (
        SELECT counted, CASE
            WHEN :whole AND counted > :exact_knn_max THEN counted
            ELSE (SELECT coalesce(sum(chunk_count), 0) FROM live)
        END::float8 AS n
        FROM (SELECT max(chunks) AS counted FROM tenant_statistics
              WHERE tenant_id = :tenant_id) AS tenant
    ) AS reach
)

-- part: terms
-- The query's words, and the choice of words to look up.
-- * terms: each word with the number of the tenant's chunks that contain it, rarest first.
--   The words are those of core/search/lexemes.py. Chunks that PostgreSQL's own parser indexed
--   are searched by its words until core/search/word_index.py has cut them again.
--   `so_far` is the number of chunks in reach that contain this word or a rarer one, if no
--   chunk contains two. A word is rare while `so_far` is within the budget.
-- * wanted: the words as tsqueries. `any_term` is for reading all chunks, `rare` for the index.
--   `common` is the rarest of the other words together with any further one. It is used if no
--   word is rare, and in text mode if the rare words match too few chunks (one may be
--   misspelt).
-- * plan: `all_read` says that the words of all chunks in reach are read. For a common word
--   the index returns the tenant's first chunks, in reach or not; so if only a part of a
--   tenant is in reach, that part is read instead. `index_rows` is the number of rows to take
--   from the index. `sampling` says that word frequencies are counted in a sample of the
--   chunks in reach.
terms AS MATERIALIZED (
    SELECT lexeme, term, forms, chunks, so_far, so_far <= :rare_budget AS rare,
           row_number() OVER (ORDER BY chunks, lexeme)
           - count(*) FILTER (WHERE so_far <= :rare_budget) OVER () AS beyond
    FROM (
        SELECT q.lexeme, q.term, q.forms, coalesce(s.chunks, 1) AS chunks,
               (SELECT share FROM size)
               * sum(coalesce(s.chunks, 1)) OVER (ORDER BY s.chunks NULLS FIRST, q.lexeme)
               AS so_far
        FROM (
            SELECT lexeme, term::tsquery, forms
            FROM unnest(
                CAST(:lexemes AS text[]), CAST(:terms AS text[]), CAST(:forms AS int[])
            ) AS given (lexeme, term, forms)
            UNION
            SELECT lexeme, lexeme_query(lexeme), 1 FROM unnest(to_tsvector('english', :query))
            WHERE EXISTS (
                SELECT FROM chunks WHERE tenant_id = :tenant_id AND words_version = 0
            )
        ) AS q
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
plan AS MATERIALIZED (
    SELECT all_read, 2 * :rare_budget / share AS index_rows,
           :by_words AND NOT all_read AND comparable AND share < 0.5 AS sampling
    FROM (
        SELECT *, few OR NOT :by_meaning AND comparable AND share < 1
                         AND (SELECT common IS NOT NULL FROM wanted) AS all_read
        FROM size
    ) AS reach
)

-- part: matched
-- The chunks that contain words of the query.
-- * The first half reads all chunks of the documents in reach; OFFSET 0 keeps PostgreSQL
--   from turning that into a scan of all chunks.
-- * The second half uses the full-text index, through a function, because under row-level
--   security no index serves a full-text match. Without statistics it returns all rows.
-- * `|| ''` unpacks a tsvector once instead of once for each word.
matched AS MATERIALIZED (
    SELECT found.id, found.tsv || '' AS tsv
    FROM live CROSS JOIN LATERAL (
        SELECT id, tsv FROM chunks
        WHERE document_id = live.id AND generation = live.generation
          AND tsv @@ (SELECT any_term FROM wanted)
        OFFSET 0
    ) AS found
    WHERE :by_words AND (SELECT all_read FROM plan)
    UNION ALL
    SELECT found.id, found.tsv || ''
    FROM wanted
    CROSS JOIN LATERAL unnest(ARRAY[rare, common]) AS query
    CROSS JOIN LATERAL chunks_with(
        query, (SELECT CASE WHEN counted > 0 THEN index_rows END FROM size, plan)::bigint
    ) AS found
    WHERE :by_words AND NOT (SELECT all_read FROM plan) AND $is_live
)

-- part: nearest
-- The chunks whose vectors are nearest to the query's.
-- * approximate: from the HNSW index, if too many chunks are in reach to compare them all.
-- * compared: all chunks in reach, exactly; if that is cheap, if the index yields too few, or
--   if a sample of the chunks is needed.
-- * nearest: the best of both, and of the vectors of a large tenant that are not in the index
--   yet (core.search.vector_index).
-- * IS TRUE in $is_live and OFFSET 0 keep PostgreSQL from turning the exact part into a walk
--   of the HNSW index, and the approximate one into a join, which has no order.
approximate AS MATERIALIZED (
    SELECT found.chunk_id AS id, found.embedding <=> (SELECT vector FROM question) AS distance
    FROM chunk_vectors found
    WHERE indexed AND $same_model AND :by_meaning AND NOT (SELECT comparable FROM size) AND $is_live
    ORDER BY found.embedding <=> (SELECT vector FROM question) LIMIT :candidates
),
compared AS MATERIALIZED (
    SELECT found.chunk_id AS id, found.embedding <=> (SELECT vector FROM question) AS distance
    FROM live CROSS JOIN LATERAL (
        SELECT chunk_id, embedding FROM chunk_vectors
        WHERE document_id = live.id AND generation = live.generation AND $same_model
        OFFSET 0
    ) AS found
    WHERE (
        SELECT sampling OR :by_meaning AND (
            comparable OR (SELECT count(*) FROM approximate) < :candidates
        ) FROM size, plan
    )
),
nearest AS MATERIALIZED (
    SELECT id, distance FROM approximate
    UNION
    (SELECT found.chunk_id, found.embedding <=> (SELECT vector FROM question) AS distance
     FROM chunk_vectors found
     WHERE NOT indexed AND $same_model AND tenant_id = :tenant_id AND $is_live
       AND (SELECT count(*) >= :candidates FROM approximate)
     ORDER BY distance LIMIT :candidates)
    UNION
    (SELECT id, distance FROM compared WHERE :by_meaning
     ORDER BY distance LIMIT :candidates)
)

-- part: weighted
-- The weight of each word: its inverse document frequency, as in BM25.
-- * sampled: some of the chunks that were compared, chosen by their ids.
-- * weighted: if all chunks were read, a word's frequency is counted in them. Otherwise it is
--   estimated from the sample, with the tenant's frequency as a prior, or is the tenant's. A
--   code, number, name in capitals or quoted phrase in few chunks is `exact`.
sampled AS MATERIALIZED (
    SELECT c.tsv || '' AS tsv
    FROM compared JOIN chunks c ON c.id = compared.id
    WHERE (SELECT sampling FROM plan)
      AND abs(uuid_hash(compared.id)::bigint)
          % (SELECT greatest(1, round(n / :sample)::bigint) FROM size) = 0
),
weighted AS MATERIALIZED (
    SELECT lexeme, term, forms, frequency, ln(1 + (n - frequency + 0.5) / (frequency + 0.5)) AS weight,
           frequency <= :exact_max AND lexeme ~ '[0-9A-Z"]' AS exact
    FROM (
        SELECT lexeme, term, forms, n, CASE
            WHEN all_read OR counted IS NULL
            THEN (SELECT count(*) FROM matched WHERE tsv @@ term)
            WHEN sample_size > 0 THEN greatest(
                (SELECT count(*) FROM matched WHERE tsv @@ term),
                n * ((SELECT count(*) FROM sampled WHERE tsv @@ term)
                     + :prior * least(1, chunks / counted)) / (sample_size + :prior)
            )
            ELSE least(n, chunks * n / counted)
        END AS frequency
        FROM terms CROSS JOIN size CROSS JOIN plan
        CROSS JOIN (SELECT count(*)::float8 AS sample_size FROM sampled) AS sample
        OFFSET 0
    ) AS frequencies
)

-- part: ranked
-- The best chunks by words and by meaning, with their ranks, and both lists joined.
-- * by_words: a sum over the words of weight times ts_rank's saturation of the word's
--   frequency (the sum of 1/i² over its occurrences, as a share of its limit). Chunks have
--   similar lengths, so length plays no part. ts_rank divides by the number of a term's forms
--   (`capex` or `capital expenditures`), although a chunk mostly has one of them, and gives a
--   score to a chunk that has a phrase's words apart.
-- * chosen is MATERIALIZED because PostgreSQL uses no index below a full join: it would
--   read all chunks.
by_words AS MATERIALIZED (
    SELECT id, score, exact, row_number() OVER (ORDER BY exact DESC, score DESC, id) AS rank
    FROM (
        SELECT m.id, (
            SELECT sum(weight * CASE
                WHEN forms = 1 THEN ts_rank('{1,1,1,1}', m.tsv, term)
                WHEN m.tsv @@ term THEN least(1, forms * ts_rank('{1,1,1,1}', m.tsv, term))
                ELSE 0
            END) FROM weighted
        ) AS score, EXISTS (SELECT FROM weighted WHERE exact AND m.tsv @@ term) AS exact
        FROM matched m
    ) AS scored
    ORDER BY rank LIMIT :candidates
),
by_meaning AS MATERIALIZED (
    SELECT id, distance, row_number() OVER (ORDER BY distance, id) AS rank
    FROM nearest ORDER BY rank LIMIT :candidates
),
chosen AS MATERIALIZED (
    SELECT coalesce(m.id, w.id) AS id, m.rank AS vector_rank, w.rank AS text_rank,
           m.distance, w.score, w.exact
    FROM by_meaning m FULL JOIN by_words w ON w.id = m.id
)

-- part: scored
-- Both scores for every candidate, and the most promising ones.
-- * scored: a candidate by words gets its score by meaning too, and the other way round.
--   `unrelated` and `related` bring the model's cosines to the scale of the default model's.
-- * promising: the best by both scores. Words count for less here than in
--   core.search.ranking, which has more information about them. Chunks with an exact word
--   come first, because they may be far from the query in meaning.
scored AS (
    SELECT c.id, c.document_id, c.context, c.ordinal, c.page_start, c.page_end, c.page_label,
           c.page_break, c.text, vector_rank, text_rank, exact,
           CASE WHEN :by_meaning THEN (1 - coalesce(distance, (
               SELECT embedding <=> (SELECT vector FROM question) FROM chunk_vectors
               WHERE chunk_id = c.id AND $same_model
           )) - CAST(:unrelated AS float8)) / CAST(:related - :unrelated AS float8)
           END AS vector_score,
           CASE WHEN :by_words THEN coalesce(coalesce(score, (
               SELECT sum(weight * CASE
                   WHEN forms = 1 THEN ts_rank('{1,1,1,1}', c.tsv, term)
                   WHEN c.tsv @@ term THEN least(1, forms * ts_rank('{1,1,1,1}', c.tsv, term))
                   ELSE 0
               END) FROM weighted
           )) / (SELECT sum(weight) FROM weighted), 0)::float8 END AS text_score
    FROM chosen JOIN chunks c ON c.id = chosen.id
    OFFSET 0
),
promising AS (
    SELECT *, coalesce(vector_score, 0) + 0.4 * coalesce(text_score, 0) AS promise
    FROM scored ORDER BY coalesce(exact, false) DESC, promise DESC, id LIMIT :most
)

-- part: result
-- The columns in the order of the fields of `Candidate`, then as JSON text each word's weight
-- and frequency, the number of chunks in reach that contain the word.
SELECT c.id::text, d.id::text, d.filename, d.title,
       c.context, c.ordinal, c.page_start, c.page_end, c.page_label, c.page_break, c.text,
       c.vector_rank, c.vector_score, c.text_rank, c.text_score,
       (SELECT jsonb_object_agg(lexeme, jsonb_build_array(weight, frequency))::text FROM weighted)
FROM promising c JOIN documents d ON d.id = c.document_id
ORDER BY c.promise DESC, c.id
