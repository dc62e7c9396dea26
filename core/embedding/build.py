"""Builds a local embedding model once: `python -m core.embedding.build`.

Published weights -> ONNX (written here, without torch) -> OpenVINO in full precision and in int8
by post-training quantization, and onnxruntime in int8: the processor that the model runs on
decides between them. The result appears below the models folder in one rename, complete or not
at all. docs/adr/0001-embedding-runtime.md explains the choices.
"""

import argparse
import fcntl
import importlib.metadata
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.embedding import artefacts, int8_graph, local, runtimes
from core.embedding.graph import build_onnx
from core.embedding.int8_build import write_int8
from core.embedding.models import BY_SETTING, MINILM, LocalModel, find_model
from core.embedding.sources import BuildError, Source, find_source
from core.embedding.tokens import open_tokenizer
from core.embedding.word_table import open_words
from core.settings import get_settings

# The build's own libraries (nncf, onnx, safetensors) are absent at run time and
# slow to import, so the functions that need them import them.

log = logging.getLogger(__name__)

LIBRARIES = ("openvino", "onnxruntime", "nncf", "onnx", "safetensors", "tokenizers")
CALIBRATION = Path(__file__).with_name("calibration.txt")
# Texts in other languages than English, for models that know them.
MULTILINGUAL_CALIBRATION = Path(__file__).with_name("calibration_multilingual.txt")
CALIBRATION_TEXTS = 300
# Alpha of SmoothQuant (Xiao et al. 2023): how much of the activations' outliers moves
# into the weights. Measured: nncf's default of 0.95 gives three times the error.
SMOOTHING = 0.7
# Mean cosine of int8 to fp32 vectors below which a build is refused.
MIN_AGREEMENT = 0.99


def build(models_dir: Path, model: LocalModel = MINILM) -> Path:
    """Build `model` below `models_dir`, unless it is there and complete. Returns its folder.

    Safe to call from several processes at once: one builds, the others wait.
    Raises BuildError.
    """
    target = artefacts.model_directory(models_dir, model)
    models_dir.mkdir(parents=True, exist_ok=True)
    with _exclusive(models_dir):
        if not _is_complete(target, model):
            _build_into(target, find_source(model))
    return target


def calibration_texts() -> list[str]:
    """Texts of 1 to 12 sentences, which show the quantizer the range of each activation."""
    lines = CALIBRATION.read_text(encoding="utf-8").splitlines()
    sizes = (2, 4, 8, 12)
    joined = (
        " ".join(lines[(7 * index + 13 * part) % len(lines)] for part in range(sizes[index % 4]))
        for index in range(CALIBRATION_TEXTS - len(lines))
    )
    return [*lines, *joined]


def _texts_for(model: LocalModel) -> list[str]:
    if not model.multilingual:
        return calibration_texts()
    lines = MULTILINGUAL_CALIBRATION.read_text(encoding="utf-8").splitlines()
    return [*calibration_texts(), *lines]


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Lock the directory itself: no lock file is left behind."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_complete(directory: Path, model: LocalModel) -> bool:
    try:
        versions = artefacts.check(directory, model=model).versions
    except artefacts.ModelNotBuilt:
        return False
    return versions.get(artefacts.ONNX_GRAPH) == int8_graph.VERSION


def _build_into(target: Path, source: Source) -> None:
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        _write_artefacts(source, staging, older=target)
        shutil.rmtree(target, ignore_errors=True)
        staging.chmod(0o755)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_artefacts(source: Source, directory: Path, *, older: Path) -> None:
    model = source.model
    weights = source.write(directory)
    exact = build_onnx(weights)
    reference = read_fp32(exact)
    inputs = model_inputs(_texts_for(model), directory, model)
    _write_openvino(reference, inputs, directory, older=older, model=model)
    write_int8(weights, exact, inputs[::8], directory)
    libraries = (*LIBRARIES, model.package)
    artefacts.Manifest(
        name=model.name,
        source=model.source,
        artefacts={name: artefacts.sha256(directory / name) for name in artefacts.ARTEFACTS},
        versions={name: importlib.metadata.version(name) for name in libraries}
        | {artefacts.ONNX_GRAPH: int8_graph.VERSION},
        agreement=_check_agreement(reference, directory, model),
    ).write(directory)


