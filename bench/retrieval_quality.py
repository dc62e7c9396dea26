"""Measures how often the right passage is found, and the answers from the passages.

    python -m bench.retrieval_quality ../shared/data/retrieval [--sets squad,…] [--limit N]
        [--embedding-model multilingual-e5-small]

Each set is a folder with `pdfs/` and `questions.jsonl`, ingested through the
API as one user's documents. A hit is a passage with the answer's text if the set names a
paragraph (squad), a passage on a gold page if pages are known, or else a passage of a gold
document. Per set: hit@1, hit@5 and MRR@10 of the simple baseline (windows of 500 tokens,
only vectors) and of each mode of `POST /search`; then for `POST /sessions/{id}/chat` without
an LLM the share of questions that are answered, the share with the right answer, the share
answered although their documents are out of reach, and the share of the answers' figures, names
and dates that the cited passages contain.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from bench.answers import measure_answers
from bench.baseline import build_baseline
from bench.relevance import DEPTH, rate
from core.embedding.local import LocalEmbedder, load
from core.embedding.models import BY_SETTING, MINILM
from tests.harness.service import ROOT, ingest, running_service

MODES = ("text", "vector", "hybrid")


def search(client: httpx.Client, query: str, *, user_id: str, mode: str) -> list[dict[str, Any]]:
    body = {"query": query, "user_id": user_id, "top_k": DEPTH, "mode": mode}
    items: list[dict[str, Any]] = (
        client.post("/search", json=body).raise_for_status().json()["items"]
    )
    return items


def read_questions(path: Path, *, limit: int | None) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    step = max(1, len(questions) // limit) if limit else 1
    return questions[::step]


def bench_set(
    client: httpx.Client, folder: Path, *, limit: int | None, embedder: LocalEmbedder
) -> None:
    """Print one set's rows."""
    name, paths = folder.name, sorted((folder / "pdfs").glob("*.pdf"))
    questions = read_questions(folder / "questions.jsonl", limit=limit)
    by_text = name == "squad"
    baseline = build_baseline(paths, embedder=embedder)
    plain = rate(lambda query: baseline.search(query, top_k=DEPTH), questions, by_text=by_text)
    print_row(name, "baseline", len(questions), plain)
    names = ingest(client, paths, user_id=name)
    for mode in MODES:
        row = rate(
            lambda query, mode=mode: search(client, query, user_id=name, mode=mode),  # type: ignore[misc]
            questions,
            by_text=by_text,
        )
        print_row(name, mode, len(questions), row)
    answers = measure_answers(client, questions, user_id=name, names=names)
    print(
        f"{name:<18}answers: answered {answers.answered:.3f}, found {_number(answers.found)}, "
        f"absent answered {answers.absent_answered:.3f}, support {_number(answers.support)}",
        flush=True,
    )


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def print_row(name: str, mode: str, count: int, values: Sequence[float]) -> None:
    cells = "".join(f"{value:>8.3f}" for value in values)
    print(f"{name:<18}{mode:<9}{count:>9}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="squad,cranfield,docugami-sec10q,financebench")
    parser.add_argument("--limit", type=int, help="about this many questions of each set")
    parser.add_argument("--embedding-model", choices=BY_SETTING, default=MINILM.setting)
    options = parser.parse_args()
    chosen = BY_SETTING[options.embedding_model]
    embedder = load(ROOT / "data" / "models", model=chosen)
    with running_service(embedding_model=chosen.setting) as service, service.client() as client:
        print(f"{'set':<18}{'mode':<9}{'questions':>9}{'hit@1':>8}{'hit@5':>8}{'MRR@10':>8}")
        for name in options.sets.split(","):
            bench_set(client, options.data / name, limit=options.limit, embedder=embedder)


if __name__ == "__main__":
    main()
