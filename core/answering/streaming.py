"""Streamed HTTP requests that can be aborted at any moment, also while they wait.

A blocking read cannot be interrupted; an asynchronous one can be cancelled. So requests run on
an event loop in a separate thread, which also polls `should_stop`, while the caller's thread waits.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import wait
from typing import Any, Generic, TypeVar

import httpx

POLL_SECONDS = 0.2
_LAST_SECONDS = 3.0  # after the finish reason only the usage can follow
T = TypeVar("T")


class Stopped(Exception):
    """`should_stop` returned True."""


class Call(Generic[T]):
    """A coroutine that runs on an event loop in another thread.

    The loop calls `should_stop` every POLL_SECONDS. Once that returns True or raises, the
    coroutine is cancelled.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        should_stop: Callable[[], bool],
    ) -> None:
        self._loop, self._should_stop = loop, should_stop
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped_by: Exception | None = None
        self._future = asyncio.run_coroutine_threadsafe(self._run(coroutine), loop)

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        self._poll_later()
        try:
            return await coroutine
        except asyncio.CancelledError:
            if self._stopped_by is None:
                raise
            raise self._stopped_by from None
        finally:
            assert self._timer is not None
            self._timer.cancel()

    def _poll_later(self) -> None:
        self._timer = self._loop.call_later(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        # In the loop's thread: a thread per call that polls would need the interpreter lock
        # five times a second.
        try:
            if self._stopped_by is None and self._should_stop():
                self._stopped_by = Stopped()
        except Exception as error:
            self._stopped_by = error
        if self._stopped_by is not None:
            self._cancel()
        self._poll_later()  # repeats a cancel that the coroutine has caught

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end of the coroutine, in the loop's thread."""
        self._future.add_done_callback(lambda _: callback())

    def end(self) -> None:
        """Cancel the coroutine unless it has ended, and wait for its end."""
        # Repeat until the task has ended: a task that has not begun cannot be cancelled.
        while not self._future.done():
            self._loop.call_soon_threadsafe(self._cancel)
            wait([self._future], timeout=POLL_SECONDS)

    def result(self) -> T:
        """Wait for the end of the coroutine; return its result, or raise its exception.

        Raises Stopped, or the exception of `should_stop`, if that ended the coroutine.
        """
        return self._future.result()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class LoopThread:
    """An event loop in a daemon thread, started at its first use. Safe to share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T], *, should_stop: Callable[[], bool]) -> T:
        """Run `coroutine` and return its result, or raise its exception.

        The loop's thread calls `should_stop` every POLL_SECONDS. When that returns True, cancels
        the coroutine and raises Stopped. An exception of `should_stop` has the same effect.
        """
        call = self.start(coroutine, should_stop=should_stop)
        try:
            return call.result()
        finally:
            call.end()

    def start(
        self, coroutine: Coroutine[Any, Any, T], *, should_stop: Callable[[], bool]
    ) -> Call[T]:
        """Run `coroutine`, and return at once. The caller must call `end`."""
        return Call(self._started(), coroutine, should_stop)

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
    """One request and the body of its response. Methods raise httpx's errors.

    `timeout` bounds the seconds of waiting between two calls of `heard_token`. httpx's own
    timeout would not do: comments in the stream restart it.
    """

    def __init__(self, *, client: httpx.AsyncClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._response: httpx.Response | None = None
        self._body: AsyncIterator[bytes] | None = None
        self._waited = 0.0
        self._patience: float | None = None

    async def open(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return the response before its body is read."""
        self._response = await self._client.send(request, stream=True)
        self._body = self._response.aiter_bytes()
        return self._response

    def heard_token(self) -> None:
        self._waited = 0.0

    def expect_end(self) -> None:
        """The answer is complete: from now on wait only a few seconds for more."""
        self._patience = min(_LAST_SECONDS, self._timeout)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        assert self._body is not None
        if self._waited > self._timeout:
            raise httpx.ReadTimeout("no token in time")
        started = time.monotonic()
        try:
            return await self._read(self._body)
        finally:
            self._waited += time.monotonic() - started

    async def _read(self, body: AsyncIterator[bytes]) -> bytes:
        if self._patience is None:
            return await anext(body)
        try:
            async with asyncio.timeout(self._patience):
                return await anext(body)
        except TimeoutError:
            raise httpx.ReadTimeout("the stream stays open") from None

    async def close(self) -> None:
        """Give the connection back to the pool, or close it if the body is not read to its end."""
        if self._response is not None:
            await self._response.aclose()


def _never() -> bool:
    return False