def _write_openvino(
    reference: Any, inputs: Sequence[Any], directory: Path, *, older: Path, model: LocalModel
) -> None:
    """Quantize the model, or copy the files of a build before onnxruntime's were added."""
    import openvino as ov  # noqa: PLC0415

    if _has_same_openvino_files(older, model):
        for name in artefacts.OPENVINO_FILES:
            shutil.copyfile(older / name, directory / name)
        return
    ov.save_model(reference, directory / artefacts.EXACT_GRAPH)
    ov.save_model(quantize(reference.clone(), inputs), directory / artefacts.GRAPH)


def _has_same_openvino_files(older: Path, model: LocalModel) -> bool:
    """Whether `older` has OpenVINO's files unaltered, made by the libraries that are installed."""
    try:
        versions = artefacts.check(older, artefacts.OPENVINO_FILES, model=model).versions
    except artefacts.ModelNotBuilt:
        return False
    return all(
        versions.get(name) == importlib.metadata.version(name) for name in ("openvino", "nncf")
    )


def read_fp32(exact: Any) -> Any:
    """An `onnx.ModelProto` as an `openvino.Model` in full precision."""
    import openvino as ov  # noqa: PLC0415

    return ov.Core().read_model(exact.SerializeToString())


def model_inputs(texts: Sequence[str], directory: Path, model: LocalModel) -> list[dict[str, Any]]:
    """The inputs of the model in full precision, for each text alone.

    `directory` has the tokenizer and the word embeddings. A text with a question mark at its end
    gets the prefix of questions.
    """
    tokenizer = open_tokenizer(directory)
    words = open_words(directory / artefacts.WORDS)
    found: list[dict[str, Any]] = []
    for text in texts:
        prefix = model.query_prefix if text.endswith("?") else model.passage_prefix
        ids = np.array([tokenizer.encode(prefix + text).ids[: model.window]])
        tokens = {"input_ids": ids} if model.has_table else {"words": words(ids)}
        found.append({**tokens, "attention_mask": np.ones(ids.shape, np.int64)})
    return found


def quantize(model: Any, inputs: Sequence[Any]) -> Any:
    """`model` with weights and activations of its matrix products in int8.

    `inputs` show the range of each activation.
    """
    import nncf  # noqa: PLC0415
    from nncf.quantization.advanced_parameters import (  # noqa: PLC0415
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
    )
    from nncf.quantization.range_estimator import (  # noqa: PLC0415
        RangeEstimatorParametersSet,
    )

    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
        advanced_parameters=AdvancedQuantizationParameters(
            smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=SMOOTHING),
            # The full range of the activations, not its mean over texts: a sentence's
            # vector depends on the rare large values of [SEP] and of full stops.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )


def _check_agreement(reference: Any, directory: Path, model: LocalModel) -> dict[str, float]:
    from core.embedding.openvino_engine import engine_of  # noqa: PLC0415

    texts = _texts_for(model)[::3]
    engine = engine_of(reference, words=directory / artefacts.WORDS)
    tokenizer = open_tokenizer(directory)
    exact = local.LocalEmbedder(engine=engine, tokenizer=tokenizer, model=model).embed(texts)
    agreement: dict[str, float] = {}
    # All are checked, even those that this processor will not use: an image that is built here
    # may run on another machine.
    for runtime in (runtimes.OPENVINO_INT8, runtimes.ONNXRUNTIME_INT8):
        embedder = local.open_model(directory, runtime=runtime, model=model)
        cosines = (embedder.embed(texts) * exact).sum(axis=1)
        mean, least = round(float(cosines.mean()), 4), round(float(cosines.min()), 4)
        log.info("cosine of %s to fp32: %s in the mean, %s at the least", runtime, mean, least)
        if mean < MIN_AGREEMENT:
            raise BuildError(f"{runtime} vectors differ too much from fp32 ones: cosine {mean}")
        agreement |= {f"{runtime} mean": mean, f"{runtime} least": least}
    return agreement


def _chosen(options: argparse.Namespace) -> LocalModel:
    """The model to build. The settings are not read if a models folder is given."""
    if options.model or options.models_dir:
        return BY_SETTING[options.model or MINILM.setting]
    settings = get_settings()
    local_name = settings.embedding_model if settings.embedding_provider == "local" else ""
    return find_model(local_name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=artefacts.BUILD_COMMAND, description=__doc__)
    parser.add_argument("--models-dir", type=Path, help="default: MODEL_DIR of the settings")
    parser.add_argument(
        "--model", choices=BY_SETTING, help="default: EMBEDDING_MODEL of the settings"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(build(options.models_dir or get_settings().model_dir, _chosen(options)))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
