"""Chooses the way in which the local model runs: what suits the processor, and is fastest on it.

The choice is made where the model runs, since an image is built on another machine. A measurement
of some seconds decides. Its result is kept in the data folder, and one process measures for all.
Vectors of all ways are comparable and share a name.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from core.embedding import artefacts

OPENVINO_INT8, OPENVINO_FP32 = "openvino-int8", "openvino-fp32"
ONNXRUNTIME_INT8 = "onnxruntime-int8"
RUNTIMES = (OPENVINO_INT8, OPENVINO_FP32, ONNXRUNTIME_INT8)

MEMORY = "embedding-runtime.json"
# A measurement takes 5 seconds on an idle processor. Processes that start together share one.
_LONGEST_MEASUREMENT = 120.0  # seconds

Measure = Callable[[Path, Sequence[str]], dict[str, float]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of RUNTIMES, and why it was chosen."""

    runtime: str
    reason: str


class MeasurementFailed(RuntimeError):
    """The candidates could not be measured; the text says why."""


def suitable(cpu_info: str) -> tuple[str, ...]:
    """The runtimes whose vectors are sound on this processor, the likely fastest first."""
    if saturates(cpu_info):
        return (ONNXRUNTIME_INT8, OPENVINO_FP32)
    return (OPENVINO_INT8, ONNXRUNTIME_INT8)


def saturates(cpu_info: str) -> bool:
    """Whether OpenVINO's int8 products overflow on the processor of this /proc/cpuinfo.

    x86 without VNNI adds pairs of products in 16 bits, which saturate (oneDNN
    developer guide, "Nuances of int8 computations"): some vectors then fall below
    a cosine of 0.99.
    """
    flags = _field(cpu_info, "flags").split()
    return bool(flags) and not {"avx512_vnni", "avx_vnni"} & set(flags)


def cpu_info() -> str:
    """The text of /proc/cpuinfo; empty where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return ""


def measure(directory: Path, candidates: Sequence[str]) -> dict[str, float]:
    """Milliseconds of processor time for a long text, by candidate.

    Runs in a process of its own, so that the candidates' memory does not stay in this one.
    Raises MeasurementFailed.
    """
    command = [sys.executable, "-m", "core.embedding.measure", str(directory.resolve())]
    try:
        done = subprocess.run(
            [*command, *candidates],
            cwd=Path(__file__).parents[2],  # where `core` is found
            capture_output=True,
            check=True,
            timeout=_LONGEST_MEASUREMENT,
        )
        found = json.loads(done.stdout)
        return {name: float(found[name]) for name in candidates}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise MeasurementFailed(f"the measurement failed ({type(error).__name__})") from error


def choose(
    wanted: str, *, directory: Path, data_dir: Path, cpu: str, measure: Measure = measure
) -> Choice:
    """The runtime to use for the model in `directory`.

    `wanted` is `auto` or one of RUNTIMES; `cpu` is the text of /proc/cpuinfo. `auto` takes the
    runtime that was fastest on this processor, and measures if `data_dir` has no such result.
    Without a measurement it takes the likely fastest.
    """
    if wanted != "auto":
        return Choice(wanted, "EMBEDDING_RUNTIME")
    candidates = suitable(cpu)
    try:
        times = _remembered_times(candidates, directory, data_dir, cpu=cpu, measure=measure)
    except (OSError, Timeout, MeasurementFailed) as error:
        log.warning("embedding_runtime_not_measured", error=str(error))
        return Choice(candidates[0], "likely the fastest; not measured")
    fastest = min(candidates, key=times.__getitem__)
    listed = ", ".join(f"{name} {times[name]:.0f} ms" for name in candidates)
    return Choice(fastest, f"fastest per text: {listed}")


def _remembered_times(
    candidates: Sequence[str], directory: Path, data_dir: Path, *, cpu: str, measure: Measure
) -> dict[str, float]:
    key = _memory_key(candidates, directory, cpu)
    path = data_dir / MEMORY
    if (known := _find_times(path, key, candidates)) is not None:
        return known
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{path}.lock")
    with FileLock(lock, timeout=_LONGEST_MEASUREMENT):
        if (known := _find_times(path, key, candidates)) is None:
            known = measure(directory, candidates)
            _write(path, {**_read(path), key: known})
        # Whoever waits for it finds the times now; nobody needs the file again.
        lock.unlink(missing_ok=True)
    return known


def _memory_key(candidates: Sequence[str], directory: Path, cpu: str) -> str:
    """What a measurement depends on: processor, its instructions, built model, libraries."""
    libraries = [importlib.metadata.version(name) for name in ("openvino", "onnxruntime")]
    model = artefacts.sha256(directory / artefacts.MANIFEST)[:16]
    processor = _field(cpu, "model name") or platform.processor() or platform.machine()
    return " | ".join((processor, *candidates, *libraries, model))


def _find_times(path: Path, key: str, candidates: Sequence[str]) -> dict[str, float] | None:
    times = _read(path).get(key)
    if not isinstance(times, dict) or not times.keys() >= set(candidates):
        return None
    if not all(isinstance(times[name], int | float) for name in candidates):
        return None
    return times


def _read(path: Path) -> dict[str, dict[str, float]]:
    """The content of the memory file; empty if it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, dict[str, float]]) -> None:
    """Replace the file in one step, since other processes read it at any time."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, sort_keys=True)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _field(cpu_info: str, name: str) -> str:
    """The value of the first line of /proc/cpuinfo that has this name."""
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
