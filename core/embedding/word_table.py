"""Tables of word embeddings in files, which the processes of a machine map and share."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.embedding import blocks

Rows = NDArray[np.float32]


class Words(Protocol):
    """Maps token ids of any shape (…) to their float32 rows, of shape (…, width)."""

    def __call__(self, ids: NDArray[np.int64]) -> Rows: ...


class WordEmbeddings:
    """Words over a table of numbers, or of int8 codes with a scale for each row."""

    def __init__(self, codes: NDArray[Any], scales: Rows | None = None) -> None:
        self._codes, self._scales = codes, scales

    def __call__(self, ids: NDArray[np.int64]) -> Rows:
        rows: Rows = self._codes[ids].astype(np.float32)
        return rows if self._scales is None else rows * self._scales[ids]


class BlockWords:
    """Words over a table of 4-bit blocks, of shape (vocabulary, blocks, bytes of a block)."""

    def __init__(self, table: NDArray[np.uint8]) -> None:
        self._table = table

    def __call__(self, ids: NDArray[np.int64]) -> Rows:
        return blocks.decode(self._table[ids])


def open_words(path: Path) -> Words:
    """The words in the file `path`, which `numpy.save` has written."""
    table = np.load(path, mmap_mode="r")
    return BlockWords(table) if table.dtype == np.uint8 else WordEmbeddings(table)
