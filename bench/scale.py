"""Measures search in 100,000 chunks: recall under filters against exact search, and speed.

    python -m bench.scale ../shared/data/retrieval [--chunks 100000] [--seconds 10]

The chunks are windows of one to four sentences of the sets' PDFs, embedded by the local model,
in 1,000 documents of one tenant. The bench writes them into the tables without the worker.
Three users own 10, 1 and 0.1 % of the documents, so a search as one of them is a filter.
Recall is for the ten nearest vectors. Requests are `POST /search` in hybrid mode with all
features on, sent by wrk.
"""

import argparse
import json
import multiprocessing
import random
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
from sqlalchemy import text

from bench.api import CLIENTS, Load
from core.db import Database, make_engine
from core.db.models import Document
from core.documents import records
from core.documents.chunking import ChunkDraft
from core.embedding import local
from core.embedding.base import Vectors
from core.embedding.models import MINILM
from core.pdf import PdfParser
from core.search.candidates import find_candidates
from core.search.reach import Reach
from core.text.sentences import split_sentences
from tests.harness.service import ROOT, Service, own_servers, running_service

TENANT = "default"
PER_DOCUMENT = 100
MAX_SENTENCES = 4
MIN_CHARS = 25
NEAREST = 10
SHARES = {"everything": 1.0, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}


def sentences_of(pdf: Path) -> list[str]:
    with PdfParser() as parser:
        pages = parser.read_pages(pdf, first=1, last=parser.inspect(pdf).page_count)
    return [
        " ".join(page.text[segment.start : segment.end].split())
        for page in pages
        for segment in split_sentences(page.text)
        if segment.end - segment.start >= MIN_CHARS
    ]


def windows(pdfs: Sequence[Path], *, count: int) -> list[str]:
    """Different texts, in an order that a seed fixes."""
    with ProcessPoolExecutor() as pool:
        lists = list(pool.map(sentences_of, pdfs))
    found = dict.fromkeys(
        " ".join(sentences[start : start + length])
        for sentences in lists
        for length in range(1, MAX_SENTENCES + 1)
        for start in range(len(sentences) - length + 1)
    )
    chosen = random.Random(1).sample(list(found), k=min(count, len(found)))
    if len(chosen) < count:
        raise SystemExit(f"There are {len(chosen)} windows of sentences, not {count}.")
    return chosen


def embed(texts: Sequence[str]) -> Vectors:
    model = local.load(ROOT / "data" / "models")
    return np.concatenate([model.embed(part) for part in batched_lists(texts, 64)])


