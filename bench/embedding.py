"""Compares runtimes and precisions of the local embedding model.

    python bench/embedding.py [--texts FOLDER] [--rounds N]

The candidates take turns to embed the same texts of about 200 tokens on one thread, so that
other load on the machine affects all of them: compare the ratios. Agreement is the mean and
the lowest cosine to full precision, and the share of each text's five nearest neighbours that
are the same. `--texts` names a folder of .txt files to cut texts from; without it, texts are
made of the calibration sentences. onnxruntime takes part if it is installed. Needs
requirements/model.txt.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.embedding import artefacts, build, local
from core.embedding.graph import build_onnx

WORDS, TOKENS = 180, 200
Embed = Callable[[list[str]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--models-dir", type=Path, default=Path("data/models"))
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    directory = build.build(options.models_dir)
    embedder = local.open_model(directory)
    texts = [cut(text, embedder) for text in read_texts(options.texts, count=options.count)]
    lengths = [embedder.count_tokens(text) for text in texts]
    print(f"{len(texts)} texts, {statistics.mean(lengths):.0f} tokens in the mean")
    rates = measure(candidates(directory), texts, rounds=options.rounds)
    report(*rates)


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


def candidates(directory: Path) -> dict[str, Embed]:
    tokenizer = local.open_tokenizer(directory)
    source = build.find_weights()
    fp32, int8 = build.read_fp32(source), local.ov.Core().read_model(directory / artefacts.GRAPH)

    def openvino(model: Any, **options: Any) -> Embed:
        return local.compile_model(model, tokenizer=tokenizer, options=options).embed

    found = {
        "OpenVINO fp32": openvino(fp32),
        "OpenVINO bf16": openvino(fp32, INFERENCE_PRECISION_HINT="bf16"),
        "OpenVINO int8": openvino(int8),
    }
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return found
    return found | onnxruntime_candidates(source, directory)


def onnxruntime_candidates(source: Path, directory: Path) -> dict[str, Embed]:
    from onnxruntime.quantization import quantize_dynamic
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        full.write_bytes(build_onnx(load_file(source / "model.safetensors")).SerializeToString())
        quantize_dynamic(full, small, per_channel=True)
        return {
            "onnxruntime fp32": onnxruntime_embed(full, directory),
            "onnxruntime int8 (dynamic)": onnxruntime_embed(small, directory),
        }


def onnxruntime_embed(path: Path, directory: Path) -> Embed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    embedder = local.open_model(directory)  # its batches, with another engine

    def infer(ids: Any, mask: Any) -> Any:
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    embedder._infer = infer  # type: ignore[method-assign]
    return embedder.embed


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


def report(rates: dict[str, list[float]], vectors: dict[str, Any]) -> None:
    exact = vectors["OpenVINO fp32"]
    base = statistics.median(rates["OpenVINO fp32"])
    print("| candidate | chunks/s | ratio | cosine, mean | least | same neighbours of 5 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rate in rates.items():
        cosines = (vectors[name] * exact).sum(axis=1)
        pairs = zip(neighbours(vectors[name]), neighbours(exact), strict=True)
        same = statistics.mean(len(set(a) & set(b)) / 5 for a, b in pairs)
        median = statistics.median(rate)
        print(
            f"| {name} | {median:.1f} | {median / base:.2f} | "
            f"{cosines.mean():.4f} | {cosines.min():.4f} | {same:.3f} |"
        )


if __name__ == "__main__":
    main()
