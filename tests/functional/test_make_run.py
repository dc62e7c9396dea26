"""`make run` as a newcomer has it: a checkout in an awkward place, one command, one signal."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from dotenv import dotenv_values

from core.children import User, spawn, unprivileged_user
from core.embedded import free_port
from core.settings import Settings

pytestmark = [
    pytest.mark.functional,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' directories"),
]

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".env", "data", "__pycache__", ".*_cache", ".hypothesis", ".schemathesis"
)


@dataclass
class Service:
    """One checkout and the `make run` in it."""

    checkout: Path
    user: User | None = None
    ports: dict[str, int] = field(
        default_factory=lambda: {n: free_port() for n in ("PORT", "FLOWER_PORT", "UI_PORT")}
    )
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def output(self) -> str:
        return (self.checkout / "make.log").read_text(errors="replace")

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['PORT']}"

    @property
    def key(self) -> str:
        return dotenv_values(self.checkout / ".env")["API_KEY"] or ""

    def start(self, **environment: str) -> None:
        with (self.checkout / "make.log").open("wb") as log:
            self.process = spawn(
                ["make", "run"],
                death_signal=signal.SIGTERM,
                cwd=self.checkout,
                output=log,
                user=self.user,
                env=self._environment() | environment,
            )

    def wait_ready(self, *, seconds: float = 150) -> None:
        deadline = time.monotonic() + seconds
        while "Ready." not in self.output or not self.output.endswith("\n\n"):
            assert self.process is not None
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def fails(self, **environment: str) -> list[str]:
        """The lines that a start which cannot work prints (make adds one of its own)."""
        self.start(**environment)
        assert self.process is not None
        assert self.process.wait(60) != 0
        return [line for line in self.output.splitlines() if not line.startswith("make: ***")]

    def processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_gone(self, *, seconds: float = 40) -> list[psutil.Process]:
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and Path(process.cwd()).is_relative_to(self.checkout)
        except psutil.Error:
            return False

    def _environment(self) -> dict[str, str]:
        names = {name.upper() for name in Settings.model_fields}
        kept = {name: value for name, value in os.environ.items() if name not in names}
        models = {"MODEL_DIR": str(ROOT / "data" / "models")}  # built once, not once per test
        ports = {name: str(port) for name, port in self.ports.items()}
        return kept | models | ports


def _copy_checkout(parent: Path) -> Path:
    """A copy in a path with a space and more than the 107 bytes of a socket's path."""
    checkout = parent / "with a space" / ("deep" * 40) / "checkout"
    shutil.copytree(ROOT, checkout, ignore=NOT_COPIED)
    (checkout / ".venv").symlink_to(sys.prefix)
    subprocess.run(["deploy/install.sh", "run"], cwd=checkout, check=True)
    return checkout


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(checkout=_copy_checkout(tmp_path_factory.mktemp("run")))
    yield service
    for process in service.processes():
        process.kill()


@pytest.fixture
def running(service: Service) -> Iterator[Service]:
    service.start()
    service.wait_ready()
    yield service
    if service.process is not None and service.process.poll() is None:
        service.end()


