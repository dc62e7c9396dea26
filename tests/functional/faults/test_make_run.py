"""`make run` in a fresh checkout at an awkward path: one command, one signal."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from dotenv import dotenv_values

from core.settings import Settings
from launcher.children import User, spawn, unprivileged_user
from tests.harness import ROOT
from tests.harness.ports import free_port

pytestmark = [
    pytest.mark.functional,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' directories"),
]

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
    log_name: str = "make.log"
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def output(self) -> str:
        return (self.checkout / self.log_name).read_text(errors="replace")

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['PORT']}"

    @property
    def key(self) -> str:
        return dotenv_values(self.checkout / ".env")["API_KEY"] or ""

    def start(self, **environment: str) -> None:
        with (self.checkout / self.log_name).open("wb") as log:
            self.process = spawn(
                ["make", "run"],
                death_signal=signal.SIGTERM,
                cwd=self.checkout,
                output=log,
                user=self.user,
                env=self._environment() | environment,
            )

    def wait_ready(self, *, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while "Ready." not in self.output or not self.output.endswith("\n\n"):
            assert self.process is not None
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(180)

    def fails(self, **environment: str) -> list[str]:
        """The lines that a failing start prints, without make's own line."""
        self.start(**environment)
        assert self.process is not None
        assert self.process.wait(180) != 0
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
        # The tests may run under make; the tested make must not inherit its variables.
        names |= {
            "MAKEFLAGS",
            "MAKELEVEL",
            "MFLAGS",
            "MAKEOVERRIDES",
            "MAKE_TERMERR",
            "MAKE_TERMOUT",
        }
        kept = {name: value for name, value in os.environ.items() if name not in names}
        models = {"MODEL_DIR": str(ROOT / "data" / "models")}  # built once, not once per test
        few = {"WEB_WORKERS": "1", "WORKER_CONCURRENCY": "1"}
        ports = {name: str(port) for name, port in self.ports.items()}
        return kept | models | few | ports


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
        with suppress(psutil.NoSuchProcess):  # it may have ended already
            process.kill()


def _assert_nothing_left(service: Service) -> None:
    assert service.wait_gone() == []
    files = [path for path in service.checkout.rglob("*") if ".venv" not in path.parts]
    assert [path for path in files if path.is_socket() or path.is_fifo()] == []
    assert [path for path in files if path.suffix in {".pid", ".lock", ".sock"}] == []
    for port in service.ports.values():
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_port_in_use_prints_one_line_and_starts_nothing(service: Service) -> None:
    port = service.ports["FLOWER_PORT"]
    with socket.create_server(("127.0.0.1", port)):
        (line,) = service.fails()
    assert line.startswith(f"make run: FLOWER_PORT: port {port} is taken")
    assert not (service.checkout / "data").exists()


def test_a_wrong_setting_prints_one_line_that_names_it(service: Service) -> None:
    (line,) = service.fails(DATABASE_URL="mysql://nowhere")
    assert line.startswith("make run: DATABASE_URL: ")


def test_an_unreachable_redis_prints_one_line(service: Service) -> None:
    port = free_port()
    lines = service.fails(REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert lines[-1].startswith("make run: REDIS_URL: Redis does not answer")
    assert "Traceback" not in service.output
    _assert_nothing_left(service)


def test_data_survives_every_way_to_end(service: Service) -> None:
    """Tests one service through its whole life, because each start takes seconds."""
    service.start()
    service.wait_ready()
    _assert_everything_answers(service)
    _assert_the_worker_yields(service)
    _assert_the_key_is_kept_secret(service)
    _assert_a_second_one_is_refused(service)
    session = _make_session(service)

    # Like Ctrl-C in a terminal, the signal goes to the whole group, including make.
    assert service.process is not None
    os.killpg(service.process.pid, signal.SIGINT)
    service.process.wait(180)
    _assert_nothing_left(service)

    service.start()
    service.wait_ready()
    assert _title(service, session) == "Kept"
    (supervisor,) = (p for p in service.processes() if p.cmdline()[-2:] == ["-m", "launcher"])
    supervisor.kill()
    assert service.process.wait(10) != 0
    assert service.wait_gone() == [], "what it started ends with it"

    service.start()
    service.wait_ready()
    assert _title(service, session) == "Kept"
    (beat,) = (p for p in service.processes() if "beat" in p.cmdline())
    beat.kill()
    assert service.process.wait(180) != 0
    assert "make run: beat ended by SIGKILL" in service.output
    _assert_nothing_left(service)


def _assert_everything_answers(service: Service) -> None:
    banner = service.output.rpartition("Ready.")[2]
    for address in (service.api, *(f":{port}" for port in service.ports.values()), service.key):
        assert address in banner
    assert httpx.get(f"{service.api}/health/ready").status_code == 200
    assert httpx.get(f"{service.api}/docs", follow_redirects=True).status_code == 200
    assert httpx.get(f"http://127.0.0.1:{service.ports['UI_PORT']}").status_code == 200
    flower = f"http://127.0.0.1:{service.ports['FLOWER_PORT']}/workers"
    assert httpx.get(flower).status_code == 401
    assert httpx.get(flower, auth=("admin", service.key)).status_code == 200
    broker = httpx.get(flower.replace("/workers", "/broker"), auth=("admin", service.key))
    assert broker.status_code == 200
    assert "ingest" in broker.text


def _assert_the_worker_yields(service: Service) -> None:
    """Background work has a lower priority than requests, in any login session."""
    niceness = min(os.nice(0) + 10, 19)
    command = ["worker.app", "worker"]
    workers = [one for one in service.processes() if one.cmdline()[5:7] == command]
    assert workers
    for worker in workers:
        assert worker.nice() == niceness
        group = Path(f"/proc/{worker.pid}/autogroup")
        assert not group.exists() or group.read_text().split()[-2:] == ["nice", str(niceness)]


def _assert_the_key_is_kept_secret(service: Service) -> None:
    assert stat.S_IMODE((service.checkout / ".env").stat().st_mode) == 0o600
    arguments = [part for process in service.processes() for part in process.cmdline()]
    assert len(arguments) > 10
    assert not any(service.key in part for part in arguments)


def _assert_a_second_one_is_refused(service: Service) -> None:
    second = Service(checkout=service.checkout, log_name="second.log")
    (line,) = second.fails()
    assert "another `make run` is using" in line


def _make_session(service: Service) -> str:
    answer = httpx.post(
        f"{service.api}/api/v1/sessions",
        headers={"X-API-Key": service.key},
        json={"user_id": "alice", "title": "Kept"},
    )
    assert answer.status_code == 201
    return f"{service.api}/api/v1/sessions/{answer.json()['id']}"


def _title(service: Service, session: str) -> str:
    return str(httpx.get(session, headers={"X-API-Key": service.key}).json()["title"])


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
