"""A server process that the launcher starts: its directory and lock, its port and passwords."""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HOST = "127.0.0.1"
_START_SECONDS = 60.0  # recovery after a crash replays up to max_wal_size
_STOP_SECONDS = 30.0
_LOCK_SECONDS = 20.0
_PORT_TRIES = 3


class ServerError(RuntimeError):
    """A server did not start or stop. Its text is one line for the user."""


@dataclass(frozen=True)
class _Access:
    """Port and passwords, which every start uses again. Stored in `access.json`, mode 0600."""

    port: int
    password: str
    admin_password: str


class Server:
    """A server process, its directory and the lock on it."""

    name: str
    death_signal: signal.Signals

    def __init__(self, data_dir: Path, *, port: int | None) -> None:
        self.data_dir = data_dir.absolute()
        self._wanted_port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._access = self._load_access()

    @property
    def port(self) -> int:
        return self._access.port

    @property
    def pid(self) -> int:
        """The running server's process id. Raises ServerError if it is not running."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start with the port and data of the last start, or on a free port if that one is taken.

        Raises ServerError, also if the caller named a port that is taken.
        """
        lock = _lock(self.data_dir, name=self.name)
        try:
            self._prepare()
            self._start_on_free_port(lock=lock)
        finally:
            os.close(lock)  # the server has inherited the descriptor and so keeps the lock

    def kill(self) -> None:
        """Send SIGKILL, which is like a crash. The next `start` recovers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start_on_free_port(self, *, lock: int) -> None:
        for attempt in range(_PORT_TRIES):
            if not port_is_free(self.port, host=HOST):
                self._change_port()
            try:
                self._start_once(lock=lock)
                return
            except ServerError:
                if port_is_free(self.port, host=HOST) or attempt == _PORT_TRIES - 1:
                    raise

    def _start_once(self, *, lock: int) -> None:
        log = self.data_dir / "server.log"
        with log.open("wb") as output:
            self._process = self._spawn(output=output.fileno(), lock=lock)
        _wait_until(self._answers, process=self._process, name=self.name, log=log)

    def _change_port(self) -> None:
        if self._wanted_port is not None:
            raise ServerError(f"{self.name}: port {self._wanted_port} is taken")
        self._access = replace(self._access, port=free_port())
        write_private(self.data_dir / "access.json", json.dumps(asdict(self._access)))

    def _load_access(self) -> _Access:
        path = self.data_dir / "access.json"
        if path.exists():
            access = _Access(**json.loads(path.read_text()))
        else:
            access = _Access(free_port(), secrets.token_hex(24), secrets.token_hex(24))
        access = replace(access, port=self._wanted_port or access.port)
        write_private(path, json.dumps(asdict(access)))
        return access

    def _end(self, stop_signal: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(stop_signal)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _prepare(self) -> None:
        raise NotImplementedError

    def _spawn(self, *, output: int, lock: int) -> "subprocess.Popen[bytes]":
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


def free_port(host: str = HOST) -> int:
    """A TCP port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int, *, host: str) -> bool:
    """Whether a server could listen on the port now."""
    try:
        try_port(port, host=host)
    except OSError:
        return False
    return True


def try_port(port: int, *, host: str) -> None:
    """Raises OSError if no server could listen on the port now. TIME_WAIT does not matter."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _lock(directory: Path, *, name: str) -> int:
    """An open, locked descriptor of `directory`. Waits up to 20 s for a server that is ending."""
    descriptor = os.open(directory, os.O_RDONLY)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise ServerError(f"{name} is running on {directory} already") from None
            time.sleep(0.1)


def _wait_until(
    answers: Callable[[], bool], *, process: "subprocess.Popen[bytes]", name: str, log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers():
        if process.poll() is not None:
            raise ServerError(
                f"{name} did not start: {last_line(log.read_text('utf-8', 'replace'))}"
            )
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise ServerError(f"{name} did not answer within {_START_SECONDS:.0f} s: see {log}")
        time.sleep(0.02)


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically with a file that only its owner can read."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
