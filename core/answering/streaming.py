"""A streamed HTTP request that can be aborted at any moment, also while it waits.

A blocking read cannot be interrupted; an asynchronous one can be cancelled. So requests run on
an event loop in a separate thread, while the caller's thread polls `should_stop`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import wait
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import httpx

POLL_SECONDS = 0.2
_LAST_SECONDS = 3.0  # after the finish reason only the usage can follow
# At most this often is the caller's thread woken. Tokens that arrive meanwhile are read together.
PAUSE_SECONDS = 0.05
MAX_AHEAD = 16  # chunks of a body, of up to 128 KiB, that are read before they are asked for
T = TypeVar("T")


class Stopped(Exception):
    """`should_stop` returned True."""


class LoopThread:
    """An event loop in a daemon thread, started at its first use. Safe to share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T], *, should_stop: Callable[[], bool]) -> T:
        """Run `coroutine` and return its result, or raise its exception.

        Calls `should_stop` every POLL_SECONDS. When that returns True, cancels the coroutine,
        waits for its end and raises Stopped. An exception of `should_stop` has the same effect.
        """
        tasks: list[asyncio.Task[Any] | None] = []

        async def call() -> T:
            tasks.append(asyncio.current_task())
            return await coroutine

        def cancel() -> None:
            for task in tasks:
                task and task.cancel()

        loop = self._started()
        future = asyncio.run_coroutine_threadsafe(call(), loop)
        try:
            while not wait([future], timeout=POLL_SECONDS).done:
                if should_stop():
                    raise Stopped
        finally:
            # Repeat until the task has ended: a task that has not begun cannot be cancelled.
            while not future.done():
                loop.call_soon_threadsafe(cancel)
                wait([future], timeout=POLL_SECONDS)
        return future.result()

    def close(self) -> None:
        """Stop the thread, if it runs. No call of `run` may be in progress."""
        if self._loop is None or self._thread is None:
            return
        self.run(self._loop.shutdown_asyncgens(), should_stop=_never)
        self.run(self._loop.shutdown_default_executor(), should_stop=_never)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="answering", daemon=True
                )
                self._thread.start()
            return self._loop


class Exchange:
    """One request and the body of its response; each wait ends soon after `should_stop`.

    `timeout` bounds the seconds of waiting between two calls of `heard_token`. httpx's own
    timeout would not do: comments in the stream restart it. Time that the consumer takes does
    not count. Methods raise Stopped and httpx's errors.
    """

    def __init__(
        self,
        *,
        loop: LoopThread,
        client: httpx.AsyncClient,
        timeout: float,
        should_stop: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._client = client
        self._timeout = timeout
        self._should_stop = should_stop
        self._response: httpx.Response | None = None
        self._reader: asyncio.Task[None] | None = None
        # What the loop has read: chunks, then the error that ended the body, or None.
        self._inbox: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        self._waited = 0.0
        self._patience: float | None = None

    def open(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return the response before its body is read."""
        return self._run(self._open(request))

    def heard_token(self) -> None:
        self._waited = 0.0

    def expect_end(self) -> None:
        """The answer is complete: from now on wait only a few seconds for more."""
        self._patience = min(_LAST_SECONDS, self._timeout)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._should_stop():
            raise Stopped
        if self._waited > self._timeout:
            raise httpx.ReadTimeout("no token in time")
        started = time.monotonic()
        chunk = self._take()
        self._waited += time.monotonic() - started
        if isinstance(chunk, Exception):
            raise chunk
        if chunk is None:
            raise StopIteration
        return chunk

    def _take(self) -> bytes | Exception | None:
        started = time.monotonic()
        while True:
            try:
                return self._inbox.get(timeout=POLL_SECONDS)
            except Empty:
                if self._should_stop():
                    raise Stopped from None
            if self._patience is not None and time.monotonic() - started > self._patience:
                return httpx.ReadTimeout("the stream stays open")

    def close(self) -> None:
        """Give the connection back to the pool, or close it if the body is not read to its end."""
        self._loop.run(self._close(), should_stop=_never)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(coroutine, should_stop=self._should_stop)

    async def _open(self, request: httpx.Request) -> httpx.Response:
        self._response = await self._client.send(request, stream=True)
        self._reader = asyncio.create_task(self._read(self._response))
        return self._response

    async def _read(self, response: httpx.Response) -> None:
        """Read ahead of the caller: no chunk waits until its thread asks for it."""
        try:
            async for chunk in response.aiter_bytes():
                self._inbox.put(chunk)
                await asyncio.sleep(PAUSE_SECONDS)
                while self._inbox.qsize() >= MAX_AHEAD:
                    await asyncio.sleep(POLL_SECONDS)
            self._inbox.put(None)
        except Exception as error:
            self._inbox.put(error)

    async def _close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._response is not None:
            await self._response.aclose()


def _never() -> bool:
    return False
