"""A local model by OpenVINO, in int8 or in full precision."""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from core.embedding.base import Vectors
from core.embedding.word_table import Words, open_words
from core.embedding.words import split

Ids = Sequence[int]

# Lengths are padded up to a multiple of this, so that the runtime meets few shapes and its
# per-shape kernels stay bounded.
LENGTH_STEP = 16

# A single text of at most this many tokens, such as a question, runs on a second model that is
# compiled for this one shape. The general model spends 1.4 of 3.7 ms on a change of shape.
QUESTION_LENGTH = 24
_QUESTION_SHAPE = (1, QUESTION_LENGTH)
# With a fixed shape OpenVINO fuses more operations, which changes the rounding: a question's
# vector would differ from the vector of the same words in a batch (cosine 0.9988).
_QUESTION_OPTIONS = {"SNIPPETS_MODE": "DISABLE"}

COMPILE_OPTIONS: dict[str, Any] = {
    # Several processes of one thread are faster than one process of several threads.
    # With pinning, all of them would run on the first core.
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    # The default is bfloat16 if the CPU has it: vectors would depend on the machine.
    "INFERENCE_PRECISION_HINT": "f32",
}


class OpenVINOEngine:
    """An Engine over a model of the inputs and output of `graph.build_onnx`.

    `words` are the word embeddings of a model that has them as an input. `options` override the
    usual ones.
    """

    # Measured in docs/adr/0001-embedding-runtime.md: larger batches are slower on one thread.
    batch_size = 4

    def __init__(
        self,
        model: ov.Model,
        *,
        words: Words | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._words, self._encoder = (words, model) if words else split(model)
        self._options = {**COMPILE_OPTIONS, **(options or {})}
        self._request = _compile(self._encoder, self._options)
        self._lock = threading.Lock()

    def infer(self, inputs: Sequence[Ids]) -> Vectors:
        return self._infer(*_pad(inputs))

    def _infer(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Vectors:
        words = self._words(ids)
        with self._lock:
            request = self._question_request if ids.shape == _QUESTION_SHAPE else self._request
            outputs = request.infer({"words": words, "attention_mask": mask})
            return np.array(outputs[0], dtype=np.float32)

    @cached_property
    def _question_request(self) -> ov.InferRequest:
        encoder = self._encoder.clone()
        shape = list(_QUESTION_SHAPE)
        width = self._encoder.input("words").get_partial_shape()[2].get_length()
        encoder.reshape({"words": [*shape, width], "attention_mask": shape})
        return _compile(encoder, {**self._options, **_QUESTION_OPTIONS})


def open_engine(path: Path, *, words: Path) -> OpenVINOEngine:
    """The engine of the graph in `path`. `words` is the file of word embeddings."""
    return engine_of(ov.Core().read_model(path), words=words)


def engine_of(model: ov.Model, *, words: Path) -> OpenVINOEngine:
    """The engine of `model`, which has a table of word embeddings or takes the rows of `words`."""
    has_table = any("input_ids" in port.get_names() for port in model.inputs)
    return OpenVINOEngine(model, words=None if has_table else open_words(words))


def _compile(model: ov.Model, options: dict[str, Any]) -> ov.InferRequest:
    return ov.Core().compile_model(model, "CPU", options).create_infer_request()


def _pad(inputs: Sequence[Ids]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    longest = max(len(ids) for ids in inputs)
    length = -(-longest // LENGTH_STEP) * LENGTH_STEP
    if len(inputs) == 1 and longest <= QUESTION_LENGTH:
        length = QUESTION_LENGTH
    padded = np.zeros((len(inputs), length), dtype=np.int64)  # any token: the mask hides it
    mask = np.zeros_like(padded)
    for row, ids in enumerate(inputs):
        padded[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return padded, mask
