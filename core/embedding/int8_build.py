"""Writes the graph that `onnxruntime_engine` runs, from the published weights."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.embedding import artefacts
from core.embedding.graph import Array, count_layers
from core.embedding.int8_graph import Ranges, build_int8_onnx, smoothed_inputs


def write_int8(
    weights: Mapping[str, Array], exact: Any, inputs: Iterable[Mapping[str, Array]], directory: Path
) -> None:
    """Write the int8 graph into `directory`.

    `exact` is the `onnx.ModelProto` of `graph.build_onnx`, `inputs` its inputs for texts that
    show the range of each activation.
    """
    ranges = find_ranges(exact, inputs, names=smoothed_inputs(count_layers(weights)))
    model = build_int8_onnx(weights, ranges)
    (directory / artefacts.ONNX_GRAPH).write_bytes(model.SerializeToString())


def find_ranges(exact: Any, inputs: Iterable[Mapping[str, Array]], *, names: list[str]) -> Ranges:
    """The largest absolute value of each channel that enters a product, over all `inputs`.

    `names` are those of the products' weights.
    """
    import onnx  # noqa: PLC0415 - the build's dependency, absent at run time
    import onnxruntime  # noqa: PLC0415

    sources = {
        node.input[1]: node.input[0] for node in exact.graph.node if node.op_type == "MatMul"
    }
    wanted = {name: sources[name] for name in names}
    watched = onnx.ModelProto()
    watched.CopyFrom(exact)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted.values())
    session = onnxruntime.InferenceSession(watched.SerializeToString())
    ranges: dict[str, Any] = dict.fromkeys(wanted, np.float32(0))
    for fed in inputs:
        found = session.run(list(wanted.values()), dict(fed))
        for name, values in zip(wanted, found, strict=True):
            ranges[name] = np.maximum(ranges[name], np.abs(values).max(axis=(0, 1)))
    return ranges
