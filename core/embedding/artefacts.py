"""Where the built model is on disk, and the check that its files are unaltered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.embedding.models import MINILM, LocalModel

GRAPH, WEIGHTS, TOKENIZER, MANIFEST = "model.xml", "model.bin", "tokenizer.json", "manifest.json"
# The same model in full precision, and in int8 for processors on which the first saturates; see
# runtimes.saturates.
EXACT_GRAPH, EXACT_WEIGHTS = "exact.xml", "exact.bin"
ONNX_GRAPH, WORDS = "int8.onnx", "words.npy"
OPENVINO_FILES = (GRAPH, WEIGHTS, EXACT_GRAPH, EXACT_WEIGHTS)
ARTEFACTS = (*OPENVINO_FILES, ONNX_GRAPH, WORDS, TOKENIZER)
BUILD_COMMAND = "python -m core.embedding.build"


class ModelNotBuilt(RuntimeError):
    """The local model is absent, incomplete or altered; the text names the remedy."""


@dataclass(frozen=True)
class Manifest:
    """The record of a build: source, versions, hashes (SHA-256 in hex, `artefacts` by file)."""

    name: str
    source: str
    artefacts: dict[str, str]
    versions: dict[str, str]
    agreement: dict[str, float]

    def write(self, directory: Path) -> None:
        text = json.dumps(asdict(self), indent=2, sort_keys=True)
        (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def model_directory(models_dir: Path, model: LocalModel = MINILM) -> Path:
    """The model's folder below `models_dir`. It need not exist."""
    return models_dir / model.name


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(
    directory: Path, names: Sequence[str] = ARTEFACTS, *, model: LocalModel = MINILM
) -> Manifest:
    """Compare the files `names` in `directory` with their hashes in the manifest, and return that.

    Raises ModelNotBuilt if a file is missing, altered, or made from weights
    other than the published ones.
    """
    try:
        fields = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**fields)
        found = {name: sha256(directory / name) for name in names}
    except (OSError, ValueError, TypeError) as error:
        raise _not_built(directory, model, f"cannot be read ({type(error).__name__})") from error
    if manifest.name != model.name or manifest.source != model.source:
        raise _not_built(directory, model, "was made from other weights")
    wrong = [name for name in names if found[name] != manifest.artefacts.get(name)]
    if wrong:
        raise _not_built(directory, model, f"is damaged: {', '.join(wrong)}")
    return manifest


def _not_built(directory: Path, model: LocalModel, reason: str) -> ModelNotBuilt:
    chosen = "" if model is MINILM else f" --model {model.setting}"
    return ModelNotBuilt(
        f"the embedding model in {directory} {reason}; "
        f"build it with `{BUILD_COMMAND} --models-dir {directory.parent}{chosen}`"
    )
