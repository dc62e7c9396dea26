"""httpx's requests through aiohttp, against a real server that sends what a test scripts."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import httpx
import pytest

from core.providers.http import async_client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
CROWD = 120  # more than aiohttp's own limit of connections

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Client = Callable[[httpx.AsyncClient], Awaitable[None]]


def run(handler: Handler, client: Client, *, timeout: float = 20.0, user: str = "") -> None:
    """Start a server with `handler`, and call `client` with a client of it."""
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        # A client that closes the connection first ends the handler in these ways.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def both() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        base_url = f"http://{user}{host}:{port}/v1"
        async with server, async_client(base_url, timeout=httpx.Timeout(timeout)) as http:
            http.base_url = httpx.URL(base_url)
            await client(http)
        await asyncio.gather(*filter(None, connections))

    asyncio.run(both())


def replying(data: bytes, *, heads: list[bytes] | None = None) -> Handler:
    """A handler that sends `data` for each request, then closes the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        writer.write(data)
        await writer.drain()

    return handle


def test_many_responses_may_be_open_at_the_same_time() -> None:
    everyone = asyncio.Event()
    waiting = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        await reader.readuntil(b"\r\n\r\n")
        waiting += 1
        if waiting == CROWD:
            everyone.set()
        await everyone.wait()
        writer.write(OK)

    async def ask(http: httpx.AsyncClient) -> None:
        responses = await asyncio.gather(*(http.get("/x") for _ in range(CROWD)))
        assert {response.text for response in responses} == {"fine"}

    run(handle, ask, timeout=60.0)


def test_only_the_headers_of_the_request_are_sent() -> None:
    heads: list[bytes] = []

    async def ask(http: httpx.AsyncClient) -> None:
        request = http.build_request("POST", "/x?a=%2F", json={}, headers={"Accept": "text/x"})
        del request.headers["user-agent"]
        assert (await http.send(request)).text == "fine"

    run(replying(OK, heads=heads), ask, user="me:pass@")
    first, *lines = heads[0].decode().lower().split("\r\n")
    assert first == "post /v1/x?a=%2f http/1.1"
    names = sorted(line.split(":")[0] for line in lines if line)
    assert names == [
        *("accept", "accept-encoding", "authorization", "connection"),
        *("content-length", "content-type", "host"),
    ]


def test_a_response_may_have_long_headers() -> None:
    value = "x" * 30_000

    async def ask(http: httpx.AsyncClient) -> None:
        assert (await http.get("/x")).headers["policy"] == value

    run(replying(OK.replace(b"\r\n\r\n", f"\r\nPolicy: {value}\r\n\r\n".encode())), ask)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", httpx.RemoteProtocolError),
        (OK[:-2], httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", httpx.RemoteProtocolError),
    ],
    ids=["nothing", "no HTTP", "less than announced", "no chunk"],
)
def test_a_broken_response_is_an_error_of_its_protocol(
    sent: bytes, error: type[httpx.HTTPError]
) -> None:
    async def ask(http: httpx.AsyncClient) -> None:
        with pytest.raises(error):
            await http.get("/x")

    run(replying(sent), ask)


def test_silence_is_a_read_timeout() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client closes

    async def ask(http: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/x")

    run(handle, ask, timeout=0.3)


def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    async def ask(http: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.LocalProtocolError) as caught:
            await http.get("/x", headers={b"Authorization": b"secret\nX: 1"})
        assert "secret" not in str(caught.value)

    run(replying(OK), ask)
