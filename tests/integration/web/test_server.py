"""Tests that need a real server with several processes and real sockets."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import API_KEY
from tests.harness import SLOW_MACHINE_SECONDS
from tests.integration.web.conftest import Server


def test_a_limit_is_exact_across_processes(server: Server) -> None:
    with server.client() as operator:
        body = {"name": "k", "scopes": ["read"], "rate_limit_per_minute": 20}
        key = operator.post("/keys", json=body).json()["key"]
    with server.client(key) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.get("/sessions").status_code, range(100)))
    assert answers.count(200) == 20
    assert answers.count(429) == 80


def test_equal_posts_to_several_processes_have_one_effect(server: Server) -> None:
    with server.client() as client, ThreadPoolExecutor(20) as pool:
        headers = {"Idempotency-Key": "twenty"}
        answers = list(
            pool.map(
                lambda _: client.post("/sessions", json={"user_id": "once"}, headers=headers),
                range(20),
            )
        )
        assert {answer.status_code for answer in answers} <= {201, 409}
        bodies = {answer.content for answer in answers if answer.status_code == 201}
        assert len(bodies) == 1
        assert client.get("/sessions?user_id=once").json()["total"] == 1


def test_fifty_appends_to_several_processes_have_no_gap(server: Server) -> None:
    with server.client() as client, ThreadPoolExecutor(16) as pool:
        session = client.post("/sessions", json={"user_id": "a"}).json()["id"]
        body = {"sender": "user", "content": "x"}
        path = f"/sessions/{session}/messages"
        made = list(pool.map(lambda _: client.post(path, json=body).json(), range(50)))
        assert sorted(message["position"] for message in made) == list(range(1, 51))


def test_an_upload_beyond_the_limit_is_413_with_and_without_its_length(server: Server) -> None:
    size = 52 * 1024 * 1024
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n%PDF-1.7'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with server.client() as client:
        whole = client.post("/documents", content=head + bytes(size), headers=headers)
        assert (whole.status_code, whole.json()["code"]) == (413, "file_too_large")

        def pieces():  # type: ignore[no-untyped-def]
            yield head
            for _ in range(52):
                yield bytes(1024 * 1024)

        chunked = client.post("/documents", content=pieces(), headers=headers)
        assert (chunked.status_code, chunked.json()["code"]) == (413, "file_too_large")
        assert client.get("/documents").json()["total"] == 0


def test_a_client_that_disconnects_during_an_upload_leaves_no_file(server: Server) -> None:
    staging = server.log.parent / "data"
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(
            b"POST /api/v1/documents HTTP/1.1\r\nHost: x\r\n"
            b"X-API-Key: " + API_KEY.encode() + b"\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n%PDF-1.7'
            + bytes(3_000_000)
        )
        time.sleep(0.3)
    time.sleep(0.5)
    left = [path for path in staging.rglob("*") if path.is_file()]
    assert left == []
    with server.client() as api:
        assert api.get("/documents").json()["total"] == 0


def test_odd_requests_do_no_harm(server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    key = f"X-API-Key: {API_KEY}\r\n".encode()
    start = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\n" + key
    json_type = b"Content-Type: application/json\r\n"
    for request in (
        start + json_type + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        start + b"Host: y\r\n" + json_type + b"Content-Length: 2\r\n\r\n{}",
        start + json_type + b"Content-Length: -1\r\n\r\n{}",
        b"GET /api/v1/sessions/%ff HTTP/1.1\r\nHost: x\r\n" + key + b"\r\n",
        b"GET /api/v1/sessions HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"BREW /api/v1/sessions HTTP/1.1\r\nHost: x\r\n" + key + b"\r\n",
    ):
        with socket.create_connection(
            ("127.0.0.1", port), timeout=3 * SLOW_MACHINE_SECONDS
        ) as client:
            client.sendall(request)
            answer = client.recv(65536)
            assert answer[:10] in {b"", b"HTTP/1.1 4"}, (request[:80], answer[:200])
    assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200


def test_a_revoked_key_is_refused_by_every_process_at_once(server: Server) -> None:
    with server.client() as operator:
        body = {"name": "k", "scopes": ["read"], "rate_limit_per_minute": 1000}
        made = operator.post("/keys", json=body).json()
        with server.client(made["key"]) as client, ThreadPoolExecutor(8) as pool:
            before = pool.map(lambda _: client.get("/sessions").status_code, range(16))
            assert set(before) == {200}
            assert operator.delete(f"/keys/{made['id']}").status_code == 204
            after = pool.map(lambda _: client.get("/sessions").status_code, range(16))
            assert set(after) == {401}


GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (GET + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (GET + b"Transfer-Encoding: brotli\r\n\r\n", 501),
        (GET + b"Host: y\r\n\r\n", 400),
        (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (GET + b"X-API-Key: canary\r\n  folded\r\n\r\n", 400),
        (GET + b"X-Api Key: canary\r\n\r\n", 400),
        (GET + b"X-A: " + b"a" * 9_000 + b"\r\n\r\n", 431),
        (GET + b"X-A: " + b"a" * 90_000 + b"\r\n\r\n", 431),
        (GET + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"NONSENSE\r\n\r\n", 400),
    ],
)
def test_requests_refused_by_the_server_are_problems_too(
    server: Server, request_: bytes, status: int
) -> None:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=3 * SLOW_MACHINE_SECONDS) as client:
        client.sendall(request_)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"Content-Type: application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"X-Request-ID: {problem['request_id']}".encode() in head
    log = server.log.read_text()
    assert problem["request_id"] in log
    assert "canary" not in log


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}xx", b"2;\0\r\n{}\r\n"],
)
@pytest.mark.parametrize("path", ["sessions", "documents"])
def test_a_body_in_broken_chunks_is_400_and_ends_the_connection(
    server: Server, path: str, chunks: bytes
) -> None:
    port = int(server.url.rpartition(":")[2])
    kind = "application/json" if path == "sessions" else "multipart/form-data; boundary=x"
    head = (
        f"POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\n"
        f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(head.encode() + chunks + GET + b"\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "invalid_request"


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/nowhere"])
@pytest.mark.parametrize("drips", [False, True])
def test_a_client_without_a_key_that_never_sends_its_body_gets_a_response(
    server: Server, path: str, drips: bool
) -> None:
    """Waiting for the body would block a thread for 30 s per pause, or without an end."""
    port = int(server.url.rpartition(":")[2])
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
    deadline = time.monotonic() + 2 * SLOW_MACHINE_SECONDS
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as client:
        client.sendall(head.encode())
        answer = b""
        while not answer and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                answer = client.recv(65536)
                break
            if drips:
                client.sendall(b"x")
    assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 404 ")), answer


def test_stalled_uploads_do_not_take_all_threads(server: Server) -> None:
    """Thirty uploads stall, for two processes of eight threads, with one valid key."""
    port = int(server.url.rpartition(":")[2])
    head = (
        f"POST /api/v1/documents HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n--x\r\n"
    )
    with contextlib.ExitStack() as stack:
        stalled = []
        for _ in range(30):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            stack.enter_context(client).sendall(head.encode())
            stalled.append(client)
        started = time.monotonic()
        for _ in range(10):
            assert httpx.get(f"{server.url}/health/live", trust_env=False, timeout=25).is_success
        # Should one process have got them all, five of its threads deal with the others in turns
        # of two seconds, 12 s in all. Unpaced, a stalled body holds its thread for 30.
        assert time.monotonic() - started < 20
        for client in stalled:
            answer = b"".join(iter(lambda: client.recv(65536), b""))  # noqa: B023
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"


def test_metrics_are_sums_over_live_and_dead_processes(server: Server) -> None:
    def counted() -> float:
        text = httpx.get(f"{server.url}/metrics", trust_env=False).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "rag_http_requests_total" and sample.labels["route"] == "none"
        )

    def ask(_: int) -> int:
        return httpx.get(f"{server.url}/nowhere", trust_env=False).status_code

    before = counted()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(40))) == {404}
    assert [counted() - before for _ in range(5)] == [40] * 5
    children = psutil.Process(server.process.pid).children()
    assert len(children) == 2
    children[0].terminate()  # the master starts another in its place
    children[0].wait(30)
    deadline = time.monotonic() + 30
    while len(psutil.Process(server.process.pid).children()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert counted() - before == 40


def test_an_upper_case_path_or_a_slash_does_not_crash(server: Server) -> None:
    with server.client() as client:
        for path in ("/SESSIONS", "/sessions/%2e%2e/keys", "/sessions;a=b", "/sessions%00"):
            assert client.get(path).status_code in {400, 404}, path


def test_the_log_is_json_lines_without_secrets(server: Server) -> None:
    with server.client() as client:
        client.post("/sessions", json={"user_id": "canary-user"})
        client.get("/messages/search?q=canary-query")
    deadline = time.monotonic() + 3 * SLOW_MACHINE_SECONDS
    # A request's line is written after its response.
    while "/api/v1/messages/search" not in (text := server.log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert any(line.get("path") == "/api/v1/messages/search" for line in lines)
    assert "canary" not in text
    assert API_KEY not in text
    assert not [line for line in lines if line["level"] == "error"]