def _assert_nothing_left(service: Service) -> None:
    assert service.wait_gone() == []
    files = [path for path in service.checkout.rglob("*") if ".venv" not in path.parts]
    assert [path for path in files if path.is_socket() or path.is_fifo()] == []
    assert [path for path in files if path.suffix in {".pid", ".lock", ".sock"}] == []
    for port in service.ports.values():
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_taken_port_is_one_line_and_starts_nothing(service: Service) -> None:
    for name, port in service.ports.items():
        with socket.create_server(("127.0.0.1", port)):
            (line,) = service.fails()
        assert line.startswith(f"make run: {name}: port {port} is taken")
    assert not (service.checkout / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "many"),
        ("DATABASE_URL", "mysql://nowhere"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(service: Service, name: str, value: str) -> None:
    (line,) = service.fails(**{name: value})
    assert line.startswith(f"make run: {name}: ")


def test_two_equal_ports_are_one_line(service: Service) -> None:
    (line,) = service.fails(UI_PORT=str(service.ports["PORT"]))
    assert re.match(r"make run: PORT and UI_PORT are both \d+", line)


def test_an_unreachable_redis_is_one_line(service: Service) -> None:
    port = free_port()
    lines = service.fails(REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert lines[-1].startswith("make run: REDIS_URL: Redis does not answer")
    assert "Traceback" not in service.output
    _assert_nothing_left(service)


def test_everything_answers_and_ends_with_sigterm(running: Service) -> None:
    assert stat.S_IMODE((running.checkout / ".env").stat().st_mode) == 0o600
    banner = running.output.rpartition("Ready.")[2]
    for address in (running.api, *(f":{port}" for port in running.ports.values()), running.key):
        assert address in banner

    assert httpx.get(f"{running.api}/health/ready").status_code == 200
    assert httpx.get(f"{running.api}/docs", follow_redirects=True).status_code == 200
    assert httpx.get(f"http://127.0.0.1:{running.ports['UI_PORT']}").status_code == 200
    flower = f"http://127.0.0.1:{running.ports['FLOWER_PORT']}/workers"
    assert httpx.get(flower).status_code == 401
    assert httpx.get(flower, auth=("admin", running.key)).status_code == 200

    secret = running.key
    assert not any(secret in part for process in running.processes() for part in process.cmdline())

    second = Service(checkout=running.checkout)
    shutil.copy(running.checkout / "make.log", running.checkout / "first.log")
    (line,) = second.fails()
    assert "another `make run` is using" in line

    running.end(signal.SIGTERM)
    _assert_nothing_left(running)


def test_data_outlives_ctrl_c_and_sigkill(running: Service) -> None:
    with httpx.Client(base_url=running.api, headers={"X-API-Key": running.key}) as client:
        answer = client.post("/api/v1/sessions", json={"user_id": "alice", "title": "Kept"})
        assert answer.status_code == 201
        path = f"/api/v1/sessions/{answer.json()['id']}"

    # As a terminal does it: to the whole group, make included.
    assert running.process is not None
    os.killpg(running.process.pid, signal.SIGINT)
    running.process.wait(60)
    _assert_nothing_left(running)

    started = time.monotonic()
    running.start()
    running.wait_ready()
    assert time.monotonic() - started < 60
    headers = {"X-API-Key": running.key}
    assert httpx.get(f"{running.api}{path}", headers=headers).json()["title"] == "Kept"

    (supervisor,) = (p for p in running.processes() if p.cmdline()[-2:] == ["-m", "core.run"])
    supervisor.kill()
    assert running.wait_gone() == [], "what it started ends with it"

    running.start()
    running.wait_ready()
    assert httpx.get(f"{running.api}{path}", headers=headers).json()["title"] == "Kept"
    running.end()
    _assert_nothing_left(running)


def test_a_process_that_dies_ends_the_rest_and_is_named(running: Service) -> None:
    (beat,) = (p for p in running.processes() if "beat" in p.cmdline())
    beat.kill()
    assert running.process is not None
    assert running.process.wait(60) != 0
    assert "make run: beat ended by SIGKILL" in running.output
    _assert_nothing_left(running)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it() -> None:
    with tempfile.TemporaryDirectory(prefix="rag-user-") as directory:
        parent = Path(directory)
        parent.chmod(0o755)
        service = Service(checkout=_copy_checkout(parent), user=_ordinary_user(parent))
        assert service.user is not None
        for path in (parent, *parent.rglob("*")):
            os.chown(path, service.user.uid, service.user.gid, follow_symlinks=False)
        (service.checkout / "make.log").touch()
        service.start(HOME=directory)
        service.wait_ready()
        owners = {process.uids().effective for process in service.processes()}
        assert owners == {service.user.uid}
        assert (service.checkout / ".env").stat().st_uid == service.user.uid
        service.end()
        _assert_nothing_left(service)


def _ordinary_user(parent: Path) -> User:
    """`nobody`; with read access to root's home if this Python is installed there."""
    user = unprivileged_user(parent)
    assert user is not None
    try:
        ready = spawn(
            [sys.executable, "-c", ""],
            death_signal=signal.SIGKILL,
            cwd=Path("/"),
            output=subprocess.DEVNULL,
            user=user,
        ).wait()
    except OSError:
        ready = 1
    return user if ready == 0 else User(uid=user.uid, gid=user.gid, reads_all=True)
