"""Runtimes and precisions of the local embedding model, side by side.

    python -m bench.embedding [--texts FOLDER] [--rounds N] [--only NAME …] [--model NAME]

The candidates take turns to embed the same texts of about 200 tokens on one thread.
Other load on the machine then affects all of them alike: compare the ratios. Agreement
is the mean and the lowest cosine to full precision, and the share of each text's five
nearest neighbours that are the same; at the end, the same between the ways that are shipped.
`--texts` names a folder of .txt files to cut texts from; without it they are joined from the
calibration sentences. Candidates that are not shipped take part with the default model only. Needs
requirements/model.txt; CTranslate2 takes part if it is installed.
"""

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import embedding_candidates
from core.embedding import build, local, runtimes
from core.embedding.graph import HIDDEN
from core.embedding.models import BY_SETTING, MINILM

WORDS, TOKENS = 180, 200
BASE = "openvino-fp32"
Embed = Callable[[list[str]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--models-dir", type=Path, default=Path("data/models"))
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--model", choices=BY_SETTING, default=MINILM.setting)
    options = parser.parse_args()
    model = BY_SETTING[options.model]
    directory = build.build(options.models_dir, model)
    embedder = local.open_model(directory)
    texts = [cut(text, embedder) for text in read_texts(options.texts, count=options.count)]
    lengths = [embedder.count_tokens(text) + 2 for text in texts]  # with [CLS] and [SEP]
    length = statistics.mean(lengths)
    print(f"{len(texts)} texts, {length:.0f} tokens in the mean; {processor()}")
    with tempfile.TemporaryDirectory() as folder:
        embeds = embedding_candidates.all_candidates(directory, Path(folder))
        if options.only:
            embeds = {name: embeds[name] for name in (BASE, *options.only)}
        rates, vectors = measure(embeds, texts, rounds=options.rounds)
    report(rates, vectors, length=length, layers=model.layers)
    report_pairs({name: vectors[name] for name in runtimes.RUNTIMES if name in vectors})
    questions = [" ".join(text.split()[:10]) + "?" for text in texts]
    report_questions(embeds, questions)


def processor() -> str:
    info = runtimes.cpu_info()
    names = {line.split(":")[1].strip() for line in info.splitlines() if "model name" in line}
    return f"{', '.join(names)}; int8 saturates: {runtimes.saturates(info)}"


def cut(text: str, embedder: local.LocalEmbedder) -> str:
    return text[: embedder.token_offsets(text)[:TOKENS][-1][1]]


def read_texts(folder: Path | None, *, count: int) -> list[str]:
    if folder is None:
        words = " ".join(build.calibration_texts()).split()
        starts = random.Random(1).sample(range(len(words) - WORDS), count)
        return [" ".join(words[start : start + WORDS]) for start in starts]
    texts: list[str] = []
    for path in sorted(folder.rglob("*.txt")):
        words = path.read_text(encoding="utf-8", errors="replace").split()
        starts = range(0, min(len(words) - WORDS, WORDS * 8), WORDS)
        texts += [" ".join(words[start : start + WORDS]) for start in starts]
    return random.Random(1).sample(texts, min(count, len(texts)))


def measure(
    embeds: dict[str, Embed], texts: list[str], *, rounds: int
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    vectors = {name: embed(texts) for name, embed in embeds.items()}  # warms up, too
    rates: dict[str, list[float]] = {name: [] for name in embeds}
    part = texts[:: max(1, len(texts) // 30)]
    for _ in range(rounds):
        for name, embed in embeds.items():
            # Processor time, because the machine may be busy.
            start = time.process_time()
            embed(part)
            rates[name].append(len(part) / (time.process_time() - start))
    return rates, vectors


def neighbours(vectors: Any) -> Any:
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    return np.argsort(-likeness, axis=1)[:, :5]


def agreement(vectors: Any, others: Any) -> str:
    cosines = (vectors * others).sum(axis=1)
    pairs = zip(neighbours(vectors), neighbours(others), strict=True)
    same = statistics.mean(len(set(a) & set(b)) / 5 for a, b in pairs)
    return f"{cosines.mean():.4f} | {cosines.min():.4f} | {same:.3f}"


def report(
    rates: dict[str, list[float]], vectors: dict[str, Any], *, length: float, layers: int
) -> None:
    # Products by weights and, for each other token, by keys and values.
    operations = 2 * layers * (12 * HIDDEN**2 + 2 * length * HIDDEN)
    print("| candidate | chunks/s | tokens/s | Gop/s | ratio | cosine, mean | least | same of 5 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, rate in rates.items():
        median = statistics.median(rate)
        # Load changes from round to round, so each round has its own ratio.
        ratio = statistics.median(a / b for a, b in zip(rate, rates[BASE], strict=True))
        tokens = median * length
        print(
            f"| {name} | {median:.1f} | {tokens:,.0f} | {tokens * operations / 1e9:.0f} | "
            f"{ratio:.2f} | {agreement(vectors[name], vectors[BASE])} |"
        )


def report_pairs(vectors: dict[str, Any]) -> None:
    print("| ways | cosine, mean | least | same of 5 |")
    print("| --- | --- | --- | --- |")
    for one, other in itertools.combinations(vectors, 2):
        print(f"| {one}, {other} | {agreement(vectors[one], vectors[other])} |")


def report_questions(embeds: dict[str, Embed], questions: list[str]) -> None:
    """The time of a question of ten words that comes alone, from its text to its vector.

    On a busy machine the least and the lower quartile of the processor time come nearest to the
    time on an idle one: other work empties the caches and interrupts.
    """
    for name in (name for name in runtimes.RUNTIMES if name in embeds):
        embeds[name](questions[:1])
        elapsed, spent = [], []
        for question in questions[1:]:
            start, processor_start = time.perf_counter(), time.process_time()
            embeds[name]([question])
            spent.append(1000 * (time.process_time() - processor_start))
            elapsed.append(1000 * (time.perf_counter() - start))
        print(
            f"a question by {name}: {spread(spent)} ms of processor time, {spread(elapsed)} elapsed"
        )


def spread(values: list[float]) -> str:
    lower, middle, _ = statistics.quantiles(values)
    return f"{min(values):.1f}, {lower:.1f}, {middle:.1f} (least, lower quartile, median)"


if __name__ == "__main__":
    main()
