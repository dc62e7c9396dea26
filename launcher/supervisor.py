"""The processes of a Procfile: started, their output interleaved, stopped together."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from honcho.colour import get_colours

from launcher.children import spawn

_POLL_SECONDS = 0.1


class ProcessEnded(RuntimeError):
    """A process ended that should have gone on. Its text says which and how."""


@dataclass
class _Running:
    name: str
    process: "subprocess.Popen[bytes]"
    reader: threading.Thread


class Output:
    """Lines of several processes on one stream, each behind its process's name.

    A line is passed on byte for byte: a log line in JSON may hold characters
    that Python takes for line ends. A reader that has gone away (`make run |
    head`) is no reason to stop.
    """

    def __init__(self, stream: IO[bytes], *, width: int) -> None:
        self._stream = stream
        self._width = width
        self._coloured = stream.isatty()
        self._lock = threading.Lock()

    def line(self, text: bytes, *, name: str, colour: str | None = None) -> None:
        prefix = f"{time.strftime('%H:%M:%S')} {name:<{self._width}} | "
        if colour and self._coloured:
            prefix = f"\033[{colour}m{prefix}\033[0m"
        self._write(prefix.encode() + text.rstrip(b"\r\n"))

    def say(self, text: str) -> None:
        """A line of our own."""
        self.line(text.encode(), name="system")

    def block(self, text: str) -> None:
        """Several lines together, without prefix."""
        self._write(text.encode())

    def _write(self, text: bytes) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(text + b"\n")
            self._stream.flush()


class Supervisor:
    """Runs commands of the shell; when one ends, `check` says so.

    Used from the main thread: Linux ends a child with the thread that made it.
    """

    def __init__(self, *, cwd: Path, env: Mapping[str, str], output: Output) -> None:
        self.cwd = cwd
        self._env = env
        self._output = output
        self._colours: Iterator[str] = get_colours()
        self._running: list[_Running] = []

    def start(self, *, name: str, command: str) -> None:
        """Start `command`; its variables are expanded by the shell, which it then replaces."""
        process = spawn(
            ["/bin/sh", "-c", _without_shell(command)],
            # Not SIGTERM: with us goes the reader of their output, and a handler that
            # writes a last word into the broken pipe never gets to its end.
            death_signal=signal.SIGKILL,
            cwd=self.cwd,
            output=subprocess.PIPE,
            env=self._env,
        )
        assert process.stdout is not None
        reader = threading.Thread(
            target=self._copy, args=(process.stdout, name, next(self._colours)), daemon=True
        )
        reader.start()
        self._running.append(_Running(name=name, process=process, reader=reader))

    def check(self) -> None:
        """Raises ProcessEnded when one of the processes has ended."""
        for running in self._running:
            code = running.process.poll()
            if code is not None:
                raise ProcessEnded(f"{running.name} ended {_how(code)}; see its last lines above")

    def stop(self, *, seconds: float, hurry: Callable[[], bool]) -> None:
        """SIGTERM to all; SIGKILL to what is left after `seconds` or once `hurry` says so."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.terminate()
        deadline = time.monotonic() + seconds
        while self._alive() and time.monotonic() < deadline and not hurry():
            time.sleep(_POLL_SECONDS)
        for running in self._alive():
            self._output.say(f"{running.name} did not stop in time: killed")
        for running in self._running:
            _kill_session(running.process)
            running.reader.join(timeout=1)
        self._running.clear()

    def _alive(self) -> list[_Running]:
        return [running for running in self._running if running.process.poll() is None]

    def _copy(self, stream: IO[bytes], name: str, colour: str) -> None:
        with stream:
            for line in stream:
                self._output.line(line, name=name, colour=colour)


def _without_shell(command: str) -> str:
    """`command` such that its program takes the shell's place.

    Else the shell may stay between us and the process, and take the signals meant for it.
    """
    assigns = re.match(r"[A-Za-z_][A-Za-z0-9_]*=", command)
    return f"exec env {command}" if assigns else f"exec {command}"


def _kill_session(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL for whatever is left of the process's group, itself included."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how(code: int) -> str:
    if code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit status {code}"
