"""The protocol of whatever turns texts into vectors."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Query(str):
    """A text that asks. Some models embed it in another way than a passage."""

    __slots__ = ()


class Embedder(Protocol):
    """Maps texts to unit vectors.

    `name` identifies the model and is stored with every vector; vectors of
    different names are not comparable. `dimensions` is their length.
    """

    name: str
    dimensions: int

    def warm_up(self) -> None:
        """Prepare now, so that the first question does not wait. Sends nothing over the network."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), float32, L2 norm 1, in the order given.

        A text is a passage unless it is a Query. Raises ProviderBusy (wait `retry_after`
        seconds), ProviderRefused (waiting does not help), ProviderTimeout or ProviderError.
        Never returns a short list, a zero or a NaN vector.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """How much of the model's input window `text` takes, in tokens."""
        ...


def endpoint_model_name(model: str, dimensions: int) -> str:
    """The name that vectors of an endpoint's model are stored under."""
    return f"{model}-{dimensions}"
