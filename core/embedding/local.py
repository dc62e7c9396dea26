"""A local model on the CPU, by the runtime that suits the processor. No torch, no network."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from core.embedding import artefacts, runtimes
from core.embedding.base import Vectors
from core.embedding.models import BY_NAME, MINILM, LocalModel
from core.embedding.tokens import Ids, TokenReader, open_tokenizer
from core.errors import ProviderError


class Engine(Protocol):
    """Computes the vectors of up to `batch_size` texts at a time, from any thread."""

    batch_size: int

    def infer(self, inputs: Sequence[Ids]) -> Vectors:
        """Vectors of shape (len(inputs), dimensions), float32, for the token ids of each text."""
        ...


class LocalEmbedder:
    """An Embedder over a built model. One instance serves all threads of a process.

    `runtime` names the engine's way, one of `runtimes.RUNTIMES`. The model reads `max_tokens`
    tokens of a text: those of its window that it does not need itself. Load it after the process
    has forked: the runtime's threads do not survive a fork, and `embed` raises RuntimeError in a
    process that did not load it.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        tokenizer: Tokenizer,
        runtime: str = "",
        model: LocalModel = MINILM,
    ) -> None:
        self.name, self.dimensions = model.name, model.dimensions
        self.runtime = runtime
        self._engine = engine
        self._tokens = TokenReader(model, tokenizer)
        self.max_tokens = self._tokens.max_tokens
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
        inputs = [self._tokens.input_ids(text) for text in texts]
        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]))
        vectors = np.empty((len(inputs), self.dimensions), dtype=np.float32)
        size = self._engine.batch_size
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            vectors[batch] = self._engine.infer([inputs[index] for index in batch])
        return _checked(vectors)

    def count_tokens(self, text: str) -> int:
        """The number of tokens of all of `text`, even beyond `max_tokens`, without any other.

        The counts of parts add up if a text is cut at whitespace, and with MiniLM at punctuation.
        """
        return self._tokens.count(text)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each token in `text`, as indices of characters."""
        return self._tokens.offsets(text)


def load(models_dir: Path, *, runtime: str = "", model: LocalModel = MINILM) -> LocalEmbedder:
    """`model` as it was built below `models_dir`, its files checked against their hashes.

    `runtime` is one of `runtimes.RUNTIMES`; by default the first that suits this processor.
    Raises ModelNotBuilt, whose text names the command that builds it.
    """
    return load_folder(artefacts.model_directory(models_dir, model), runtime=runtime)


def load_folder(directory: Path, *, runtime: str = "") -> LocalEmbedder:
    """The model whose name the folder has. Otherwise as `load`."""
    model = BY_NAME[directory.name]
    artefacts.check(directory, model=model)
    return open_model(directory, runtime=runtime, model=model)


def open_model(
    directory: Path, *, runtime: str = "", model: LocalModel | None = None
) -> LocalEmbedder:
    """The model in `directory`, without a check of hashes. `runtime` is as for `load`.

    By default, the folder's name says which model it is.
    """
    runtime = runtime or runtimes.suitable(runtimes.cpu_info())[0]
    return LocalEmbedder(
        engine=_ENGINES[runtime](directory),
        tokenizer=open_tokenizer(directory),
        runtime=runtime,
        model=model or BY_NAME[directory.name],
    )


# A process needs one runtime; importing another takes half a second and tens of megabytes.


def _open_openvino_int8(directory: Path) -> Engine:
    from core.embedding import openvino_engine  # noqa: PLC0415

    return openvino_engine.open_engine(
        directory / artefacts.GRAPH, words=directory / artefacts.WORDS
    )


def _open_openvino_fp32(directory: Path) -> Engine:
    from core.embedding import openvino_engine  # noqa: PLC0415

    return openvino_engine.open_engine(
        directory / artefacts.EXACT_GRAPH, words=directory / artefacts.WORDS
    )


def _open_onnxruntime_int8(directory: Path) -> Engine:
    from core.embedding.onnxruntime_engine import OnnxruntimeEngine  # noqa: PLC0415

    return OnnxruntimeEngine(directory / artefacts.ONNX_GRAPH, directory / artefacts.WORDS)


_ENGINES = {
    runtimes.OPENVINO_INT8: _open_openvino_int8,
    runtimes.OPENVINO_FP32: _open_openvino_fp32,
    runtimes.ONNXRUNTIME_INT8: _open_onnxruntime_int8,
}


def _checked(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1)
    if not np.allclose(norms, 1.0, atol=1e-3):  # also false for NaN
        raise ProviderError("The embedding model returned a vector that is not of length 1.")
    return vectors
