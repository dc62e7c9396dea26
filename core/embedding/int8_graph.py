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
    LAYER_NORM_EPSILON,
    Array,
    GraphBuilder,
    count_layers,
    position_table,
)

Floats = NDArray[np.float32]
Ranges = Mapping[str, Floats]

# Operators of onnxruntime itself, documented in its docs/ContribOperators.md.
DOMAIN = "com.microsoft"
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
    product = _multiply(graph, attended, weights[f"{output}.dense.weight"].T)
    x = _add_and_normalise(graph, product, x, output)
    matrix = weights[f"{name}.intermediate.dense.weight"].T
    x_smooth, matrix = _smooth(graph, x, matrix, ranges[f"{name}.intermediate.dense.weight"])
    inner = _multiply(graph, x_smooth, matrix)
    bias = graph.weight(f"{name}.intermediate.dense.bias")
    inner = graph.op("BiasGelu", inner, bias, domain=DOMAIN)
    product = _multiply_by_token(graph, inner, weights[f"{name}.output.dense.weight"].T)
    return _add_and_normalise(graph, product, x, f"{name}.output")


def _attend(
    graph: GraphBuilder, weights: Mapping[str, Array], largest: Floats, x: str, name: str
) -> str:
    """Attention with its three products of the input as one; no mask, as there is one text."""
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    matrix = np.concatenate([weights[f"{part}.weight"].T for part in parts], axis=1)
    bias = graph.constant(np.concatenate([weights[f"{part}.bias"] for part in parts]))
    x, matrix = _smooth(graph, x, matrix, largest)
    codes, scales, zeros = _constants(graph, matrix)
    data, scale, zero = graph.ops("DynamicQuantizeLinear", x, count=3)
    inputs = (data, codes, bias, scale, scales, "", zero, zeros)
    return graph.op("QAttention", *inputs, domain=DOMAIN, num_heads=HEADS)


def _smooth(graph: GraphBuilder, x: str, matrix: Array, largest: Floats) -> tuple[str, Array]:
    factors = smoothing(largest, matrix)
    return graph.op("Mul", x, graph.constant(1 / factors)), matrix * factors[:, None]


def _multiply(graph: GraphBuilder, x: str, matrix: Array) -> str:
    codes, scales, zeros = _constants(graph, matrix)
    data, scale, zero = graph.ops("DynamicQuantizeLinear", x, count=3)
    inputs = (data, codes, scale, scales, zero, zeros)
    return graph.op("MatMulIntegerToFloat", *inputs, domain=DOMAIN)


def _multiply_by_token(graph: GraphBuilder, x: str, matrix: Array) -> str:
    """The product with each token brought to one size before it and back after it."""
    size = graph.op("ReduceMax", x, axes=[-1], keepdims=1)
    size = graph.op("Max", size, graph.floats(LEAST_SCALE))
    return graph.op("Mul", _multiply(graph, graph.op("Div", x, size), matrix), size)


def _constants(graph: GraphBuilder, matrix: Array) -> tuple[str, str, str]:
    codes, scales = quantize_matrix(matrix)
    zeros = np.zeros(scales.shape, dtype=np.int8)
    return graph.constant(codes), graph.constant(scales), graph.constant(zeros)


def _add_and_normalise(graph: GraphBuilder, product: str, x: str, name: str) -> str:
    norm = f"{name}.LayerNorm"
    names = (f"{norm}.weight", f"{norm}.bias", f"{name}.dense.bias")
    constants = [graph.weight(constant) for constant in names]
    inputs = (product, x, *constants)
    epsilon = LAYER_NORM_EPSILON
    return graph.op("SkipLayerNormalization", *inputs, domain=DOMAIN, epsilon=epsilon)
