"""How often the right passage is found: hit@1, hit@5 and MRR@10 per set and mode.

    python -m bench.retrieval_quality ../shared/data/retrieval [--sets squad,…] [--limit N]

Each set is a folder with `pdfs/` and `questions.jsonl`, ingested through the
API as one user's documents. A hit holds the answer's text where the set names
one by paragraph (squad), stands on a gold page where pages are known, and in a
gold document else.
"""

import argparse
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from bench.service import ingest, running_service

MODES = ("text", "vector", "hybrid")
DEPTH = 10


def normalised(text: str) -> str:
    return re.sub(r"\W+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def is_hit(passage: dict[str, Any], question: dict[str, Any], *, by_text: bool) -> bool:
    for gold in question["gold"]:
        if passage["filename"] != gold["document"]:
            continue
        if by_text:
            if normalised(gold["answer_text"]) in normalised(passage["text"]):
                return True
        elif gold["page"] is None or (passage["page_start"] <= gold["page"] <= passage["page_end"]):
            return True
    return False


def first_hit(passages: Sequence[dict[str, Any]], question: dict[str, Any], by_text: bool) -> int:
    """The rank of the first hit, from 1; 0 if there is none."""
    for rank, passage in enumerate(passages, start=1):
        if is_hit(passage, question, by_text=by_text):
            return rank
    return 0


def measure(
    client: httpx.Client, questions: list[dict[str, Any]], *, user_id: str, mode: str, by_text: bool
) -> tuple[float, float, float]:
    """(hit@1, hit@5, MRR@10) over `questions`."""
    ranks = []
    for question in questions:
        body = {"query": question["question"], "user_id": user_id, "top_k": DEPTH, "mode": mode}
        answer = client.post("/search", json=body)
        answer.raise_for_status()
        ranks.append(first_hit(answer.json()["items"], question, by_text))
    total = len(ranks)
    return (
        sum(rank == 1 for rank in ranks) / total,
        sum(0 < rank <= 5 for rank in ranks) / total,
        sum(1 / rank for rank in ranks if rank) / total,
    )


def read_questions(path: Path, *, limit: int | None) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    step = max(1, len(questions) // limit) if limit else 1
    return questions[::step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="squad,cranfield,docugami-sec10q,financebench")
    parser.add_argument("--limit", type=int, help="about this many questions of each set")
    options = parser.parse_args()
    with running_service() as service, service.client() as client:
        print(f"{'set':<18}{'mode':<9}{'questions':>9}{'hit@1':>8}{'hit@5':>8}{'MRR@10':>8}")
        for name in options.sets.split(","):
            folder = options.data / name
            ingest(client, sorted((folder / "pdfs").glob("*.pdf")), user_id=name)
            questions = read_questions(folder / "questions.jsonl", limit=options.limit)
            for mode in MODES:
                row = measure(client, questions, user_id=name, mode=mode, by_text=name == "squad")
                cells = "".join(f"{value:>8.3f}" for value in row)
                print(f"{name:<18}{mode:<9}{len(questions):>9}{cells}", flush=True)


if __name__ == "__main__":
    main()
