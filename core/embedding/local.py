"""all-MiniLM-L6-v2 in int8 on the CPU, by OpenVINO. No torch, no network."""

import os
import re
import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.embedding import artefacts
from core.embedding.base import Vectors
from core.embedding.words import WordEmbeddings, split
from core.errors import ProviderError

Ids = Sequence[int]

# Measured in docs/adr/0001-embedding-runtime.md: larger batches are slower on one thread.
BATCH_SIZE = 4
# Lengths are padded up to a multiple of this, so that the runtime meets at most
# WINDOW / LENGTH_STEP * BATCH_SIZE shapes and its per-shape kernels stay bounded.
LENGTH_STEP = 16

# A single text of at most this many tokens, such as a question, runs on a second model that is
# compiled for this one shape. The general model spends 1.4 of 3.7 ms on a change of shape.
QUESTION_LENGTH = 24
_QUESTION_SHAPE = (1, QUESTION_LENGTH)
# With a fixed shape OpenVINO fuses more operations, which changes the rounding: a question's
# vector would differ from the vector of the same words in a batch (cosine 0.9988).
_QUESTION_OPTIONS = {"SNIPPETS_MODE": "DISABLE"}

_CACHED_WORDS = 30_000
_LONGEST_WORD = 40  # characters; longer words rarely recur
# `str.split` cuts at these characters. BERT's tokenizer deletes them, which joins their neighbours.
_JOINING = re.compile("[\x0b\x0c\x1c-\x1f\x85]")

COMPILE_OPTIONS: dict[str, Any] = {
    # Several processes of one thread are faster than one process of several threads.
    # With pinning, all of them would run on the first core.
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    # The default is bfloat16 if the CPU has it: vectors would depend on the machine.
    "INFERENCE_PRECISION_HINT": "f32",
}


class LocalEmbedder:
    """An Embedder over a built model. One instance serves all threads of a process.

    Load it after the process has forked: the runtime's threads do not survive
    a fork, and `embed` raises RuntimeError in a process that did not load it.
    """

    name = artefacts.MODEL_NAME
    dimensions = artefacts.DIMENSIONS
    # The model reads this many tokens of a text; [CLS] and [SEP] take two of its window.
    max_tokens = artefacts.WINDOW - 2

    def __init__(
        self,
        *,
        words: WordEmbeddings,
        encoder: ov.Model,
        tokenizer: Tokenizer,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._words = words
        self._encoder = encoder
        self._options = {**COMPILE_OPTIONS, **(options or {})}
        self._request = _compile(encoder, self._options)
        self._tokenizer = tokenizer
        self._cls = cast(int, tokenizer.token_to_id("[CLS]"))
        self._sep = cast(int, tokenizer.token_to_id("[SEP]"))
        self._tokens_of_word = lru_cache(_CACHED_WORDS)(self._ids)
        self._lock = threading.Lock()
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
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            vectors[batch] = self._infer(*_pad([inputs[index] for index in batch]))
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
        encoder.reshape({"words": [*shape, self.dimensions], "attention_mask": shape})
        return _compile(encoder, {**self._options, **_QUESTION_OPTIONS})


def load(models_dir: Path) -> LocalEmbedder:
    """The model built below `models_dir`, its files checked against their hashes.

    Raises ModelNotBuilt, whose text names the command that builds it.
    """
    directory = artefacts.model_directory(models_dir)
    artefacts.check(directory)
    return open_model(directory)


def open_model(directory: Path, *, graph: str = "") -> LocalEmbedder:
    """The model in `directory`, without a check of hashes.

    `graph` is a file's name; by default the one that suits this processor.
    """
    graph = graph or (artefacts.EXACT_GRAPH if saturates(_cpu_info()) else artefacts.GRAPH)
    model = ov.Core().read_model(directory / graph)
    return compile_model(model, tokenizer=open_tokenizer(directory))


def saturates(cpu_info: str) -> bool:
    """Whether int8 products overflow on the processor that this /proc/cpuinfo describes.

    x86 without VNNI adds pairs of products in 16 bits, which saturate (oneDNN
    developer guide, "Nuances of int8 computations"): some vectors then fall below
    a cosine of 0.99, so such a processor gets full precision. The two kinds of
    vectors are comparable and share a name.
    """
    flags = next((line.split() for line in cpu_info.splitlines() if line.startswith("flags")), [])
    return bool(flags) and not {"avx512_vnni", "avx_vnni"} & set(flags)


def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return ""


def compile_model(
    model: ov.Model, *, tokenizer: Tokenizer, options: dict[str, Any] | None = None
) -> LocalEmbedder:
    """An embedder for a model of the same inputs and output. `options` override the usual ones."""
    words, encoder = split(model)
    return LocalEmbedder(words=words, encoder=encoder, tokenizer=tokenizer, options=options)


def _compile(model: ov.Model, options: dict[str, Any]) -> ov.InferRequest:
    return ov.Core().compile_model(model, "CPU", options).create_infer_request()


def open_tokenizer(directory: Path) -> Tokenizer:
    """The published tokenizer without its fixed truncation and padding to 128 tokens."""
    tokenizer = Tokenizer.from_file(str(directory / artefacts.TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _pad(inputs: Sequence[Ids]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    longest = max(len(ids) for ids in inputs)
    length = -(-longest // LENGTH_STEP) * LENGTH_STEP
    if len(inputs) == 1 and longest <= QUESTION_LENGTH:
        length = QUESTION_LENGTH
    padded = np.zeros((len(inputs), length), dtype=np.int64)  # [PAD] is token 0
    mask = np.zeros_like(padded)
    for row, ids in enumerate(inputs):
        padded[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return padded, mask


def _checked(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1)
    if not np.allclose(norms, 1.0, atol=1e-3):  # also false for NaN
        raise ProviderError("The embedding model returned a vector that is not of length 1.")
    return vectors
