"""A local model in int8 by onnxruntime, for processors without instructions for int8 products."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from core.embedding.base import Vectors
from core.embedding.word_table import open_words


class OnnxruntimeEngine:
    """An Engine over a model that `int8_graph.build_int8_onnx` has made.

    `words` names the file of word embeddings.
    """

    # The products are as fast on one text as on several, and one text needs no padding.
    batch_size = 1

    def __init__(self, graph: Path, words: Path) -> None:
        self._words = open_words(words)
        # Several processes of one thread are faster than one process of several threads.
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(graph),
            options,
            providers=["CPUExecutionProvider"],
            # Its fused operator takes five times as long as the two that it replaces.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
        # Each run has working memory of its own, which the runtime keeps for the next one.
        self._lock = threading.Lock()

    def infer(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        return np.concatenate([self._infer(ids) for ids in inputs])

    def _infer(self, ids: Sequence[int]) -> Vectors:
        words = self._words(np.array(ids))
        with self._lock:
            vectors: Vectors = self._session.run(None, {"words": words[None]})[0]
        return vectors
