"""A model's published weights as an ONNX graph, written without torch.

Architecture: BERT (Devlin et al. 2019) with post-layer-norm blocks and exact
GELU; mean pooling over real tokens and L2 normalisation as sentence-transformers
runs them (Reimers & Gurevych 2019, `1_Pooling` and `2_Normalize`). All of it is
inside the graph, so that a caller gets unit vectors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADS = 12
HIDDEN = 384
HEAD_SIZE = HIDDEN // HEADS
LAYER_NORM_EPSILON = 1e-12
OPSET = 17  # the first with LayerNormalization; `gelu` below is made of older operators
# Added to the attention scores of padding tokens. Their weight is then exactly 0 after
# softmax, and the number is still small enough for bfloat16 and for a quantizer.
MASKED = -10_000.0

WORD_TABLE = "embeddings.word_embeddings.weight"

Array = NDArray[Any]


class GraphBuilder:
    """Builds an ONNX graph. Each method adds nodes and returns the name of their output."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        import onnx  # noqa: PLC0415 - the build's dependency, absent at run time

        self._onnx = onnx
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Add an operator that has `count` outputs. An input of "" is left out."""
        name = f"{kind}_{len(self._nodes)}"
        outputs = [name if place == 0 else f"{name}_{place}" for place in range(count)]
        node = self._onnx.helper.make_node(kind, list(inputs), outputs, name, **attributes)
        self._nodes.append(node)
        return outputs

    def constant(self, value: Array, *, name: str = "") -> str:
        name = name or f"constant_{len(self._constants)}"
        if name not in self._constants:
            array = np.ascontiguousarray(value)
            self._constants[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def floats(self, value: float) -> str:
        return self.constant(np.array(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def weight(self, name: str) -> str:
        return self.constant(self._weights[name], name=name)

    def linear(self, x: str, name: str) -> str:
        matrix = self.constant(self._weights[f"{name}.weight"].T, name=f"{name}.weight")
        return self.op("Add", self.op("MatMul", x, matrix), self.weight(f"{name}.bias"))

    def layer_norm(self, x: str, name: str) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def gelu(self, x: str) -> str:
        erf = self.op("Erf", self.op("Div", x, self.floats(np.sqrt(2.0))))
        product = self.op("Mul", x, self.op("Add", erf, self.floats(1.0)))
        return self.op("Mul", product, self.floats(0.5))

    def finish(
        self,
        output: str,
        *,
        inputs: Mapping[str, tuple[str, list[Any]]],
        domains: Mapping[str, int] | None = None,
    ) -> Any:
        """The model whose result is `output`. `inputs` are types and shapes by name, `domains`
        the versions of operator sets besides ONNX's own.
        """
        helper, kind = self._onnx.helper, self._onnx.TensorProto
        self.op("Identity", output)
        self._nodes[-1].output[0] = "embeddings"
        graph = helper.make_graph(
            self._nodes,
            "embedder",
            [
                helper.make_tensor_value_info(name, getattr(kind, element), shape)
                for name, (element, shape) in inputs.items()
            ],
            [helper.make_tensor_value_info("embeddings", kind.FLOAT, ["batch", HIDDEN])],
            list(self._constants.values()),
        )
        versions = {"": OPSET, **(domains or {})}
        opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        self._onnx.checker.check_model(model)
        return model


def build_onnx(weights: Mapping[str, Array]) -> Any:
    """An `onnx.ModelProto`: int64 `input_ids` and `attention_mask` of shape
    (batch, length ≤ 512) to float32 `embeddings` (batch, 384) of norm 1.

    `weights` are the tensors under the names that BERT's are published under. Without the table of
    word embeddings, the model has their rows as the float32 input `words` (batch, length, 384)
    instead of `input_ids`.
    """
    graph = GraphBuilder(weights)
    mask = graph.op("Cast", "attention_mask", to=1)  # TensorProto.FLOAT
    hidden = _embed_tokens(graph, weights)
    bias = _attention_bias(graph, mask)
    for layer in range(count_layers(weights)):
        hidden = _encode(graph, hidden, bias, name=f"encoder.layer.{layer}")
    vectors = _normalise(graph, _mean_pool(graph, hidden, mask))
    shape: list[Any] = ["batch", "length"]
    words: dict[str, tuple[str, list[Any]]] = {"words": ("FLOAT", [*shape, HIDDEN])}
    if WORD_TABLE in weights:
        words = {"input_ids": ("INT64", shape)}
    return graph.finish(vectors, inputs={**words, "attention_mask": ("INT64", shape)})


def count_layers(weights: Mapping[str, Array]) -> int:
    return sum(name.endswith(".intermediate.dense.weight") for name in weights)


def position_table(weights: Mapping[str, Array]) -> Array:
    """The position embeddings, with the segment's added: every token is of segment 0."""
    positions = weights["embeddings.position_embeddings.weight"]
    table: Array = positions + weights["embeddings.token_type_embeddings.weight"][0]
    return table


