"""The web server with clients that are slow on purpose, over real sockets."""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.harness import SLOW_MACHINE_SECONDS
from tests.harness.ports import free_port
from web.server.gunicorn_worker import (
    GATHER_SECONDS,
    LARGEST_HEAD,
    LINGER_SECONDS,
    SMALL_BODY,
    is_complete,
)
from web.server.pacing import PATIENCE_SECONDS, PIECE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.alone, pytest.mark.faults]

TURN_SECONDS = 60  # far longer than the other requests take
ECHO = f"""
import re, threading

may_end = threading.Event()

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/turn":
        may_end.wait({TURN_SECONDS})
    elif environ["PATH_INFO"] == "/end":
        may_end.set()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

app.extensions = {{"turn_requests": re.compile(rb"POST /turn ")}}
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One worker process with four threads: few enough to fill."""
    directory = tmp_path_factory.mktemp("echo")
    (directory / "echo.py").write_text(ECHO)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--pythonpath", f"{ROOT},{directory}"]
    command += ["--worker-class", "web.server.gunicorn_worker.GatheringWorker", "--threads", "4"]
    command += ["--bind", f"127.0.0.1:{port}", "--no-control-socket", "echo:app"]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.DEVNULL) as process:
        _wait_listening(port)
        yield port
        process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    "opening",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: ",
        b"POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 1000\r\n\r\n{",
    ],
    ids=["silent", "slow head", "slow body"],
)
def test_two_hundred_slow_connections_delay_no_other_request(port: int, opening: bytes) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port)))]
        slow += [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(199)
        ]
        for _ in range(3):
            for connection in slow:
                connection.sendall(opening)
            opening = b"a" if opening else b""
            started = time.monotonic()
            assert _post(port, b"quick") == b"quick"
            assert time.monotonic() - started < 0.7 * GATHER_SECONDS


def test_turns_that_begin_leave_threads_to_other_requests(port: int) -> None:
    """Eight of them for four threads."""
    turn = b"POST /turn HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
    started = time.monotonic()
    with ExitStack() as stack:
        turns = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for _ in range(8)
        ]
        for number, connection in enumerate(turns):
            connection.sendall(turn + b"%d" % number)
        assert _post(port, b"quick") == b"quick"
        assert _post(port, b"end", path="/end") == b"end"
        assert time.monotonic() - started < TURN_SECONDS / 2
        for number, connection in enumerate(turns):
            assert _read_all(connection).endswith(b"\r\n\r\n%d" % number)


LARGE = SMALL_BODY * 4
LARGE_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LARGE


@pytest.mark.parametrize("drip", [b"", b"x"], ids=["stalled", "dripping"])
def test_slow_large_bodies_delay_other_requests_only_briefly(port: int, drip: bytes) -> None:
    """Eight bodies for four threads. One thread waits until its time limit."""
    started, answers = time.monotonic(), []
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.05))
            for _ in range(8)
        ]
        for connection in slow:
            connection.sendall(LARGE_HEAD + b"x")
        assert _post(port, b"quick") == b"quick"
        assert time.monotonic() - started < 2 * PATIENCE_SECONDS + SLOW_MACHINE_SECONDS
        while slow:
            assert (
                time.monotonic() - started
                < 2 * PATIENCE_SECONDS + PIECE_SECONDS + SLOW_MACHINE_SECONDS
            )
            for connection in slow.copy():
                with suppress(TimeoutError):
                    answers.append(connection.recv(10_000))
                    slow.remove(connection)
                    continue
                connection.sendall(drip)
    assert time.monotonic() - started > PIECE_SECONDS, "one was to be waited for"
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close\r\n" in answer
        assert b'"code": "request_timeout"' in answer


def test_a_large_body_may_come_over_a_slow_line(port: int) -> None:
    piece = bytes(16 * 1024)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(LARGE_HEAD.replace(b"Host", b"Connection: close\r\nHost"))
        for _ in range(LARGE // len(piece)):
            time.sleep(2 * PATIENCE_SECONDS / (LARGE // len(piece)))
            connection.sendall(piece)
        assert _read_all(connection).endswith(bytes(LARGE))


def test_a_pipelined_head_has_its_own_time_limit(port: int) -> None:
    """A thread reads a pipelined request, from its first bytes on."""
    whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with socket.create_connection(
        ("127.0.0.1", port), timeout=PIECE_SECONDS + 2 * SLOW_MACHINE_SECONDS
    ) as connection:
        connection.sendall(whole + whole[:20])
        answer = _read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


@pytest.mark.parametrize(
    "last", [b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"NONSENSE\r\n\r\n"]
)
def test_clients_that_keep_ended_connections_open_delay_no_other_request(
    port: int, last: bytes
) -> None:
    """gunicorn waits two seconds for each to close, in its main loop or in a thread."""
    with ExitStack() as stack:
        ended = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for _ in range(20)
        ]
        for connection in ended:
            connection.sendall(last)
        started = time.monotonic()
        for connection in ended:
            assert _read_all(connection).startswith(b"HTTP/1.1 ")
        assert _post(port, b"quick") == b"quick"
        # Two seconds each are 40 in one thread and 10 in four.
        assert time.monotonic() - started < 8
        deadline = time.monotonic() + LINGER_SECONDS + 2 * SLOW_MACHINE_SECONDS
        while not all(_is_closed(connection) for connection in ended):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it completely, so that it answers with a reset."""
    try:
        connection.sendall(b"x")
    except OSError:
        return True
    return False


def test_an_answer_arrives_despite_unread_input(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n" + bytes(LARGEST_HEAD))
        time.sleep(0.2)
        connection.sendall(bytes(LARGEST_HEAD))
        assert _read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_a_request_in_single_bytes_is_served(port: int) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for byte in request:
            connection.sendall(bytes([byte]))
        assert _read_all(connection).endswith(b"\r\n\r\nabc")


def test_pipelined_requests_are_all_answered(port: int) -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(one + one + last)
        assert _read_all(connection).count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("size", [0, 1, SMALL_BODY, SMALL_BODY + 1, 5_000_000])
def test_bodies_of_every_size_arrive_whole_on_one_connection(port: int, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for _ in range(2):
        connection.request("POST", "/", body=body)
        assert connection.getresponse().read() == body
    connection.close()


def test_a_chunked_body_arrives_whole(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/", body=iter([b"abc", b"def"]), encode_chunked=True)
    assert connection.getresponse().read() == b"abcdef"
    connection.close()


def test_expect_continue_is_answered_before_the_body(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head + b"Connection: close\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abc")
        assert _read_all(connection).endswith(b"abc")


@pytest.mark.parametrize(
    ("received", "complete"),
    [
        (b"", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", False),
        (b"POST / HTTP/1.1\r\ncontent-length:2\r\n\r\nab", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nContent-Length: -2\r\n\r\n", True),
        (b"x" * LARGEST_HEAD, True),
    ],
)
def test_when_a_thread_can_begin(received: bytes, complete: bool) -> None:
    assert is_complete(received) is complete


def _post(port: int, body: bytes, *, path: str = "/") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body=body)
        return connection.getresponse().read()
    finally:
        connection.close()


def _read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _wait_listening(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
