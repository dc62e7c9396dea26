"""What `bench.embedding` compares: the ways that are shipped, and others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)

from core.embedding import build, local, runtimes, sources
from core.embedding.graph import HEADS, build_onnx, count_layers
from core.embedding.models import MINILM
from core.embedding.openvino_engine import OpenVINOEngine
from core.embedding.tokens import open_tokenizer

Embed = Callable[[list[str]], Any]


def all_candidates(directory: Path, scratch: Path) -> dict[str, Embed]:
    """The candidates by name, in the order in which they take turns. `scratch` takes files."""
    shipped = {
        name: local.open_model(directory, runtime=name).embed
        for name in (runtimes.OPENVINO_FP32, runtimes.OPENVINO_INT8, runtimes.ONNXRUNTIME_INT8)
    }
    if directory.name != MINILM.name:
        return shipped
    tokenizer = open_tokenizer(directory)
    weights = sources.read_weights(sources.find_source(MINILM).weights)
    exact = build_onnx(weights)
    bf16 = OpenVINOEngine(build.read_fp32(exact), options={"INFERENCE_PRECISION_HINT": "bf16"})
    inputs = build.model_inputs(build.calibration_texts()[::6], directory, MINILM)
    others = {"OpenVINO bf16": bf16, **_onnxruntime_engines(exact, scratch, inputs)}
    others |= _ctranslate2_engines(weights, tokenizer, scratch)
    return shipped | {
        name: local.LocalEmbedder(engine=engine, tokenizer=tokenizer).embed
        for name, engine in others.items()
    }


class PlainOnnxEngine:
    """onnxruntime with the graph of `build_onnx`, as it is or quantized by its own tools."""

    batch_size = 1

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def infer(self, inputs: Any) -> Any:
        [ids] = inputs
        fed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        return self._session.run(None, fed)[0]


def _onnxruntime_engines(exact: Any, scratch: Path, inputs: list[Any]) -> dict[str, Any]:
    """`inputs` are the model's for texts that show a static quantizer the ranges."""
    full, small, reduced = (scratch / f"{name}.onnx" for name in ("full", "small", "reduced"))
    full.write_bytes(exact.SerializeToString())
    quantize_dynamic(full, small, per_channel=True)
    quantize_dynamic(full, reduced, per_channel=True, reduce_range=True)
    return {
        "onnxruntime fp32": PlainOnnxEngine(full),
        "onnxruntime dynamic int8, per channel": PlainOnnxEngine(small),
        "onnxruntime dynamic int8, 7-bit weights": PlainOnnxEngine(reduced),
        **_static_engines(full, scratch, inputs),
    }


class Inputs(CalibrationDataReader):
    """Gives the quantizer one text after the other."""

    def __init__(self, inputs: list[Any]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> Any:
        return next(self._inputs, None)


def _static_engines(full: Path, scratch: Path, inputs: list[Any]) -> dict[str, Any]:
    """With ranges of the activations from `inputs`: for products alone, and for all operators."""
    engines = {}
    for name, operators in (("products", ["MatMul"]), ("all operators", None)):
        path = scratch / f"static {name}.onnx"
        quantize_static(
            full,
            path,
            Inputs(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            per_channel=True,
            reduce_range=True,  # without it, sums of two products saturate on AVX2
        )
        engines[f"onnxruntime static int8, 7-bit weights, {name}"] = PlainOnnxEngine(path)
    return engines


class CTranslate2Engine:
    batch_size = 1

    def __init__(self, folder: Path, precision: str) -> None:
        import ctranslate2

        self._encoder = ctranslate2.Encoder(str(folder), compute_type=precision, intra_threads=1)

    def infer(self, inputs: Any) -> Any:
        hidden = np.array(self._encoder.forward_batch([list(inputs[0])]).last_hidden_state)
        vectors = hidden.mean(axis=1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _ctranslate2_engines(weights: Any, tokenizer: Any, scratch: Path) -> dict[str, Any]:
    try:
        import ctranslate2
    except ImportError:
        return {}
    folder = scratch / "ctranslate2"
    folder.mkdir()
    spec = _ctranslate2_model(weights)
    spec.register_vocabulary(sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get))
    spec.config.unk_token, spec.config.layer_norm_epsilon = "[UNK]", 1e-12
    spec.validate()
    spec.save(str(folder))
    offered = ctranslate2.get_supported_compute_types("cpu")
    return {
        f"CTranslate2 {precision}": CTranslate2Engine(folder, precision)
        for precision in ("float32", "int16", "int8")
        if precision in offered
    }


def _ctranslate2_model(weights: Any) -> Any:
    """The network in CTranslate2's terms, as its converter of BERT describes it."""
    from ctranslate2.converters.utils import fuse_linear
    from ctranslate2.specs import common_spec, transformer_spec

    encoder = transformer_spec.TransformerEncoderSpec(
        count_layers(weights),
        HEADS,
        pre_norm=False,
        activation=common_spec.Activation.GELU,
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD,
    )
    encoder.scale_embeddings = False
    for place, kind in enumerate(("word", "token_type")):
        encoder.embeddings[place].weight = weights[f"embeddings.{kind}_embeddings.weight"]
    positions = weights["embeddings.position_embeddings.weight"]
    encoder.position_encodings.encodings = positions

    def linear(spec: Any, name: str) -> Any:
        spec.weight, spec.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return spec

    def norm(spec: Any, name: str) -> None:
        spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    norm(encoder.layernorm_embedding, "embeddings.LayerNorm")
    for number, layer in enumerate(encoder.layer):
        name, attention = f"encoder.layer.{number}", layer.self_attention
        parts = [
            linear(common_spec.LinearSpec(), f"{name}.attention.self.{part}")
            for part in ("query", "key", "value")
        ]
        fuse_linear(attention.linear[0], parts)
        linear(attention.linear[1], f"{name}.attention.output.dense")
        norm(attention.layer_norm, f"{name}.attention.output.LayerNorm")
        linear(layer.ffn.linear_0, f"{name}.intermediate.dense")
        linear(layer.ffn.linear_1, f"{name}.output.dense")
        norm(layer.ffn.layer_norm, f"{name}.output.LayerNorm")
    return transformer_spec.TransformerEncoderModelSpec(encoder)
