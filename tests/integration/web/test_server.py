"""What only a real server with several processes and real sockets can show."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.conftest import API_KEY
from tests.integration.web.conftest import Server


def test_a_limit_is_exact_across_processes(server: Server) -> None:
    with server.client() as operator:
        body = {"name": "k", "scopes": ["read"], "rate_limit_per_minute": 20}
        key = operator.post("/keys", json=body).json()["key"]
    with server.client(key) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.get("/sessions").status_code, range(100)))
    assert answers.count(200) == 20
    assert answers.count(429) == 80


def test_equal_posts_to_several_processes_do_the_thing_once(server: Server) -> None:
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


def test_a_client_that_leaves_in_mid_upload_leaves_nothing(server: Server) -> None:
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
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request)
            answer = client.recv(65536)
            assert answer[:10] in {b"", b"HTTP/1.1 4"}, (request[:80], answer[:200])
    assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200


def test_a_request_with_an_upper_case_path_or_slash_is_no_crash(server: Server) -> None:
    with server.client() as client:
        for path in ("/SESSIONS", "/sessions/%2e%2e/keys", "/sessions;a=b", "/sessions%00"):
            assert client.get(path).status_code in {400, 404}, path


def test_the_log_is_json_lines_without_secrets(server: Server) -> None:
    with server.client() as client:
        client.post("/sessions", json={"user_id": "canary-user"})
        client.get("/messages/search?q=canary-query")
    text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert any(line.get("path") == "/api/v1/messages/search" for line in lines)
    assert "canary" not in text
    assert API_KEY not in text
    assert not [line for line in lines if line["level"] == "error"]
