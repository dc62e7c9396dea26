"""PostgreSQL's errors: no deadlock, conflict or full disk is a 500."""

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from flask import Flask

from core.db import migrate
from launcher.servers import PostgresServer, start_postgres
from tests.conftest import API_KEY
from tests.integration.web.conftest import Caller


def url_of(database: str) -> str:
    return database.replace("+psycopg2", "")


def admin_url(server: PostgresServer, database: str) -> str:
    """The superuser's URL, who also sees the locks of other roles."""
    return f"{server.admin_url.rpartition('/')[0]}/{database.rpartition('/')[2]}"


def run(url: str, sql: str) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(sql)


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def caller(make_app: Callable[..., Flask], database: str) -> Caller:
    return Caller(make_app(database_url=database), API_KEY, "alice")


def asked(url: str, sql: str) -> int:
    """The number that `sql` returns; 0 if it returns none."""
    with closing(psycopg2.connect(url_of(url))) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        row = cursor.fetchone()
        return 0 if row is None else int(row[0])


def waiting(url: str) -> int:
    """The number of the database's sessions that wait for a lock."""
    return asked(
        url,
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()",
    )


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def append(caller: Caller, session: str, text: str = "x", **headers: str) -> Any:
    body = {"sender": "user", "content": text}
    return caller.post(f"/sessions/{session}/messages", body, headers=headers)


def assert_come_back(response: Any) -> None:
    assert response.status_code == 503, response.text
    assert response.get_json()["code"] == "database_unavailable"
    assert int(response.headers["Retry-After"]) >= 1


# After an append has locked its session's row, it waits for the gate and then for another lock.
HESITATE = """
CREATE TABLE gate ();
CREATE FUNCTION hesitate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP;
    PERFORM pg_advisory_xact_lock(1);
    RETURN NEW;
END $$;
CREATE TRIGGER hesitate BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION hesitate();
"""


@contextmanager
def appending_into_a_deadlock(
    caller: Caller, database: str, superuser: str, **headers: str
) -> Iterator[tuple[str, "Future[Any]"]]:
    """The session and the append that PostgreSQL aborted; the other transaction is committed."""
    session = caller.new_session()["id"]
    run(url_of(database), HESITATE)
    with closing(psycopg2.connect(superuser)) as other, ThreadPoolExecutor(2) as pool:
        cursor = other.cursor()
        cursor.execute("SET deadlock_timeout = '1h'")  # the request is to find it, and be ended
        cursor.execute("SELECT pg_advisory_xact_lock(1)")
        request = pool.submit(append, caller, session, **headers)
        eventually(lambda: in_hesitation(superuser))
        update = pool.submit(cursor.execute, "UPDATE sessions SET title = 'theirs'")
        eventually(lambda: waiting(superuser) == 1)
        run(url_of(database), "INSERT INTO gate DEFAULT VALUES")
        update.result(30)
        other.commit()
        yield session, request
    eventually(lambda: deadlocks(database) >= 1)  # the append may lose more than once


def test_a_deadlock_is_503_and_a_retry_has_one_effect(
    caller: Caller, database: str, postgres_server: PostgresServer
) -> None:
    superuser, key = admin_url(postgres_server, database), {"Idempotency-Key": "k"}
    with appending_into_a_deadlock(caller, database, superuser, **key) as (session, request):
        assert_come_back(request.result(30))
    assert caller.get(f"/sessions/{session}").get_json()["title"] == "theirs"
    assert append(caller, session, **{"Idempotency-Key": "k"}).status_code == 201
    assert caller.get(f"/sessions/{session}/messages").get_json()["total"] == 1


def test_a_single_statement_is_repeated_after_a_deadlock(
    caller: Caller, database: str, postgres_server: PostgresServer
) -> None:
    superuser = admin_url(postgres_server, database)
    with appending_into_a_deadlock(caller, database, superuser) as (session, request):
        assert request.result(30).status_code == 201
    assert caller.get(f"/sessions/{session}").get_json()["title"] == "theirs"
    assert caller.get(f"/sessions/{session}/messages").get_json()["total"] == 1


def in_hesitation(url: str) -> bool:
    """Whether an append holds its session's row."""
    return asked(url, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 1


def deadlocks(database: str) -> int:
    return asked(
        database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )


def test_a_serialization_failure_is_503_and_a_retry_has_one_effect(
    caller: Caller, database: str
) -> None:
    name = database.rpartition("/")[2]
    run(url_of(database), f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    session = caller.new_session()["id"]
    with closing(psycopg2.connect(url_of(database))) as other, ThreadPoolExecutor(1) as pool:
        other.cursor().execute("UPDATE sessions SET title = 'theirs'")
        request = pool.submit(append, caller, session, **{"Idempotency-Key": "k"})
        eventually(lambda: waiting(database) == 1)
        other.commit()
        assert_come_back(request.result(30))
    assert append(caller, session, **{"Idempotency-Key": "k"}).status_code == 201
    assert caller.get(f"/sessions/{session}/messages").get_json()["total"] == 1


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    server = start_postgres(tmp_path / "postgres", durable=False)
    yield server
    server.stop("immediate")


@pytest.fixture
def small_disk(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB that PostgreSQL may use."""
    owner = (own_postgres.data_dir / "cluster").stat()
    path = tmp_path / "small"
    path.mkdir()
    options = f"size=3m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield path
    own_postgres.stop("immediate")
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_database_is_507_until_there_is_room(
    make_app: Callable[..., Flask], own_postgres: PostgresServer, small_disk: Path
) -> None:
    database = own_postgres.url.replace("postgresql://", "postgresql+psycopg2://")
    migrate(database)
    as_superuser = admin_url(own_postgres, database)
    run(as_superuser, f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    run(as_superuser, "ALTER TABLE messages SET TABLESPACE small")
    caller = Caller(make_app(database_url=database), API_KEY, "alice")
    session = caller.new_session()["id"]
    stored = []
    while (
        response := append(caller, session, text := secrets.token_hex(150_000))
    ).status_code == 201:
        stored.append(text)
        assert len(stored) < 50
    assert len(stored) > 3
    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (507, "storage_full"), problem
    assert response.headers["Content-Type"] == "application/problem+json"
    refused = append(caller, session, text, **{"Idempotency-Key": "k"})
    assert refused.status_code == 507
    assert contents(caller, session) == stored
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    assert append(caller, session, text, **{"Idempotency-Key": "k"}).status_code == 201
    assert contents(caller, session) == [*stored, text]


def contents(caller: Caller, session: str) -> list[str]:
    page = caller.get(f"/sessions/{session}/messages").get_json()
    assert [item["position"] for item in page["items"]] == list(range(1, page["total"] + 1))
    return [item["content"] for item in page["items"]]
