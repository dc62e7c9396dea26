"""The choice of the local model's runtime, and the products that no processor saturates."""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.embedding import artefacts, runtimes
from core.embedding.int8_graph import LARGEST_PAIR, quantize_matrix, smoothing

PLAIN = "model name\t: AMD EPYC\nflags\t\t: fpu avx2 fma"
VNNI = "model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni"
SLOW, FAST = 40.0, 20.0


class Ground:
    """A built model's folder, a data folder, and a measurement that counts its runs."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory, self.data_dir = tmp_path / "model", tmp_path / "data"
        self.directory.mkdir()
        self.build("first")
        self.memory = self.data_dir / runtimes.MEMORY
        self.measured: list[tuple[str, ...]] = []

    def build(self, version: str) -> None:
        (self.directory / artefacts.MANIFEST).write_text(version)

    def measure(self, directory: Path, candidates: Sequence[str]) -> dict[str, float]:
        """The last candidate is the fastest, contrary to what the features suggest."""
        assert directory == self.directory
        self.measured.append(tuple(candidates))
        time.sleep(0.05)
        return dict.fromkeys(candidates, SLOW) | {candidates[-1]: FAST}

    def choose(self, wanted: str = "auto", cpu: str = PLAIN) -> runtimes.Choice:
        return runtimes.choose(
            wanted, directory=self.directory, data_dir=self.data_dir, cpu=cpu, measure=self.measure
        )


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        (PLAIN, ("onnxruntime-int8", "openvino-fp32")),
        (VNNI, ("openvino-int8", "onnxruntime-int8")),
        ("flags\t\t: fpu avx2 avx_vnni", ("openvino-int8", "onnxruntime-int8")),
        ("Features\t: fp asimd asimddp", ("openvino-int8", "onnxruntime-int8")),
    ],
)
def test_the_processor_decides_what_is_measured(
    ground: Ground, cpu: str, expected: tuple[str, ...]
) -> None:
    assert ground.choose(cpu=cpu).runtime == expected[-1]
    assert ground.measured == [expected]


def test_measures_once_and_remembers(ground: Ground) -> None:
    first, second = ground.choose(), ground.choose()
    assert first == second
    assert first.reason == "fastest per text: onnxruntime-int8 40 ms, openvino-fp32 20 ms"
    assert len(ground.measured) == 1


@pytest.mark.parametrize("change", ["processor", "instructions", "model"])
def test_measures_again_what_may_have_changed(ground: Ground, change: str) -> None:
    ground.choose()
    if change == "model":
        ground.build("second")
    cpu = {"processor": PLAIN.replace("AMD EPYC", "Xeon"), "instructions": VNNI}.get(change, PLAIN)
    ground.choose(cpu=cpu)
    assert len(ground.measured) == 2
    ground.choose(cpu=cpu)
    assert len(ground.measured) == 2


def test_machines_that_share_a_data_folder_keep_their_own_results(ground: Ground) -> None:
    for _ in range(2):
        assert ground.choose(cpu=PLAIN).runtime == "openvino-fp32"
        assert ground.choose(cpu=VNNI).runtime == "onnxruntime-int8"
    assert len(ground.measured) == 2


@pytest.mark.parametrize("wanted", runtimes.RUNTIMES)
def test_a_forced_runtime_is_not_measured(ground: Ground, wanted: str) -> None:
    assert ground.choose(wanted) == runtimes.Choice(wanted, "EMBEDDING_RUNTIME")
    assert ground.measured == []
    assert not ground.data_dir.exists()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff\xfe", b"[1]", b"null", "entry", "times", "text"]
)
def test_a_damaged_memory_is_measured_again_and_mended(ground: Ground, damage: bytes | str) -> None:
    ground.choose()
    [(key, times)] = json.loads(ground.memory.read_text()).items()
    entries = {"entry": 7, "times": {}, "text": dict.fromkeys(times, "fast")}
    content = damage if isinstance(damage, bytes) else json.dumps({key: entries[damage]}).encode()
    ground.memory.write_bytes(content)
    assert ground.choose().runtime == "openvino-fp32"
    assert len(ground.measured) == 2
    assert json.loads(ground.memory.read_text()) == {key: times}


def test_processes_that_start_together_measure_once(ground: Ground) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(ground.choose().runtime)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["openvino-fp32"] * 6
    assert len(ground.measured) == 1


def test_without_a_measurement_the_features_decide(ground: Ground) -> None:
    def fail(directory: Path, candidates: Sequence[str]) -> dict[str, float]:
        raise runtimes.MeasurementFailed("no")

    ground.measure = fail  # type: ignore[method-assign]
    assert ground.choose().runtime == "onnxruntime-int8"
    assert ground.choose(cpu=VNNI).runtime == "openvino-int8"
    assert not ground.memory.exists()


def test_a_data_folder_that_cannot_be_written_does_not_stop_the_start(ground: Ground) -> None:
    ground.data_dir.write_text("a file where the folder should be")
    assert ground.choose() == runtimes.Choice(
        "onnxruntime-int8", "likely the fastest; not measured"
    )
    assert ground.measured == []


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(1e-3, 1e3), heavy=st.booleans())
def test_no_pair_of_products_exceeds_16_bits(seed: int, size: float, heavy: bool) -> None:
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((16, 12)) * size
    if heavy:
        matrix **= 5
    codes, scales = quantize_matrix(matrix.astype(np.float32))
    pairs = np.abs(codes.astype(int)).reshape(8, 2, 12).sum(axis=1)
    assert pairs.max() <= LARGEST_PAIR
    assert np.iinfo(np.int16).max >= 255 * LARGEST_PAIR
    assert np.abs(codes * scales - matrix).max() <= 1.51 * scales.max()


def test_an_output_without_weights_stays_zero() -> None:
    codes, scales = quantize_matrix(np.zeros((4, 3), np.float32))
    assert not codes.any()
    assert np.isfinite(scales).all()


def test_smoothing_shrinks_the_channels_that_are_large() -> None:
    largest = np.array([1, 1, 100, 1], np.float32)
    factors = smoothing(largest, np.ones((4, 2), np.float32))
    assert factors[2] == factors.max()
    assert (largest / factors).max() < 100 / 3
    assert np.exp(np.log(factors).mean()) == pytest.approx(1, rel=1e-5)
