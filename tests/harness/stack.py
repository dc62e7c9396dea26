"""The whole service as processes, started by the Procfile's own commands."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from honcho.environ import parse_procfile

from launcher.servers import RedisServer
from tests.harness import ROOT
from tests.harness.ports import free_port

# Limits for a machine that hangs, far beyond the times of a slow and busy one.
READY_SECONDS = 300
STOP_SECONDS = 120
WAIT_SECONDS = 300
TAIL_BYTES = 6000


class NotReady(AssertionError):
    """A process ended, or a condition did not come true in time."""


@dataclass
class _Process:
    popen: "subprocess.Popen[bytes]"
    log: Path
    kind: str
    env: Mapping[str, str]


class Stack:
    """Processes of the Procfile on free ports, in their own directory.

    It is also their working directory, so they read no `.env`. `start` returns at once,
    `wait_ready` when every started process answers. A second process of a kind needs
    another name: `start("worker-2", kind="worker")`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        redis: RedisServer,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.redis = redis
        self.api_key = f"rag_{secrets.token_urlsafe(24)}"
        self.port, self.ui_port = free_port(), free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.ui_url = f"http://127.0.0.1:{self.ui_port}"
        self.data_dir = directory / "data"
        self.env = {
            "APP_ENV": "test",
            "API_KEY": self.api_key,
            "API_URL": self.base_url,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "UI_PORT": str(self.ui_port),
            "RATE_LIMIT_PER_MINUTE": "100000",
            "WEB_WORKERS": "1",
            "WORKER_CONCURRENCY": "1",
        } | dict(env or {})
        self._commands = parse_procfile((ROOT / "Procfile").read_text()).processes
        self._processes: dict[str, _Process] = {}
        self._clients: list[httpx.Client] = []
        self._prepare_directory()

    def start(
        self, name: str, *, kind: str | None = None, env: Mapping[str, str] | None = None
    ) -> int:
        """Start a process of the Procfile, with `env` added. Returns its pid, also its group's."""
        assert name not in self._processes or not self.is_running(name), f"{name} runs already"
        log = self.directory / f"{name}.log"
        kind, own_env = kind or name, self.env | dict(env or {})
        with log.open("ab") as output:
            popen = subprocess.Popen(
                # `env` understands the assignments that some of the commands begin with.
                ["/bin/sh", "-c", f"exec env {self._commands[kind]}"],
                cwd=self.directory,
                env=_environment() | own_env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes[name] = _Process(popen, log, kind, own_env)
        return popen.pid

    def migrate(self) -> None:
        """Bring the database to this code's schema, as a deployment does before it starts."""
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env=_environment() | self.env,
            check=True,
        )

    def pid(self, name: str) -> int:
        return self._processes[name].popen.pid

    def env_of(self, name: str) -> Mapping[str, str]:
        return self._processes[name].env

    def is_running(self, name: str) -> bool:
        return self._processes[name].popen.poll() is None

    def signal(self, name: str, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to a process, or to it and its children."""
        pid = self._processes[name].popen.pid
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)

    def stop(self, name: str) -> int:
        """Send SIGTERM, wait, and return the exit status. Raises NotReady if it must be killed."""
        popen = self._processes[name].popen
        if popen.poll() is None:
            popen.terminate()
        try:
            return popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(name)
            raise NotReady(f"{name} did not stop in {STOP_SECONDS} s") from None

    def kill(self, name: str) -> None:
        """SIGKILL for a process and all its children."""
        popen = self._processes[name].popen
        with suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()

    def wait_ready(self, *, seconds: float = READY_SECONDS) -> None:
        """Return when every started process answers. Raises NotReady."""
        for name, process in self._processes.items():
            ready = partial(self._is_ready, name, process)
            if process.popen.poll() is None:
                self.wait_until(ready, what=f"{name} answers", seconds=seconds)

    def _is_ready(self, name: str, process: _Process) -> bool:
        if process.popen.poll() is not None:
            raise NotReady(f"{name} ended with exit status {process.popen.returncode}")
        match process.kind:
            case "web":
                return self._answers(f"http://127.0.0.1:{process.env['PORT']}/health/ready")
            case "ui":
                return self._answers(f"http://127.0.0.1:{process.env['UI_PORT']}/_stcore/health")
            case "worker":
                return "ready." in self.log(name)
            case _:
                return True

    def wait_until(
        self, condition: Callable[[], object], *, what: str, seconds: float = WAIT_SECONDS
    ) -> None:
        """Raises NotReady if `condition` does not come true; processes may end meanwhile."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise NotReady(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.05)

    def client(self, *, key: str | None = None, timeout: float = WAIT_SECONDS) -> httpx.Client:
        """A client with the API key, closed with the stack."""
        client = httpx.Client(
            base_url=self.base_url,
            headers={"X-API-Key": key or self.api_key},
            timeout=timeout,
            trust_env=False,
        )
        self._clients.append(client)
        return client

    def log(self, name: str) -> str:
        return self._processes[name].log.read_text("utf-8", "replace")

    def describe(self) -> list[tuple[str, str]]:
        """The end of each process's log, for the report of a failed test."""
        return [(f"end of {name}'s log", self.log(name)[-TAIL_BYTES:]) for name in self._processes]

    def close(self) -> None:
        """Kill every process. A test that wants a clean end calls `stop` first."""
        for client in self._clients:
            client.close()
        for name in self._processes:
            self.kill(name)

    def _prepare_directory(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for name in ("deploy", "ui"):  # the commands name these by path
            link = self.directory / name
            if not link.exists():
                link.symlink_to(ROOT / name)

    def _answers(self, url: str) -> bool:
        try:
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def _environment() -> dict[str, str]:
    """The variables that every process needs, without settings of the test run itself."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
