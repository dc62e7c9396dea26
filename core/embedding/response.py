"""The vectors in an embedding endpoint's response."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.embedding.base import Vectors
from core.errors import ProviderError


class WrongLength(ProviderError):
    """The vectors are all of one length, but not of the right one."""


def parse_vectors(data: Any, *, count: int, dimensions: int) -> Vectors:
    """The `count` vectors in `data`, in the order of the texts, float32, L2 norm 1.

    Embeddings are lists of numbers, or base64 of little-endian float32. Raises WrongLength, and
    ProviderError for whatever is not one finite, non-zero vector per text.
    """
    try:
        items = _in_order(data["data"])
        vectors = np.array([_numbers(item["embedding"]) for item in items], dtype=np.float64)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProviderError("The embedding endpoint's answer has no list of vectors.") from error
    if len(items) != count:
        raise ProviderError(f"The embedding endpoint sent {len(items)} vectors for {count} texts.")
    if vectors.ndim == 2 and vectors.shape[1] not in (0, dimensions):
        raise WrongLength(
            f"The embedding endpoint's vectors have {vectors.shape[1]} numbers; "
            f"EMBEDDING_DIMENSIONS is {dimensions}."
        )
    if vectors.shape != (count, dimensions):
        raise ProviderError(f"The embedding endpoint's vectors are not of length {dimensions}.")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.min() > 0):
        raise ProviderError("The embedding endpoint sent a vector that is zero or not finite.")
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit


def _in_order(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`items` ordered by index, or as listed if every index is missing, null or 0.

    Servers that write JSON from Protocol Buffers leave out an index of 0. Raises ValueError for
    indexes that are not 0, 1, 2 … each once.
    """
    indexes = [item.get("index") for item in items]
    if all(index is None or index == 0 for index in indexes) and len(items) > 1:
        return list(items)
    for filled in (
        [0 if index is None else index for index in indexes],
        [place if index is None else index for place, index in enumerate(indexes)],
    ):
        if sorted(filled) == list(range(len(items))):
            order = sorted(range(len(items)), key=filled.__getitem__)
            return [items[place] for place in order]
    raise ValueError("indexes")


def _numbers(embedding: Any) -> Any:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return embedding
