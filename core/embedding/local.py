"""all-MiniLM-L6-v2 on the CPU, by the runtime that suits the processor. No torch, no network."""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from tokenizers import Tokenizer

from core.embedding import artefacts, runtimes
from core.embedding.base import Vectors
from core.errors import ProviderError

Ids = Sequence[int]

_CACHED_WORDS = 30_000
_LONGEST_WORD = 40  # characters; longer words rarely recur
# `str.split` cuts at these characters. BERT's tokenizer deletes them, which joins their neighbours.
_JOINING = re.compile("[\x0b\x0c\x1c-\x1f\x85]")


class Engine(Protocol):
    """Computes the vectors of up to `batch_size` texts at a time, from any thread."""

    batch_size: int

    def infer(self, inputs: Sequence[Ids]) -> Vectors:
        """Vectors of shape (len(inputs), dimensions), float32, for the token ids of each text."""
        ...


class LocalEmbedder:
    """An Embedder over a built model. One instance serves all threads of a process.

    `runtime` names the engine's way, one of `runtimes.RUNTIMES`. Load it after the process has
    forked: the runtime's threads do not survive a fork, and `embed` raises RuntimeError in a
    process that did not load it.
    """

    name = artefacts.MODEL_NAME
    dimensions = artefacts.DIMENSIONS
    # The model reads this many tokens of a text; [CLS] and [SEP] take two of its window.
    max_tokens = artefacts.WINDOW - 2

    def __init__(self, *, engine: Engine, tokenizer: Tokenizer, runtime: str = "") -> None:
        self.runtime = runtime
        self._engine = engine
        self._tokenizer = tokenizer
        self._cls = cast(int, tokenizer.token_to_id("[CLS]"))
        self._sep = cast(int, tokenizer.token_to_id("[SEP]"))
        self._tokens_of_word = lru_cache(_CACHED_WORDS)(self._ids)
        self._process = os.getpid()

    def warm_up(self) -> None:
        """Compile the model for questions now: the first question would wait half a second."""
        self.embed([""])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), 384), float32, L2 norm 1, in the order given.

        Only the first `max_tokens` tokens of a text count. An empty text has a
        vector too. Raises ProviderError if the model yields a number
        that is not finite.
        """
        if os.getpid() != self._process:
            raise RuntimeError("the embedding model was loaded before this process was forked")
        inputs = [self._input_ids(text) for text in texts]
        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]))
        vectors = np.empty((len(inputs), self.dimensions), dtype=np.float32)
        size = self._engine.batch_size
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            vectors[batch] = self._engine.infer([inputs[index] for index in batch])
        return _checked(vectors)

    def count_tokens(self, text: str) -> int:
        """The number of tokens of all of `text`, even beyond `max_tokens`, without [CLS] and [SEP].

        The counts of parts add up if a text is cut at whitespace or punctuation.
        """
        return sum(map(len, self._tokens(text)))

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each token in `text`, as indices of characters."""
        offsets: list[tuple[int, int]] = self._encode(text).offsets
        return offsets

    def _encode(self, text: str) -> Any:
        # Texts are encoded one by one, because encode_batch would start a thread pool.
        # A lone surrogate has no UTF-8 form; the "?" in its place keeps the offsets right.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _ids(self, text: str) -> Ids:
        return tuple(self._encode(text).ids)

    def _tokens(self, text: str) -> list[Ids]:
        """The token ids of each word of `text`, from a cache.

        BERT's tokenizer cuts at whitespace, so the tokens of a word depend on nothing else. A
        document repeats most of its words, and a look-up is ten times faster.
        """
        if _JOINING.search(text):
            return [self._ids(text)]
        known, new = self._tokens_of_word, self._ids
        return [known(word) if len(word) <= _LONGEST_WORD else new(word) for word in text.split()]

    def _input_ids(self, text: str) -> Ids:
        tokens = chain.from_iterable(self._tokens(text))
        return [self._cls, *islice(tokens, self.max_tokens), self._sep]


def load(models_dir: Path, *, runtime: str = "") -> LocalEmbedder:
    """The model built below `models_dir`, its files checked against their hashes.

    `runtime` is one of `runtimes.RUNTIMES`; by default the first that suits this processor.
    Raises ModelNotBuilt, whose text names the command that builds it.
    """
    directory = artefacts.model_directory(models_dir)
    artefacts.check(directory)
    return open_model(directory, runtime=runtime)


def open_model(directory: Path, *, runtime: str = "") -> LocalEmbedder:
    """The model in `directory`, without a check of hashes. `runtime` is as for `load`."""
    runtime = runtime or runtimes.suitable(runtimes.cpu_info())[0]
    tokenizer = open_tokenizer(directory)
    return LocalEmbedder(engine=_ENGINES[runtime](directory), tokenizer=tokenizer, runtime=runtime)


# A process needs one runtime; importing another takes half a second and tens of megabytes.


def _open_openvino_int8(directory: Path) -> Engine:
    from core.embedding import openvino_engine  # noqa: PLC0415

    return openvino_engine.open_engine(directory / artefacts.GRAPH)


def _open_openvino_fp32(directory: Path) -> Engine:
    from core.embedding import openvino_engine  # noqa: PLC0415

    return openvino_engine.open_engine(directory / artefacts.EXACT_GRAPH)


def _open_onnxruntime_int8(directory: Path) -> Engine:
    from core.embedding.onnxruntime_engine import OnnxruntimeEngine  # noqa: PLC0415

    return OnnxruntimeEngine(directory / artefacts.ONNX_GRAPH, directory / artefacts.WORDS)


_ENGINES = {
    runtimes.OPENVINO_INT8: _open_openvino_int8,
    runtimes.OPENVINO_FP32: _open_openvino_fp32,
    runtimes.ONNXRUNTIME_INT8: _open_onnxruntime_int8,
}


def open_tokenizer(directory: Path) -> Tokenizer:
    """The published tokenizer without its fixed truncation and padding to 128 tokens."""
    tokenizer = Tokenizer.from_file(str(directory / artefacts.TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _checked(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1)
    if not np.allclose(norms, 1.0, atol=1e-3):  # also false for NaN
        raise ProviderError("The embedding model returned a vector that is not of length 1.")
    return vectors
