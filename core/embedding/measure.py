"""Measures the local model's runtimes: `python -m core.embedding.measure DIRECTORY RUNTIME…`.

Prints a JSON object of milliseconds of processor time per text, by runtime. The texts are the
longest of the calibration.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.embedding import build, local

ROUNDS = 3
TEXTS = 2


def measure(directory: Path, runtimes: Sequence[str]) -> dict[str, float]:
    """The median over rounds in which the runtimes take turns, so that load affects all alike."""
    embedders = {name: local.open_model(directory, runtime=name) for name in runtimes}
    texts = sorted(build.calibration_texts(), key=len)[-TEXTS:]
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for number in range(ROUNDS + 1):
        for name, embedder in embedders.items():
            # A runtime may compute in a thread of its own, so the whole process counts.
            start = time.process_time()
            embedder.embed(texts)
            if number:  # the first round warms up
                times[name].append((time.process_time() - start) / len(texts))
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2:])))
