"""Two hundred clients that are slow on purpose (slowloris), against the real service.

They are more than one web process has threads, so a server that reads requests in
its threads would answer no other client.
"""

import json
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from tests.functional.conftest import MakeStack
from tests.harness.stack import Stack
from web.server.gunicorn_worker import GATHER_SECONDS

pytestmark = [pytest.mark.alone, pytest.mark.faults]

STALLED_HEADS, DRIPPING_HEADS, PARTIAL_BODIES = 100, 50, 49  # and one that completes
ROUNDS = 3
DRIP_SECONDS = 0.5


@pytest.fixture(scope="module")
def web(make_stack: MakeStack) -> Stack:
    stack = make_stack()  # one web process accepts connections in their order
    stack.start("web")
    stack.wait_ready()
    return stack


def test_two_hundred_slow_clients_delay_no_request_and_are_closed(web: Stack) -> None:
    """A round counts if it ends before the first connection's time is up."""
    for _ in range(ROUNDS):
        path = _new_session(web)
        head, sent, rest = _append_in_parts(web, path)
        openings = [b"GET /health/live HTTP/1.1\r\nHost: slow\r\nX-Slow: "] * STALLED_HEADS
        openings += [head + b"X-Slow: "] * DRIPPING_HEADS
        openings += [head + b"\r\n" + sent] * (PARTIAL_BODIES + 1)
        with ExitStack() as sockets:
            started = time.monotonic()
            *slow, late = [_connect(web, sockets, opening) for opening in openings]
            _assert_served(web, path)
            answer = _complete(late, rest)
            remaining = _still_open(slow)
            if time.monotonic() - started > GATHER_SECONDS:
                continue  # on a machine this busy, some may have been closed rightly
            assert len(remaining) == len(slow) == 199
            assert answer.startswith(b"HTTP/1.1 201 "), answer
            _assert_closed(web, slow, dripping=slow[STALLED_HEADS:-PARTIAL_BODIES])
        assert _contents(web, path) == ["quick", "late"], "nothing of what never came whole"
        return
    pytest.fail(f"three requests took more than {GATHER_SECONDS} s, {ROUNDS} times")


def _new_session(web: Stack) -> str:
    made = web.client().post("/api/v1/sessions", json={"user_id": "u"})
    assert made.status_code == 201, made.text
    return f"/api/v1/sessions/{made.json()['id']}/messages"


def _append_in_parts(web: Stack, path: str) -> tuple[bytes, bytes, bytes]:
    """An append's head without its last line, and the two parts of its body."""
    body = json.dumps({"sender": "user", "content": "late"}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: slow\r\nX-API-Key: {web.api_key}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode(), body[:10], body[10:]


def _connect(web: Stack, sockets: ExitStack, opening: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", web.port), timeout=30)
    sockets.enter_context(connection).sendall(opening)
    return connection


def _assert_served(web: Stack, path: str) -> None:
    """Check requests over new connections, opened after the slow ones."""
    api = web.client(timeout=30)
    assert api.get("/health/live").status_code == 200
    said = api.post(path, json={"sender": "user", "content": "quick"})
    assert said.status_code == 201, said.text
    assert _contents(web, path) == ["quick"]


def _contents(web: Stack, path: str) -> list[str]:
    listed = web.client(timeout=30).get(path)
    assert listed.status_code == 200, listed.text
    return [message["content"] for message in listed.json()["items"]]


def _complete(connection: socket.socket, rest: bytes) -> bytes:
    """Send the last part of a request; return the response, empty if the connection was closed."""
    try:
        connection.sendall(rest)
        return connection.makefile("rb").read()
    except ConnectionError:
        return b""


def _still_open(connections: list[socket.socket]) -> list[socket.socket]:
    return [connection for connection in connections if not _is_closed(connection)]


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(4096)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _assert_closed(web: Stack, slow: list[socket.socket], *, dripping: list[socket.socket]) -> None:
    """Check that all are closed, even those that still send single bytes."""
    remaining = slow

    def all_closed() -> bool:
        nonlocal remaining
        remaining = _still_open(remaining)
        for connection in remaining:
            if connection in dripping:
                _drip(connection)
        time.sleep(DRIP_SECONDS if remaining else 0)
        return not remaining

    web.wait_until(all_closed, what="the server closes every slow connection", seconds=120)


def _drip(connection: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile, which the next check finds out
        connection.send(b"a")
