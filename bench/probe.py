"""Requests a view twenty times a second, in a process that does nothing else.

    python -m bench.probe PORT PATH KEY

Prints a line for each request: the monotonic time at its begin, its seconds, and by how many
seconds it began late, because other processes had the processors. `probing` runs it beside a
bench.
"""

import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.harness.stack import ROOT

PROBES_PER_SECOND = 20


class Timed(NamedTuple):
    """A duration in seconds, and the monotonic time at which it began.

    `lag` is by how many seconds a probe began late.
    """

    at: float
    seconds: float
    lag: float = 0.0


@contextmanager
def probing(port: int, path: str, key: str) -> Iterator[list[Timed]]:
    """Request `path` during the block. After it, the list has the duration of each request."""
    probes: list[Timed] = []
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-m", "bench.probe", str(port), path, key]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output)
        try:
            yield probes
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        lines = [line.split() for line in output if line.endswith("\n")]
    probes.extend(Timed(*map(float, line)) for line in lines)


def main(port: int, path: str, key: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    due = time.monotonic()
    while True:
        started = time.monotonic()
        lag = started - due
        connection.request("GET", path, headers={"X-API-Key": key})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise SystemExit(f"status {response.status}")
        seconds = time.monotonic() - started
        print(f"{started:.4f} {seconds:.5f} {lag:.5f}", flush=True)
        due = max(due + 1 / PROBES_PER_SECOND, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
