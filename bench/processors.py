"""Measures the processor time of groups of processes, each with its children."""

import contextlib
from collections.abc import Mapping

import psutil


class ProcessorTimes:
    """Compares the processor time of groups of processes at two moments."""

    def __init__(self, groups: Mapping[str, int]) -> None:
        """`groups` maps the name of a group to the id of its parent process.

        The process that creates the object is a group of its own, without its children: "bench".
        """
        self._groups = dict(groups)
        self._before = self._now()

    def since(self) -> dict[str, float]:
        """Return each group's seconds of processor time since the object was created."""
        return {name: seconds - self._before[name] for name, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        used = {name: processor_seconds(pid) for name, pid in self._groups.items()}
        return used | {"bench": sum(psutil.Process().cpu_times()[:2])}


def processor_seconds(pid: int) -> float:
    """The seconds of a process and its children, with those children that have ended."""
    parent = psutil.Process(pid)
    total = sum(parent.cpu_times()[:4])
    for child in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])
    return float(total)
