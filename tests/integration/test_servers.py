"""The servers from wheels: their data survives any end, and they end with their parent."""

import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.settings import Settings
from launcher.servers import (
    PostgresServer,
    RedisServer,
    ServerError,
    free_port,
    start_postgres,
    start_redis,
)


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL in a directory with a space, a quote and a path of more than 107 bytes."""
    path = tmp_path_factory.mktemp("it's a space") / ("long" * 40) / "postgres"
    server = start_postgres(path, durable=False)
    yield server
    server.stop("immediate")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path / "re dis" / ("long" * 40))
    yield server
    server.stop()


def _query(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_postgres_has_what_the_service_needs(own_postgres: PostgresServer) -> None:
    (row,) = _query(
        own_postgres.url,
        "SELECT rolsuper, rolcreaterole, extversion FROM pg_roles, pg_extension"
        " WHERE rolname = current_user AND extname = 'vector'",
    )
    assert row[:2] == (False, True)
    assert tuple(int(part) for part in str(row[2]).split(".")) >= (0, 8, 3)


def test_full_text_search_knows_letters_beyond_ascii(own_postgres: PostgresServer) -> None:
    (row,) = _query(own_postgres.url, "SELECT to_tsvector('simple', '“Grüße” naïve')::text")
    assert row == ("'grüße':1 'naïve':2",)


def test_postgres_refuses_a_wrong_password(own_postgres: PostgresServer) -> None:
    wrong = own_postgres.url.replace("rag:", "rag:x", 1)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        _query(wrong, "SELECT 1")


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_postgres_keeps_what_was_committed(own_postgres: PostgresServer, how: str) -> None:
    url = own_postgres.url
    _query(url, f"CREATE TABLE kept_{how} AS SELECT 42 AS answer")
    if how == "kill":
        own_postgres.kill()
    else:
        own_postgres.stop("fast" if how == "fast" else "immediate")
    own_postgres.start()
    assert own_postgres.url == url, "the port and the password stay"
    assert _query(url, f"SELECT answer FROM kept_{how}") == [(42,)]


def test_redis_keeps_what_was_written(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("answer", 42)
    own_redis.restart()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("answer") == b"42"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_redis_wants_its_password(own_redis: RedisServer) -> None:
    with (
        redis.Redis(host="127.0.0.1", port=own_redis.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_port_that_was_taken_meanwhile_is_changed(own_redis: RedisServer) -> None:
    taken = own_redis.port
    own_redis.stop()
    with socket.create_server(("127.0.0.1", taken)):
        own_redis.start()
    assert own_redis.port != taken
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.ping()


def test_a_requested_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(ServerError, match=f"port {port} is taken"),
    ):
        start_redis(tmp_path, port=port)


def test_two_servers_never_share_a_directory(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.servers.server._LOCK_SECONDS", 0.3)
    with pytest.raises(ServerError, match="already"):
        start_redis(own_redis.data_dir)


def test_secrets_are_private(own_postgres: PostgresServer, own_redis: RedisServer) -> None:
    for server in (own_postgres, own_redis):
        mode = (server.data_dir / "access.json").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
        password = server.url.split(":")[2].split("@")[0]
        assert not any(password in part for part in psutil.Process(server.pid).cmdline())


_ORPHAN = """
import sys, time
from pathlib import Path
from launcher.servers import start_postgres, start_redis
postgres = start_postgres(Path(sys.argv[1]) / "postgres", durable=False)
redis = start_redis(Path(sys.argv[1]) / "redis")
print(postgres.pid, redis.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="death signals are Linux's")
def test_servers_end_with_a_killed_parent_and_start_again(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(signal.SIGKILL)
    postgres = start_postgres(tmp_path / "postgres", durable=False)  # waits for the old one
    assert _wait_gone(pids)
    assert _query(postgres.url, "SELECT 1") == [(1,)]
    postgres.stop("immediate")


def test_an_incomplete_cluster_is_created_again(tmp_path: Path) -> None:
    half = tmp_path / "cluster.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server = start_postgres(tmp_path, durable=False)
    assert _query(server.url, "SELECT 1") == [(1,)]
    server.stop("immediate")
    assert not half.exists()


def test_the_test_databases_are_migrated_and_apart(settings: Settings) -> None:
    url = settings.database_url.replace("+psycopg2", "")
    assert _query(url, "SELECT count(*) FROM alembic_version") == [(1,)]


def _wait_gone(pids: list[int], *, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while any(_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