def _embed_tokens(graph: GraphBuilder, weights: Mapping[str, Array]) -> str:
    words, sized = "words", "attention_mask"
    if WORD_TABLE in weights:
        words, sized = graph.op("Gather", graph.weight(WORD_TABLE), "input_ids"), "input_ids"
    length = graph.op("Slice", graph.op("Shape", sized), graph.integers(1), graph.integers(2))
    positions = graph.op(
        "Slice",
        graph.constant(position_table(weights), name="positions"),
        graph.integers(0),
        length,
        graph.integers(0),
    )
    return graph.layer_norm(graph.op("Add", words, positions), "embeddings.LayerNorm")


def _attention_bias(graph: GraphBuilder, mask: str) -> str:
    missing = graph.op("Sub", graph.floats(1.0), graph.op("Unsqueeze", mask, graph.integers(1, 2)))
    return graph.op("Mul", missing, graph.floats(MASKED))


def _encode(graph: GraphBuilder, x: str, bias: str, *, name: str) -> str:
    attended = graph.linear(_attend(graph, x, bias, name=name), f"{name}.attention.output.dense")
    x = graph.layer_norm(graph.op("Add", attended, x), f"{name}.attention.output.LayerNorm")
    inner = graph.gelu(graph.linear(x, f"{name}.intermediate.dense"))
    outer = graph.linear(inner, f"{name}.output.dense")
    return graph.layer_norm(graph.op("Add", outer, x), f"{name}.output.LayerNorm")


def _attend(graph: GraphBuilder, x: str, bias: str, *, name: str) -> str:
    split = graph.integers(0, 0, HEADS, HEAD_SIZE)
    query, key, value = (
        graph.op("Reshape", graph.linear(x, f"{name}.attention.self.{part}"), split)
        for part in ("query", "key", "value")
    )
    query = graph.op("Transpose", query, perm=[0, 2, 1, 3])
    key = graph.op("Transpose", key, perm=[0, 2, 3, 1])
    value = graph.op("Transpose", value, perm=[0, 2, 1, 3])
    scores = graph.op("Mul", graph.op("MatMul", query, key), graph.floats(HEAD_SIZE**-0.5))
    weights = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
    heads = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    return graph.op("Reshape", heads, graph.integers(0, 0, HIDDEN))


def _mean_pool(graph: GraphBuilder, x: str, mask: str) -> str:
    axis = graph.integers(1)
    real = graph.op("Unsqueeze", mask, graph.integers(2))
    total = graph.op("ReduceSum", graph.op("Mul", x, real), axis, keepdims=0)
    return graph.op("Div", total, graph.op("ReduceSum", real, axis, keepdims=0))


def _normalise(graph: GraphBuilder, x: str) -> str:
    return graph.op("Div", x, graph.op("ReduceL2", x, axes=[-1], keepdims=1))
