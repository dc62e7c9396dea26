"""How often the local models find the right passage, by the language of the question.

    python -m bench.languages [--models-dir DIR] [--models NAME …] [--rounds N]

The passages are the English paragraphs of bench/multilingual/articles.txt, each after its
article's title. The questions of questions.jsonl ask the same in six languages; the right passage
contains `answer`. Only vectors are compared, so that no word of a question helps. Per model and
language: hit@1, hit@5 and MRR@10. Then the models take turns to embed passages of some 200 tokens
of all-MiniLM-L6-v2 on one thread: chunks/s by processor time, and the ratio to the first model.
Builds models that are missing; docs/deployment.md says what that needs.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.embedding import cut, processor, read_texts
from core.embedding import build, local
from core.embedding.base import Query
from core.embedding.local import LocalEmbedder
from core.embedding.models import BY_SETTING

DATA = Path(__file__).with_name("multilingual")
LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "zh": "Chinese",
    "hi": "Hindi",
}
DEPTH = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, default=Path("data/models"))
    parser.add_argument("--models", nargs="+", choices=BY_SETTING, default=[*BY_SETTING])
    parser.add_argument("--texts", type=Path, help="a folder of .txt files, for the rates")
    parser.add_argument("--count", type=int, default=30, help="texts for the rates")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    embedders = {
        name: local.load_folder(build.build(options.models_dir, BY_SETTING[name]))
        for name in options.models
    }
    print(processor())
    print("| model | question | hit@1 | hit@5 | MRR@10 |\n| --- | --- | --- | --- | --- |")
    for name, embedder in embedders.items():
        report(name, embedder)
    first = next(iter(embedders.values()))
    texts = [cut(text, first) for text in read_texts(options.texts, count=options.count)]
    report_rates(embedders, texts, rounds=options.rounds)


def read_passages() -> list[str]:
    """The paragraphs of all articles, each after the article's title."""
    passages, title = [], ""
    for block in (DATA / "articles.txt").read_text(encoding="utf-8").split("\n\n"):
        if block.startswith("# "):
            title = block[2:].strip()
        else:
            passages.append(f"{title}\n{block.strip()}")
    return passages


def read_questions() -> list[dict[str, str]]:
    """The questions, each with its text by language and the `answer` in the right passage."""
    lines = (DATA / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def find_rank(embedder: LocalEmbedder, question: str, vectors: Any, right: int) -> int:
    """The rank of the right passage, from 1."""
    cosines = vectors @ embedder.embed([Query(question)])[0]
    return int((cosines > cosines[right]).sum()) + 1


def report(name: str, embedder: LocalEmbedder) -> None:
    passages, questions = read_passages(), read_questions()
    vectors = embedder.embed(passages)
    for code, language in LANGUAGES.items():
        ranks = []
        for question in questions:
            [right] = [at for at, text in enumerate(passages) if question["answer"] in text]
            ranks.append(find_rank(embedder, question[code], vectors, right))
        found = np.array(ranks)
        mrr = np.where(found <= DEPTH, 1 / found, 0).mean()
        print(
            f"| {name} | {language} | {(found == 1).mean():.2f} | {(found <= 5).mean():.2f} "
            f"| {mrr:.2f} |",
            flush=True,
        )


def report_rates(embedders: dict[str, LocalEmbedder], texts: list[str], *, rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in embedders}
    for _ in range(rounds):
        for name, embedder in embedders.items():
            start = time.process_time()
            embedder.embed(texts)
            rates[name].append(len(texts) / (time.process_time() - start))
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rate, first, strict=True))
        runtime = embedders[name].runtime
        print(f"{name} by {runtime}: {statistics.median(rate):.1f} chunks/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
