"""A minimal app for `bench.servers`: event streams, and a view that waits 3 ms for PostgreSQL.

Every stream sends the same events: one thread ticks ten times a second, and each tick is the
time at which it happened, so that a client can tell how late it is.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg2
from flask import Flask, Response
from psycopg2.pool import ThreadedConnectionPool

from web.http.deferred import DeferredBody, DeferredResponse

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

TICK_SECONDS, EVENTS = 0.1, 80
VIEW = "SELECT pg_sleep(0.003)"


class Ticker:
    """Calls its subscribers ten times a second, as the thread does that stores all answers."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()
        self._subscribers: set[Callable[[], None]] = set()
        self._thread: threading.Thread | None = None

    def subscribe(self, wake: Callable[[], None]) -> None:
        with self._lock:
            self._subscribers.add(wake)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        with self._lock:
            self._subscribers.discard(wake)

    def _run(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            self.now = time.monotonic()
            with self._lock:
                subscribers = list(self._subscribers)
            for wake in subscribers:
                wake()


class Events:
    """One stream: read without blocking by our worker, iterated by any other server."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker, self._wake = ticker, lambda: None
        self._heard, self._sent = 0.0, 0

    @property
    def is_over(self) -> bool:
        return self._sent >= EVENTS

    def read(self) -> list[bytes]:
        if self._ticker.now == self._heard or self.is_over:
            return []
        self._heard = self._ticker.now
        self._sent += 1
        return [b'data: {"content": "%.4f "}\n\n' % self._heard]

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._ticker.subscribe(wake)

    def close(self) -> None:
        self._ticker.unsubscribe(self._wake)

    def __iter__(self) -> Iterator[bytes]:
        news = threading.Event()
        self.subscribe(news.set)
        while not self.is_over:
            news.wait()
            news.clear()
            yield b"".join(self.read())


class Ready:
    """A response that need not be waited for."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def when_ready(self, callback: Callable[[], None]) -> None:
        callback()

    def respond(self) -> Response:
        return Response(self._events, mimetype="text/event-stream", direct_passthrough=True)

    def abandon(self) -> None:
        pass


class Body:
    """What our worker expects of a body (`web.http.request_log`)."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self.deferred = body if isinstance(body, DeferredBody) else None

    def detach(self) -> None:
        pass

    def begin(self) -> Iterable[bytes]:
        self._body = self._body.begin()
        return self._body  # type: ignore[no-any-return]

    def count(self, size: int) -> None:
        pass

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def create_app() -> Any:
    """The WSGI application; DATABASE_URL names the database."""
    if os.environ.get("BENCH_GEVENT"):
        _let_psycopg2_yield()
    app, ticker = Flask(__name__), Ticker()
    pool = ThreadedConnectionPool(1, 20, os.environ["DATABASE_URL"])

    @app.get("/stream")
    def stream() -> Response:
        return DeferredResponse(Ready(Events(ticker)))

    @app.get("/view")
    def view() -> dict[str, bool]:
        connection = pool.getconn()
        try:
            connection.cursor().execute(VIEW)
            connection.rollback()
        finally:
            pool.putconn(connection)
        return {"ok": True}

    def call(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return Body(app(environ, start_response))

    return call


def _let_psycopg2_yield() -> None:
    """What the package psycogreen does: gevent's hub runs while libpq waits."""
    from gevent.socket import wait_read, wait_write

    def wait(connection: Any) -> None:
        while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
            wait_for = wait_read if state == psycopg2.extensions.POLL_READ else wait_write
            wait_for(connection.fileno())

    psycopg2.extensions.set_wait_callback(wait)


if os.environ.get("BENCH_SERVERS"):
    application = create_app()
