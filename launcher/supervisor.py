"""Runs the processes of a Procfile: starts them, interleaves their output, stops them together.

honcho's manager is no substitute, see docs/adr/0007-libraries-tried.md.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from honcho.colour import get_colours
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn

from launcher.children import spawn

_POLL_SECONDS = 0.1


class ProcessEnded(RuntimeError):
    """A process has ended too early. The text says which one and how."""


@dataclass
class _Running:
    name: str
    process: "subprocess.Popen[bytes]"
    reader: threading.Thread


class Output:
    """Lines of several processes on one stream, each with its process's name in front.

    A line is written byte for byte unless `rewrite` is given, because a JSON log line may have
    characters that Python takes for line ends. `rewrite` returns the bytes to show, or None
    to leave the line out. If the reader is gone (`make run | head`), lines are lost and the
    processes continue.
    """

    def __init__(
        self,
        stream: IO[bytes],
        *,
        width: int,
        rewrite: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        self._stream = stream
        self._width = width
        self._rewrite = rewrite
        self._coloured = stream.isatty()
        self._lock = threading.Lock()

    def line(self, text: bytes, *, name: str, colour: str | None = None) -> None:
        """Show one line of a process."""
        shown = self._rewrite(text) if self._rewrite else text
        if shown is None:
            return
        prefix = f"{time.strftime('%H:%M:%S')} {name:<{self._width}} | "
        if colour and self._coloured:
            prefix = f"\033[{colour}m{prefix}\033[0m"
        self._write(prefix.encode() + shown.rstrip(b"\r\n"))

    def say(self, text: str) -> None:
        """Show a line of the launcher."""
        self.line(text.encode(), name="system")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show a line, and at a terminal a bar with the time below it until the block ends."""
        self.say(text)
        if not self._coloured:
            yield
            return
        terminal = TextIOWrapper(self._stream, write_through=True)
        columns = (BarColumn(), TimeElapsedColumn())
        try:
            with Progress(*columns, console=Console(file=terminal), transient=True) as progress:
                progress.add_task("", total=None)
                yield
        finally:
            terminal.detach()  # its destruction would close the stream

    def block(self, text: str) -> None:
        """Show several lines together, without a name in front."""
        self._write(text.encode())

    def _write(self, text: bytes) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(text + b"\n")
            self._stream.flush()


class Supervisor:
    """Runs shell commands; `check` reports that one has ended.

    Use it from the main thread: Linux ends a child when the thread that started it ends.
    """

    def __init__(self, *, cwd: Path, env: Mapping[str, str], output: Output) -> None:
        self.cwd = cwd
        self._env = env
        self._output = output
        self._colours: Iterator[str] = get_colours()
        self._running: list[_Running] = []

    def start(self, *, name: str, command: str) -> None:
        """Start `command`. The shell expands its variables and is then replaced by it."""
        process = spawn(
            ["/bin/sh", "-c", _without_shell(command)],
            # Not SIGTERM: after the launcher's death nothing reads the output, and a signal
            # handler that writes a last line into the broken pipe would never end.
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
        """Raises ProcessEnded if one of the processes has ended."""
        for running in self._running:
            code = running.process.poll()
            if code is not None:
                raise ProcessEnded(f"{running.name} ended {_how(code)}; see its last lines above")

    def stop(self, *, seconds: float, hurry: Callable[[], bool]) -> None:
        """Send SIGTERM to all, and SIGKILL to the rest after `seconds` or once `hurry()`."""
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
    """`command` with `exec` in front, so that its program replaces the shell.

    Otherwise the shell would get the signals that are meant for the program.
    """
    assigns = re.match(r"[A-Za-z_][A-Za-z0-9_]*=", command)
    return f"exec env {command}" if assigns else f"exec {command}"


def _kill_session(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGKILL to all remaining processes of the process's group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how(code: int) -> str:
    if code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit status {code}"
