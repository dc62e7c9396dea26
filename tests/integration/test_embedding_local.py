"""The local model's vectors compared with the published model's, from torch in full precision."""

import json
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from structlog.testing import capture_logs

from core.embedding import (
    artefacts,
    build,
    create_embedder,
    local,
    openvino_engine,
    runtimes,
    sources,
)
from core.embedding.graph import build_onnx
from core.embedding.local import LocalEmbedder
from core.embedding.models import MINILM
from core.embedding.openvino_engine import OpenVINOEngine
from core.embedding.sources import Source
from core.embedding.tokens import open_tokenizer
from core.embedding.words import split
from core.settings import Settings

REFERENCE = json.loads((Path(__file__).parent / "minilm_reference.json").read_text())
TEXTS: list[dict[str, Any]] = REFERENCE["texts"]


@pytest.fixture(scope="module")
def directory(model_dir: Path) -> Path:
    return artefacts.model_directory(model_dir)


SUITABLE = runtimes.suitable(runtimes.cpu_info())


@pytest.fixture(scope="module", params=SUITABLE)
def embedder(directory: Path, request: pytest.FixtureRequest) -> LocalEmbedder:
    return local.load(directory.parent, runtime=request.param)


def mixed_texts(count: int) -> list[str]:
    texts = build.calibration_texts()
    return [texts[(index * 37) % len(texts)] for index in range(count)]


def assert_alike(found: Any, expected: Any, *, least: float = 0.9999) -> None:
    assert (found * expected).sum(axis=-1).min() >= least


@pytest.mark.parametrize("case", TEXTS, ids=[case["label"] for case in TEXTS])
def test_agrees_with_the_published_model(embedder: LocalEmbedder, case: dict[str, Any]) -> None:
    vector = embedder.embed([case["text"]])[0]
    assert_alike(vector, np.array(case["vector"]), least=0.99)


@pytest.mark.parametrize("case", TEXTS, ids=[case["label"] for case in TEXTS])
def test_full_precision_graph_is_the_published_model(
    exact: LocalEmbedder, case: dict[str, Any]
) -> None:
    assert_alike(exact.embed([case["text"]])[0], np.array(case["vector"]), least=0.99999)


@pytest.fixture(scope="module")
def exact(directory: Path) -> LocalEmbedder:
    model = build.read_fp32(build_onnx(sources.read_weights(sources.find_source(MINILM).weights)))
    return LocalEmbedder(engine=OpenVINOEngine(model), tokenizer=open_tokenizer(directory))


@pytest.mark.parametrize("case", TEXTS, ids=[case["label"] for case in TEXTS])
def test_the_replacement_of_int8_agrees(replacement: LocalEmbedder, case: dict[str, Any]) -> None:
    vector = replacement.embed([case["text"]])[0]
    assert_alike(vector, np.array(case["vector"]), least=0.9999)


@pytest.fixture(scope="module")
def replacement(directory: Path) -> LocalEmbedder:
    return local.open_model(directory, runtime=runtimes.OPENVINO_FP32)


@pytest.fixture(scope="module")
def ways(directory: Path) -> dict[str, Any]:
    """The vectors of the same texts by each runtime that suits this processor, and in fp32."""
    names = {*SUITABLE, runtimes.OPENVINO_FP32}
    return {name: local.open_model(directory, runtime=name).embed(MIXED) for name in names}


MIXED = mixed_texts(60)


def test_vectors_of_all_runtimes_are_comparable(ways: dict[str, Any]) -> None:
    for one, other in combinations(ways, 2):
        assert (ways[one] * ways[other]).sum(axis=1).mean() >= 0.99


def test_int8_keeps_the_nearest_neighbours(ways: dict[str, Any]) -> None:
    exact, small = (
        nearest(ways[name]) for name in (runtimes.OPENVINO_FP32, runtimes.ONNXRUNTIME_INT8)
    )
    same = [len(set(one) & set(other)) / 5 for one, other in zip(exact, small, strict=True)]
    assert np.mean(same) >= 0.95


def nearest(vectors: Any) -> Any:
    likeness = vectors @ vectors.T - 2 * np.eye(len(vectors))
    return np.argsort(-likeness, axis=1)[:, :5]