def batched_lists(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def embed_all(texts: Sequence[str]) -> Vectors:
    """Embed with two processes. Texts of similar length go together, as in the worker."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    parts = [order[0::2], order[1::2]]
    vectors = np.empty((len(texts), 384), dtype=np.float32)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        made = pool.map(embed, [[texts[place] for place in part] for part in parts])
        for part, found in zip(parts, made, strict=True):
            vectors[part] = found
    return vectors


def fill(database: Database, texts: Sequence[str], vectors: Vectors) -> None:
    """Write the documents and chunks. The vectors' index is built last, which is faster."""
    with database.engine.begin() as connection:
        definition = connection.execute(
            text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_chunk_vectors_embedding'")
        ).scalar_one()
        connection.execute(text("DROP INDEX ix_chunk_vectors_embedding"))
    owners = owner_of_each(len(texts) // PER_DOCUMENT)
    for number, owner in enumerate(owners):
        own = slice(number * PER_DOCUMENT, (number + 1) * PER_DOCUMENT)
        add_document(
            database,
            f"{number}",
            owner=owner,
            texts=texts[own],
            vectors=vectors[own],
            model=MINILM.name,  # a question is compared only with vectors of its own model
            first_page=number,  # a chunk's ordinal then tells its number
        )
    with database.engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
        connection.execute(text(definition))
        connection.execute(text("ANALYZE"))


def owner_of_each(count: int) -> list[str]:
    """The owner of each of `count` documents, by the shares of SHARES."""
    owners = [
        name for name, share in SHARES.items() if share < 1 for _ in range(round(share * count))
    ]
    return owners + ["rest"] * (count - len(owners))


def add_document(
    database: Database,
    name: str,
    *,
    tenant: str = TENANT,
    owner: str,
    texts: Sequence[str],
    vectors: Vectors,
    first_page: int = 1,
    model: str = "bench",
    indexed: bool = True,  # as for a tenant with many chunks
) -> UUID:
    """Write a ready document `name`.pdf with these chunks, without the worker; return its id."""
    document = Document(
        tenant_id=tenant,
        user_id=owner,
        filename=f"{name}.pdf",
        sha256=name,
        size_bytes=1,
        storage_key=f"{tenant}/{name}",
        status="ready",
        chunk_count=len(texts),
        generation=1,
    )
    with database.transaction(tenant_id=None) as db:
        db.add(document)
        db.flush()
        rows = records.chunk_rows(
            tenant_id=tenant,
            document_id=document.id,
            generation=1,
            first_page=first_page,
            label=name,
            drafts=[ChunkDraft(text, 1, 1, None) for text in texts],
            page_labels={},
        )
        records.record_chunks(db, rows=rows, vectors=vectors, model=model, indexed=indexed)
    return document.id


def recall(database: Database, vectors: Vectors, queries: Vectors, *, owner: str) -> float:
    """The share of the exact NEAREST neighbours that searches as `owner` find, over all queries."""
    owners = np.repeat(owner_of_each(len(vectors) // PER_DOCUMENT), PER_DOCUMENT)
    own = np.arange(len(vectors)) if owner == "everything" else np.flatnonzero(owners == owner)
    user_id = None if owner == "everything" else owner
    shares = []
    for query in queries:
        exact = own[np.argsort(-(vectors[own] @ query))[:NEAREST]]
        with database.transaction(tenant_id=TENANT) as db:
            found = find_candidates(
                db,
                reach=Reach(TENANT, user_id, None, None),
                query="",
                vector=query[np.newaxis],
                mode="vector",
            ).items
        best = {place_of(one.ordinal) for one in found if (one.vector_rank or 99) <= NEAREST}
        shares.append(len(best & set(exact.tolist())) / NEAREST)
    return statistics.mean(shares)


def place_of(ordinal: int) -> int:
    number, within = divmod(ordinal, records.ORDINALS_PER_PAGE)
    return number * PER_DOCUMENT + within


def questions_of(folder: Path, *, count: int) -> list[str]:
    lines = [
        json.loads(line)["question"]
        for path in sorted(folder.glob("*/questions.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return random.Random(2).sample(lines, k=min(count, len(lines)))


@contextmanager
def filled_service(texts: Sequence[str], vectors: Vectors) -> Iterator[tuple[Service, Database]]:
    with ExitStack() as stack:
        _, postgres, redis = stack.enter_context(own_servers())
        service = stack.enter_context(
            running_service(database_url=postgres.url, redis_url=redis.url, sweep_seconds=5)
        )
        database = Database(make_engine(postgres.url.replace("://", "+psycopg2://", 1)))
        stack.callback(database.engine.dispose)
        fill(database, texts, vectors)
        wait_for_statistics(database)
        yield service, database


def wait_for_statistics(database: Database) -> None:
    """Wait for the statistics, which are counted within four sweeps."""
    while True:
        with database.transaction(tenant_id=None) as db:
            if db.scalar(text("SELECT count(*) FROM term_statistics")):
                return
        time.sleep(1)


def measure_requests(service: Service, questions: Sequence[str], *, seconds: float) -> None:
    bodies = [{"query": question} for question in questions]
    load = Load(service.base_url, ["/api/v1/search"], service.api_key, bodies)
    load.run(clients=4, seconds=seconds)  # warms the caches
    for clients in CLIENTS:
        row = load.run(clients=clients, seconds=seconds)
        cells = f"{row['rate']:.0f} | {row['p50']:.1f} | {row['p99']:.1f}"
        print(f"| search, {clients} clients | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This needs wrk, Debian's package of that name.")
    texts = windows(sorted(options.data.glob("*/pdfs/*.pdf")), count=options.chunks)
    questions = questions_of(options.data, count=options.queries)
    vectors, queries = embed_all(texts), embed_all(questions)
    with filled_service(texts, vectors) as (service, database):
        print("| in reach | recall@10 |\n| --- | ---: |")
        for owner, share in SHARES.items():
            found = recall(database, vectors, queries, owner=owner)
            print(f"| {share:.1%} | {found:.3f} |", flush=True)
        print("\n| | per second | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: |")
        measure_requests(service, questions, seconds=options.seconds)


if __name__ == "__main__":
    main()
