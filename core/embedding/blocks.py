"""Numbers in 4 bits: ggml's format Q4_0, in blocks of 32 with a float16 scale each.

A block has 18 bytes: the scale, then 16 bytes with two codes each. The low half of byte i is
number i, and the high half is number i + 16. A number is its code minus 8, times the scale.
"""

import numpy as np
from numpy.typing import NDArray

NUMBERS = 32
BYTES = 18
_ZERO = 8


def decode(table: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The numbers of blocks of shape (…, blocks, 18), as shape (…, 32 · blocks)."""
    scales = np.ascontiguousarray(table[..., :2]).view("<f2").astype(np.float32)
    codes = table[..., 2:]
    numbers = np.concatenate([codes & 15, codes >> 4], axis=-1).astype(np.float32) - _ZERO
    decoded: NDArray[np.float32] = (numbers * scales).reshape(*table.shape[:-2], -1)
    return decoded
