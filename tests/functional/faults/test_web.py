"""The web process is killed during a request. The repeated request completes the work once."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from core.bootstrap import bootstrap
from core.documents.sweeping import ORPHAN_AGE, remove_orphans
from core.settings import Settings
from tests.fakes.llm_server import LLMServer, Reply
from tests.functional.conftest import MakeStack
from tests.functional.faults.conftest import Client
from tests.harness.stack import WAIT_SECONDS
from tests.pdfs import make_pdf

KEY = {"Idempotency-Key": "the same"}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="module")
def web(make_stack: MakeStack, llm: LLMServer) -> Client:
    """A service of web processes only, with an LLM that a test can slow down."""
    stack = make_stack(env=llm.environment | {"WEB_THREADS": "3"})
    stack.start("web")
    return Client(stack, stack.client())


@pytest.fixture
def session(web: Client) -> str:
    """A session's path. Web is running, and no idempotency key is stored."""
    restart(web)
    web.execute("DELETE FROM idempotency_keys")
    made = web.http.post("/api/v1/sessions", json={"user_id": "alice"}).json()
    return f"/api/v1/sessions/{made['id']}"


def restart(web: Client) -> None:
    if not web.stack.is_running("web"):
        web.stack.start("web")
    web.stack.wait_ready()


def connect(web: Client) -> Any:
    return psycopg2.connect(web.stack.env["DATABASE_URL"].replace("+psycopg2", ""))


