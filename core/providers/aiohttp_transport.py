"""Sends httpx's requests with aiohttp, whose parser is written in C.

httpx's own transport parses HTTP in Python. For a stream of small chunks, it takes four times
as much processor time.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

_BUFFERED_BYTES = 64 * 1024  # per response; aiohttp stops reading at twice as many
# The longest line of a response's head. aiohttp's default, 8 KiB, is less than some gateways send.
_MAX_HEAD_LINE = 64 * 1024
# The first class that matches an error of aiohttp gives its class in httpx.
_ERRORS: tuple[tuple[type[Exception], type[httpx.RequestError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (HttpProcessingError, httpx.RemoteProtocolError),
    (OSError, httpx.ReadError),
    (aiohttp.ClientError, httpx.ReadError),
    (ValueError, httpx.LocalProtocolError),  # a header or a URL that no request can contain
)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """A transport for direct connections; it knows no proxies. Raises httpx's errors.

    The number of connections is not limited. The errors' texts do not quote headers.
    """

    def __init__(self, *, verify: ssl.SSLContext) -> None:
        self._verify = verify
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions.get("timeout", {})
        with _httpx_errors():
            response = await self._started().request(
                request.method,
                _address(request.url),
                headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
                data=await request.aread(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Body(response), request=request
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _started(self) -> aiohttp.ClientSession:
        """The session. It belongs to the event loop of the first request."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._verify, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                auto_decompress=False,
                read_bufsize=_BUFFERED_BYTES,
                max_line_size=_MAX_HEAD_LINE,
                max_field_size=_MAX_HEAD_LINE,
            )
        return self._session


def _address(url: httpx.URL) -> URL:
    """Return `url` without the user and the password, of which httpx has made a header."""
    return _parsed(str(url.copy_with(userinfo=b"") if url.userinfo else url))


# An answerer sends all its requests to the same URL.
_parsed = lru_cache(maxsize=16)(partial(URL, encoded=True))


class _Body(httpx.AsyncByteStream):
    """The body of a response. Each iteration gives all the bytes that have arrived."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for data in self._response.content.iter_any():
                yield data

    async def aclose(self) -> None:
        """Close the connection, unless the whole body was read and it may be used again."""
        self._response.close()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for theirs, ours in _ERRORS:
            if isinstance(error, theirs):
                raise ours(type(error).__name__) from None
        raise