def test_measures_every_runtime_that_suits(directory: Path) -> None:
    times = runtimes.measure(directory, SUITABLE)
    assert times.keys() == set(SUITABLE)
    assert min(times.values()) > 0


def test_a_measurement_without_a_model_fails(tmp_path: Path) -> None:
    with pytest.raises(runtimes.MeasurementFailed):
        runtimes.measure(tmp_path, SUITABLE)


@pytest.mark.parametrize("runtime", SUITABLE)
def test_the_setting_forces_a_runtime(directory: Path, runtime: str) -> None:
    settings = Settings(model_dir=directory.parent, embedding_runtime=runtime)  # type: ignore[call-arg]
    embedder = create_embedder(settings)
    assert isinstance(embedder, LocalEmbedder)
    assert embedder.runtime == runtime
    assert embedder.name == MINILM.name


def test_takes_the_runtime_that_was_fastest_here(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(  # type: ignore[call-arg]
        model_dir=directory.parent, data_dir=tmp_path, embedding_runtime="auto"
    )
    times = {name: 50.0 - place for place, name in enumerate(SUITABLE)}
    monkeypatch.setattr(runtimes.choose, "__kwdefaults__", {"measure": lambda *_: times})
    with capture_logs() as logs:
        embedder = create_embedder(settings)
    assert isinstance(embedder, LocalEmbedder)
    assert embedder.runtime == SUITABLE[-1]
    [line] = [entry for entry in logs if entry["event"] == "embedding_runtime"]
    assert line["runtime"] == SUITABLE[-1]
    assert f"{SUITABLE[-1]} 49 ms" in line["reason"]


@pytest.mark.parametrize(
    ("cpu_info", "expected"),
    [
        ("flags\t\t: fpu avx2 fma", True),
        ("processor: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("flags\t\t: fpu avx2 avx_vnni", False),
        ("Features\t: fp asimd asimddp", False),
        ("", False),
    ],
)
def test_knows_where_int8_saturates(cpu_info: str, expected: bool) -> None:
    assert runtimes.saturates(cpu_info) is expected


def test_shape_type_and_norm(embedder: LocalEmbedder) -> None:
    vectors = embedder.embed(mixed_texts(11))
    assert vectors.shape == (11, embedder.dimensions) == (11, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_no_texts_give_no_vectors(embedder: LocalEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


def test_a_vector_depends_only_on_its_text(embedder: LocalEmbedder) -> None:
    texts = mixed_texts(30)
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert_alike(together, alone)
    assert_alike(embedder.embed(texts[::-1])[::-1], alone)


def test_texts_that_differ_get_vectors_that_differ(embedder: LocalEmbedder) -> None:
    vectors = embedder.embed([case["text"] for case in TEXTS])
    likeness = vectors @ vectors.T - np.eye(len(TEXTS))
    assert likeness.max() < 0.9


def test_text_beyond_the_window_is_ignored(embedder: LocalEmbedder) -> None:
    fits = " ".join(["harbour"] * embedder.max_tokens)
    assert embedder.count_tokens(fits) == embedder.max_tokens == 254
    vectors = embedder.embed([fits, f"{fits} volcano volcano volcano", f"volcano {fits}"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert float(vectors[0] @ vectors[2]) < 0.9999


def test_threads_share_one_embedder(embedder: LocalEmbedder) -> None:
    texts = mixed_texts(24)
    expected = embedder.embed(texts)
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = embedder.embed(texts[number:] + texts[:number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(6))
    for number, vectors in found.items():
        assert_alike(vectors, np.roll(expected, -number, axis=0))


@pytest.mark.parametrize("case", TEXTS, ids=[case["label"] for case in TEXTS])
def test_counts_tokens_as_the_published_tokenizer(
    embedder: LocalEmbedder, case: dict[str, Any]
) -> None:
    assert embedder.count_tokens(case["text"]) == case["tokens"]


@pytest.mark.parametrize(
    "separator", [*" \n\r\t\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680", *"\u2003\u2028\u3000"]
)
def test_counts_of_words_add_up_to_the_text_s(embedder: LocalEmbedder, separator: str) -> None:
    words = (
        "Keeper's naïve e\u0301tude, 灯塔守护人 don't 3.5% [2] \ud800 \u200bzero (U.S.) of"
        + "x" * 150
    )
    text = separator.join([*words.split(), *words.split()])
    assert embedder.count_tokens(text) == len(embedder.token_offsets(text))


def test_words_that_a_control_character_joins_are_one(embedder: LocalEmbedder) -> None:
    apart, joined = embedder.embed(["light\x1chouse keeper"]), embedder.embed(["lighthouse keeper"])
    assert_alike(apart, joined)
    assert embedder.count_tokens("light\x1chouse") == embedder.count_tokens("lighthouse") == 1


def test_offsets_are_indexes_of_characters(embedder: LocalEmbedder) -> None:
    text = "Café 東京,\n\nharbour lights \ud800 end"
    offsets = embedder.token_offsets(text)
    assert len(offsets) == embedder.count_tokens(text)
    pieces = [text[start:end] for start, end in offsets]
    assert pieces == ["Café", "東", "京", ",", "harbour", "lights", "\ud800", "end"]


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\u202eabc", "x" * 5000, " \n\t "])
def test_strange_texts_have_vectors(embedder: LocalEmbedder, text: str) -> None:
    assert embedder.embed([text]).shape == (1, 384)


def test_meets_few_shapes(replacement: LocalEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = set()
    engine = replacement._engine
    assert isinstance(engine, OpenVINOEngine)
    infer = engine._infer

    def watch(ids: Any, mask: Any) -> Any:
        shapes.add(ids.shape)
        return infer(ids, mask)

    monkeypatch.setattr(engine, "_infer", watch)
    for length in range(1, 300, 7):
        replacement.embed(["word " * length] * (1 + length % 4))
    shapes.remove((1, openvino_engine.QUESTION_LENGTH))
    assert all(rows <= 4 and length % 16 == 0 and length <= 256 for rows, length in shapes)


def test_a_question_s_vector_is_the_same_in_a_batch(embedder: LocalEmbedder) -> None:
    questions = [
        " ".join(text.split()[:words]) + "?"
        for text, words in zip(mixed_texts(40), 10 * [3, 8, 14, 30], strict=True)
    ]
    together = embedder.embed([*questions, *questions])[: len(questions)]
    for question, expected in zip(questions, together, strict=True):
        np.testing.assert_allclose(embedder.embed([question])[0], expected, atol=1e-5)


def test_warming_up_leaves_nothing_to_compile(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = local.load(directory.parent, runtime=runtimes.OPENVINO_FP32)
    embedder.warm_up()
    monkeypatch.setattr(openvino_engine, "_compile", None)
    assert embedder.embed(["Who kept the light?"]).shape == (1, 384)


def test_the_table_of_words_is_not_unpacked(directory: Path) -> None:
    model = ov.Core().read_model(directory / artefacts.GRAPH)
    words, encoder = split(model)
    constants = [op for op in encoder.get_ops() if op.get_type_name() == "Constant"]
    assert max(constant.get_byte_size() for constant in constants) < 4_000_000
    ids = np.array([[101, 2040, 102]])
    assert words(ids).shape == (1, 3, 384)
    assert words(ids).dtype == np.float32


def test_refuses_to_split_another_model(directory: Path) -> None:
    _, encoder = split(ov.Core().read_model(directory / artefacts.GRAPH))
    with pytest.raises((ValueError, RuntimeError), match="input_ids"):
        split(encoder)


@pytest.mark.parametrize("name", artefacts.ARTEFACTS)
def test_refuses_a_damaged_file(directory: Path, tmp_path: Path, name: str) -> None:
    copy = artefacts.model_directory(tmp_path)
    shutil.copytree(directory, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(artefacts.ModelNotBuilt, match=rf"damaged: {name}.*core\.embedding\.build"):
        local.load(tmp_path)


def edit_manifest(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_refuses_other_weights(directory: Path, tmp_path: Path) -> None:
    copy = artefacts.model_directory(tmp_path)
    shutil.copytree(directory, copy)
    edit_manifest(copy / artefacts.MANIFEST, source="0" * 64)
    with pytest.raises(artefacts.ModelNotBuilt, match="other weights"):
        local.load(tmp_path)


@pytest.mark.parametrize("missing", [*artefacts.ARTEFACTS, artefacts.MANIFEST])
def test_refuses_an_incomplete_model(directory: Path, tmp_path: Path, missing: str) -> None:
    copy = artefacts.model_directory(tmp_path)
    shutil.copytree(directory, copy)
    (copy / missing).unlink()
    with pytest.raises(artefacts.ModelNotBuilt, match=r"core\.embedding\.build --models-dir"):
        local.load(tmp_path)


def test_an_absent_model_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(artefacts.ModelNotBuilt, match=r"python -m core\.embedding\.build"):
        local.load(tmp_path)


def test_refuses_to_run_after_a_fork(
    embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "_process", -1)
    with pytest.raises(RuntimeError, match="forked"):
        embedder.embed(["text"])


def test_refuses_weights_that_are_not_the_published_ones(
    tmp_path: Path,
) -> None:
    with pytest.raises(sources.BuildError, match="published weights"):
        build.build(tmp_path, replace(MINILM, source="0" * 64))
    assert _entries(tmp_path) == []


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "quantize", lambda model, inputs: model)
    monkeypatch.setattr(build, "calibration_texts", lambda: ["one text"])
    monkeypatch.setattr(build, "MIN_AGREEMENT", 1.1)
    with pytest.raises(sources.BuildError, match="differ too much"):
        build.build(tmp_path)
    assert _entries(tmp_path) == []


def test_builds_once_when_many_ask_at_once(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = []

    def copy(source: Source, staging: Path, *, older: Path) -> None:
        builds.append(source)
        time.sleep(0.2)
        shutil.copytree(directory, staging, dirs_exist_ok=True)

    monkeypatch.setattr(build, "_write_artefacts", copy)
    threads = [threading.Thread(target=build.build, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert _entries(tmp_path) == [MINILM.name]
    assert local.load(tmp_path).embed(["text"]).shape == (1, 384)


def test_rebuilds_a_damaged_model(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = artefacts.model_directory(tmp_path)
    shutil.copytree(directory, copy)
    (copy / artefacts.WEIGHTS).write_bytes(b"")
    monkeypatch.setattr(
        build,
        "_write_artefacts",
        lambda source, staging, *, older: shutil.copytree(directory, staging, dirs_exist_ok=True),
    )
    build.build(tmp_path)
    assert local.load(tmp_path).embed(["text"]).shape == (1, 384)


def test_completes_an_older_build_without_quantizing_again(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = artefacts.model_directory(tmp_path)
    shutil.copytree(directory, copy)
    for name in (artefacts.ONNX_GRAPH, artefacts.WORDS):
        (copy / name).unlink()
    monkeypatch.setattr(build, "quantize", None)
    few = mixed_texts(24)
    monkeypatch.setattr(build, "calibration_texts", lambda: few)
    build.build(tmp_path)
    assert local.load(tmp_path).embed(["text"]).shape == (1, 384)
    assert (copy / artefacts.WEIGHTS).read_bytes() == (directory / artefacts.WEIGHTS).read_bytes()


def test_renews_a_graph_of_an_earlier_version(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still runs, but slower than the present one."""
    copy = artefacts.model_directory(tmp_path)
    shutil.copytree(directory, copy)
    versions = artefacts.check(copy).versions | {artefacts.ONNX_GRAPH: "1"}
    edit_manifest(copy / artefacts.MANIFEST, versions=versions)
    assert local.load(tmp_path).embed(["text"]).shape == (1, 384)
    monkeypatch.setattr(build, "quantize", None)
    few = mixed_texts(24)
    monkeypatch.setattr(build, "calibration_texts", lambda: few)
    build.build(tmp_path)
    assert artefacts.check(copy).versions == artefacts.check(directory).versions


@pytest.mark.parametrize("change", ["file", "version"])
def test_quantizes_again_what_changed(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    copy = artefacts.model_directory(tmp_path)
    shutil.copytree(directory, copy)
    (copy / artefacts.ONNX_GRAPH).unlink()
    if change == "file":
        (copy / artefacts.WEIGHTS).write_bytes(b"")
    else:
        edit_manifest(copy / artefacts.MANIFEST, versions={"openvino": "2020.1", "nncf": "1.0"})

    def stop(model: Any, inputs: Any) -> Any:
        raise sources.BuildError("quantized again")

    monkeypatch.setattr(build, "quantize", stop)
    with pytest.raises(sources.BuildError, match="quantized again"):
        build.build(tmp_path)


def _entries(directory: Path) -> Sequence[str]:
    return sorted(path.name for path in directory.iterdir())
