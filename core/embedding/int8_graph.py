"""A local model in int8 for onnxruntime, on processors without instructions for int8 products.

Each text is quantized by itself, so its vector does not depend on the texts around it. Three
measures keep the vectors near full precision (docs/adr/0001-embedding-runtime.md has the numbers):

- AVX2's VPMADDUBSW adds two products in 16 bits, which saturate. `quantize_matrix` scales each
  output's weights so that no two neighbours can reach the limit.
- The inputs of two products in each layer have a few channels that are far larger than the
  others. SmoothQuant (Xiao et al. 2023) moves a part of their size into the weights.
- Tokens differ in the size of their inner values, so each token has a scale of its own there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.embedding.graph import (
    HEADS,
    HIDDEN,
    Array,
    GraphBuilder,
    count_layers,
    position_table,
)

Floats = NDArray[np.float32]
Ranges = Mapping[str, Floats]

# Operators of onnxruntime itself, documented in its docs/ContribOperators.md.
DOMAIN = "com.microsoft"
# The manifest of a build has it. A build of another version is made anew.
VERSION = "2"
LARGEST = 127
# 255 · 128 = 32,640 is the most that two products may add up to in 16 bits.
LARGEST_PAIR = 128
# How much of a channel's size moves into the weights; SmoothQuant's own default.
SMOOTHING = 0.5
# GELU is never below -0.17. A token whose largest value is smaller gets this scale.
LEAST_SCALE = 0.17


def smoothed_inputs(layers: int) -> list[str]:
    """The names of the weights whose inputs need the ranges of their channels."""
    return [
        f"encoder.layer.{layer}.{part}.weight"
        for layer in range(layers)
        for part in ("attention.self.query", "intermediate.dense")
    ]


def build_int8_onnx(weights: Mapping[str, Array], ranges: Ranges) -> Any:
    """An `onnx.ModelProto`: float32 `words` of shape (1, length ≤ 512, 384), the word embeddings
    of one text, to float32 `embeddings` (1, 384) of norm 1.

    `ranges` has, for each of `smoothed_inputs`, the largest absolute value of each channel.
    """
    graph = GraphBuilder(weights)
    hidden = _embed_positions(graph, weights)
    for layer in range(count_layers(weights)):
        hidden = _encode(graph, weights, ranges, hidden, f"encoder.layer.{layer}")
    pooled = graph.op("ReduceMean", hidden, axes=[1], keepdims=0)
    vector = graph.op("Div", pooled, graph.op("ReduceL2", pooled, axes=[-1], keepdims=1))
    return graph.finish(
        vector, inputs={"words": ("FLOAT", [1, "length", HIDDEN])}, domains={DOMAIN: 1}
    )


def quantize_matrix(matrix: Array) -> tuple[NDArray[np.int8], Floats]:
    """The int8 codes of `matrix` (inputs, outputs), and the scale of each output.

    The absolute codes of rows 2i and 2i + 1 add up to at most LARGEST_PAIR in each column.
    """
    size = np.abs(matrix)
    pairs = size.reshape(-1, 2, matrix.shape[1]).sum(axis=1)
    scales = np.maximum(size.max(axis=0) / LARGEST, pairs.max(axis=0) / LARGEST_PAIR)
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    codes = np.rint(matrix / scales).astype(np.int16)
    return _limit_pairs(codes).astype(np.int8), scales


def smoothing(largest_input: Floats, matrix: Array) -> Floats:
    """The factor by which each input channel of `matrix` is divided, of geometric mean 1."""
    inputs = np.maximum(largest_input, 1e-5)
    weights = np.maximum(np.abs(matrix).max(axis=1), 1e-5)
    factors = inputs**SMOOTHING / weights ** (1 - SMOOTHING)
    result: Floats = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
    return result


def _limit_pairs(codes: NDArray[np.int16]) -> NDArray[np.int16]:
    """Take 1 off the larger code of each pair that rounding has brought over the limit."""
    pairs = codes.reshape(-1, 2, codes.shape[1])
    over = np.abs(pairs).sum(axis=1, keepdims=True) > LARGEST_PAIR
    larger = np.arange(2)[None, :, None] == np.abs(pairs).argmax(axis=1)[:, None, :]
    limited: NDArray[np.int16] = pairs - np.sign(pairs) * (over & larger)
    return limited.reshape(codes.shape)


def _embed_positions(graph: GraphBuilder, weights: Mapping[str, Array]) -> str:
    shape = graph.op("Shape", "words")
    length = graph.op("Slice", shape, graph.integers(1), graph.integers(2))
    table = graph.constant(position_table(weights), name="positions")
    start, axis = graph.integers(0), graph.integers(0)
    positions = graph.op("Slice", table, start, length, axis)
    return graph.layer_norm(graph.op("Add", "words", positions), "embeddings.LayerNorm")


def _encode(
    graph: GraphBuilder, weights: Mapping[str, Array], ranges: Ranges, x: str, name: str
) -> str:
    attended = _attend(graph, weights, ranges[f"{name}.attention.self.query.weight"], x, name)
    output = f"{name}.attention.output"
    bias = graph.weight(f"{output}.dense.bias")
    product = _multiply(graph, attended, weights[f"{output}.dense.weight"].T, bias)
    x = _add_and_normalise(graph, product, x, output)
    matrix = weights[f"{name}.intermediate.dense.weight"].T
    factors = smoothing(ranges[f"{name}.intermediate.dense.weight"], matrix)
    inner = _multiply(graph, _divide(graph, x, factors), matrix * factors[:, None])
    bias = graph.weight(f"{name}.intermediate.dense.bias")
    inner = graph.op("BiasGelu", inner, bias, domain=DOMAIN)
    product = _multiply_by_token(graph, inner, weights[f"{name}.output.dense.weight"].T)
    product = graph.op("Add", product, graph.weight(f"{name}.output.dense.bias"))
    return _add_and_normalise(graph, product, x, f"{name}.output")


def _attend(
    graph: GraphBuilder, weights: Mapping[str, Array], largest: Floats, x: str, name: str
) -> str:
    """Attention without a mask, as there is one text. Its three inputs are quantized once.

    MultiHeadAttention computes in blocks that stay in the processor's cache. With QAttention,
    which has the three products inside, a text of 250 tokens takes 3 % longer.
    """
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    matrices = [weights[f"{part}.weight"].T for part in parts]
    factors = smoothing(largest, np.concatenate(matrices, axis=1))
    quantized = _quantize(graph, _divide(graph, x, factors))
    inputs = [
        _product(graph, quantized, matrix * factors[:, None], graph.weight(f"{part}.bias"))
        for part, matrix in zip(parts, matrices, strict=True)
    ]
    return graph.op("MultiHeadAttention", *inputs, domain=DOMAIN, num_heads=HEADS)


def _divide(graph: GraphBuilder, x: str, factors: Floats) -> str:
    return graph.op("Mul", x, graph.constant(1 / factors))


def _quantize(graph: GraphBuilder, x: str) -> list[str]:
    """The codes of `x`, their scale and their zero."""
    return graph.ops("DynamicQuantizeLinear", x, count=3)


def _multiply(graph: GraphBuilder, x: str, matrix: Array, bias: str = "") -> str:
    return _product(graph, _quantize(graph, x), matrix, bias)


def _product(graph: GraphBuilder, quantized: list[str], matrix: Array, bias: str) -> str:
    data, scale, zero = quantized
    codes, scales = quantize_matrix(matrix)
    zeros = graph.constant(np.zeros(scales.shape, dtype=np.int8))
    inputs = [data, graph.constant(codes), scale, graph.constant(scales), zero, zeros]
    inputs += [bias] if bias else []
    return graph.op("MatMulIntegerToFloat", *inputs, domain=DOMAIN)


def _multiply_by_token(graph: GraphBuilder, x: str, matrix: Array) -> str:
    """The product with each token brought to one size before it and back after it."""
    size = graph.op("ReduceMax", x, axes=[-1], keepdims=1)
    size = graph.op("Max", size, graph.floats(LEAST_SCALE))
    return graph.op("Mul", _multiply(graph, graph.op("Div", x, size), matrix), size)


def _add_and_normalise(graph: GraphBuilder, product: str, x: str, name: str) -> str:
    """The layer norm of the sum, as two operators.

    onnxruntime's SkipLayerNormalization does both, but takes five times as long on AVX2.
    """
    return graph.layer_norm(graph.op("Add", product, x), f"{name}.LayerNorm")