@contextmanager
def holding(web: Client, sql: str) -> Iterator[None]:
    """Hold the locks of `sql` during the block."""
    with closing(connect(web)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        yield
        connection.rollback()


def wait_blocked(web: Client) -> None:
    """Wait until the service waits for a lock."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    waiting += " AND datname = current_database()"
    web.stack.wait_until(lambda: web.query(waiting), what="a request waits for the lock")


def end_leases(web: Client) -> None:
    """End all leases, as if half a minute had passed."""
    web.execute("UPDATE idempotency_keys SET locked_until = locked_until - interval '1 hour'")
    web.execute("UPDATE messages SET lease_expires_at = lease_expires_at - interval '1 hour'")


def messages_of(web: Client, session: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = web.http.get(f"{session}/messages").json()["items"]
    return items


def kill_under(web: Client, request: "Future[httpx.Response]") -> None:
    """Kill web. The client's connection must end."""
    web.stack.kill("web")
    with pytest.raises(httpx.TransportError):
        request.result(WAIT_SECONDS)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def is_begun(web: Client, session: str) -> bool:
    return bool(messages_of(web, session)[1]["content"].startswith("never finished"))


def kill_in_mid_answer(web: Client, session: str, body: dict[str, Any]) -> None:
    with web.http.stream("POST", f"{session}/chat", json=body, headers=KEY) as answer:
        for line in answer.iter_lines():
            if line == "event: delta" and is_begun(web, session):
                web.stack.kill("web")


def test_a_repeated_request_completes_a_killed_chat_turn(
    web: Client, llm: LLMServer, session: str
) -> None:
    asked_before = len(llm.answer_requests())
    llm.script(Reply(deltas=["never ", "finished "] * 1000, delay_between=0.05))
    body = {"message": "Hello?", "stream": True, "use_rag": False}
    with pytest.raises(httpx.TransportError):
        kill_in_mid_answer(web, session, body)
    restart(web)
    end_leases(web)
    left = messages_of(web, session)
    assert [item["status"] for item in left] == ["complete", "interrupted"]
    assert left[1]["content"].startswith("never finished")
    again = web.http.post(f"{session}/chat", json=body, headers=KEY)
    assert again.status_code == 200
    assert "event: message_completed" in again.text
    items = messages_of(web, session)
    assert items[0] == left[0]
    assert [(item["id"], item["status"]) for item in items] == [
        (left[0]["id"], "complete"),
        (left[1]["id"], "complete"),
    ]
    assert items[1]["content"] == "Hello from the model."
    assert len(llm.answer_requests()) == asked_before + 2
    replay = web.http.post(f"{session}/chat", json=body, headers=KEY)
    assert replay.content == again.content
    assert len(llm.answer_requests()) == asked_before + 2


def test_a_repeated_append_is_stored_once_after_a_kill(
    web: Client, session: str, background: ThreadPoolExecutor
) -> None:
    body = {"sender": "user", "content": "once"}
    post = lambda: web.http.post(f"{session}/messages", json=body, headers=KEY)  # noqa: E731
    with holding(web, "SELECT 1 FROM sessions FOR UPDATE"):
        request = background.submit(post)
        wait_blocked(web)
        kill_under(web, request)
    restart(web)
    assert messages_of(web, session) == []
    assert post().status_code == 201
    assert post().headers["Idempotent-Replayed"] == "true"
    assert [item["content"] for item in messages_of(web, session)] == ["once"]


def test_a_repeated_append_whose_response_was_lost_is_stored_once(
    web: Client, session: str
) -> None:
    body = b'{"sender": "user", "content": "unheard"}'
    head = f"POST {session}/messages HTTP/1.1\r\nHost: x\r\nX-API-Key: {web.stack.api_key}\r\n"
    head += "Idempotency-Key: the same\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", web.stack.port)) as client:
        client.sendall(head.encode() + body)
        web.stack.wait_until(
            lambda: web.query("SELECT 1 FROM messages WHERE content = 'unheard'"), what="the commit"
        )
        web.stack.kill("web")
    restart(web)
    (kept,) = messages_of(web, session)
    again = web.http.post(
        f"{session}/messages", content=body, headers={**KEY, "Content-Type": "application/json"}
    )
    assert (again.status_code, again.json()["id"]) == (201, kept["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert messages_of(web, session) == [kept]


def stored_files(web: Client) -> list[Path]:
    return [path for path in (web.stack.data_dir).rglob("*.pdf") if path.is_file()]


def test_a_repeated_upload_works_after_a_kill_between_file_and_row(
    web: Client, session: str, background: ThreadPoolExecutor
) -> None:
    data = make_pdf(["A page that is uploaded twice."])
    form = {"files": {"file": ("a.pdf", data, "application/pdf")}, "data": {"user_id": "alice"}}

    def post() -> httpx.Response:
        return web.http.post("/api/v1/documents", headers=KEY, **form)  # type: ignore[arg-type]

    with holding(web, "LOCK TABLE documents IN SHARE MODE"):
        request = background.submit(post)
        wait_blocked(web)
        kill_under(web, request)
    (orphan,) = stored_files(web)
    assert orphan.read_bytes() == data
    assert web.query("SELECT 1 FROM documents") == web.query("SELECT 1 FROM jobs") == []
    restart(web)
    end_leases(web)
    accepted = post()
    assert accepted.status_code == 202
    assert post().content == accepted.content
    assert web.http.get("/api/v1/documents").json()["total"] == 1
    assert len(stored_files(web)) == 2
    long_ago = time.time() - 2 * ORPHAN_AGE.total_seconds()
    for path in stored_files(web):
        os.utime(path, (long_ago, long_ago))
    assert sweep(web) == 1
    (kept,) = stored_files(web)
    assert kept != orphan
    document = accepted.json()["document"]["id"]
    assert web.http.get(f"/api/v1/documents/{document}/content").content == data


def sweep(web: Client) -> int:
    settings = Settings(**{name.lower(): value for name, value in web.stack.env.items()})
    services = bootstrap(settings)
    try:
        return remove_orphans(services)
    finally:
        services.close()


def test_a_repeated_upload_whose_response_was_lost_is_one_document(
    web: Client, session: str, background: ThreadPoolExecutor
) -> None:
    """Web is killed after the commit of document and job, before it stores the response."""
    data = make_pdf(["A page whose answer is lost."])
    form = {"files": {"file": ("b.pdf", data, "application/pdf")}, "data": {"user_id": "bob"}}

    def post() -> httpx.Response:
        return web.http.post("/api/v1/documents", headers=KEY, **form)  # type: ignore[arg-type]

    name = "SELECT id FROM documents WHERE filename = 'b.pdf'"
    with closing(connect(web)) as first, closing(connect(web)) as second:
        first.cursor().execute("LOCK TABLE documents IN SHARE MODE")
        request = background.submit(post)
        wait_blocked(web)
        second.cursor().execute("SELECT 1 FROM idempotency_keys FOR UPDATE")
        first.rollback()
        web.stack.wait_until(lambda: web.query(name), what="the commit")
        wait_blocked(web)
        kill_under(web, request)
    restart(web)
    end_leases(web)
    again = post()
    assert again.status_code in {200, 202}
    ((document,),) = web.query(name)
    assert again.json()["document"]["id"] == document


@pytest.fixture
def slow_commits(web: Client) -> Iterator[None]:
    """A transaction that writes a job waits at its commit for advisory lock 1."""
    web.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    yield
    web.execute("DROP FUNCTION wait CASCADE")


@pytest.mark.usefixtures("slow_commits")
def test_a_repeated_reingest_whose_response_was_lost_is_one_job(
    web: Client, session: str, background: ThreadPoolExecutor
) -> None:
    """Web is killed after the commit of the new job, before it stores the response."""
    made = web.upload(make_pdf(["A page that is read anew."]), user_id="carol")
    path = f"/api/v1/documents/{made['document']['id']}/reingest"
    jobs = f"SELECT id FROM jobs WHERE document_id = '{made['document']['id']}' ORDER BY id"
    blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    blocked += " AND datname = current_database()"
    with (
        closing(connect(web)) as gate,
        closing(connect(web)) as holder,
        ThreadPoolExecutor(1) as beside,
    ):
        gate.cursor().execute("SELECT pg_advisory_lock(1)")
        request = background.submit(web.http.post, path, headers=KEY)
        wait_blocked(web)
        # Takes the lock on the key's row next, so that the response cannot be stored.
        held = beside.submit(holder.cursor().execute, "SELECT 1 FROM idempotency_keys FOR UPDATE")
        web.stack.wait_until(
            lambda: held.done() or len(web.query(blocked)) == 2, what="it stands in line"
        )
        gate.cursor().execute("SELECT pg_advisory_unlock(1)")
        held.result(WAIT_SECONDS)
        web.stack.wait_until(lambda: len(web.query(jobs)) == 2, what="the commit")
        wait_blocked(web)
        kill_under(web, request)
    restart(web)
    end_leases(web)
    again = web.http.post(path, headers=KEY)
    assert again.status_code == 202
    assert [job for (job,) in web.query(jobs)] == [made["job"]["id"], again.json()["job"]["id"]]
    assert web.http.post(path, headers=KEY).content == again.content


def test_many_streams_delay_no_short_request(web: Client, llm: LLMServer, session: str) -> None:
    """Twelve streams on three threads. Each continues until the test ends it."""
    llm.script(*[Reply(deltas=["one ", "two"], stall_after=1, stall_seconds=600)] * 12)
    body = {"message": "Hello?", "stream": True, "use_rag": False}
    with ExitStack() as streams:
        made = [web.http.post("/api/v1/sessions", json={"user_id": "a"}).json() for _ in range(12)]
        for one in made:
            path = f"/api/v1/sessions/{one['id']}/chat"
            answer = streams.enter_context(web.http.stream("POST", path, json=body))
            assert "event: retrieval" in iter(answer.iter_lines())
        for _ in range(5):  # the client gives up after a minute, the streams stall for ten
            assert web.http.get("/health", timeout=60).status_code == 200
            assert web.http.get(f"{session}/messages", timeout=60).status_code == 200
        for one in made:
            found = web.http.get(f"/api/v1/sessions/{one['id']}").json()
            assert found["active_message_id"], "it is being written still"
            (_, written) = messages_of(web, f"/api/v1/sessions/{one['id']}")
            assert written["status"] == "in_progress"
            assert written["id"] == found["active_message_id"]
    web.stack.kill("web")
