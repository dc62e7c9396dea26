"""Hit rates when documents are embedded in one way, and questions in another.

    python -m bench.embedding_ways ../shared/data/retrieval [--sets squad,cranfield]

The ways are those of `core.embedding.runtimes`: documents may have been ingested on another kind of
processor than the one that answers. The sets, windows and hits are those of
`bench.retrieval_quality` and its baseline, by vectors alone.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from bench.baseline import build_baseline
from bench.relevance import DEPTH, rate
from bench.retrieval_quality import read_questions
from core.embedding import artefacts, local, runtimes
from core.embedding.base import Query


def compare_ways(folder: Path, embedders: dict[str, local.LocalEmbedder]) -> None:
    """Print one set's rows."""
    questions = read_questions(folder / "questions.jsonl", limit=None)
    paths = sorted((folder / "pdfs").glob("*.pdf"))
    windows = build_baseline(paths, embedder=embedders[runtimes.ONNXRUNTIME_INT8]).windows
    texts = [window["text"] for window in windows]
    asked = [question["question"] for question in questions]
    documents = {name: embedder.embed(texts) for name, embedder in embedders.items()}
    queries = {
        name: dict(zip(asked, embedder.embed([Query(text) for text in asked]), strict=True))
        for name, embedder in embedders.items()
    }
    for document_way, question_way in itertools.product(embedders, repeat=2):
        vectors, known = documents[document_way], queries[question_way]

        def find(query: str, vectors=vectors, known=known):  # type: ignore[no-untyped-def]
            order = np.argsort(-(vectors @ known[query]), kind="stable")[:DEPTH]
            return [windows[index] for index in order]

        found = rate(find, questions, by_text=folder.name == "squad")
        cells = " | ".join(f"{value:.3f}" for value in found)
        print(f"| {folder.name} | {document_way} | {question_way} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="squad,cranfield")
    parser.add_argument("--models-dir", type=Path, default=Path("data/models"))
    options = parser.parse_args()
    directory = artefacts.model_directory(options.models_dir)
    embedders = {name: local.open_model(directory, runtime=name) for name in runtimes.RUNTIMES}
    print("| set | documents | questions | hit@1 | hit@5 | MRR@10 |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for name in options.sets.split(","):
        compare_ways(options.data / name, embedders)


if __name__ == "__main__":
    main()
