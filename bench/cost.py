"""Measures the processor time of one request in the web application, without a server.

    python -m bench.cost [--rounds 100] [--calls 15]

Sends appends, lists of 50 messages and gets, one after the other in one thread, through the whole
WSGI application with real PostgreSQL and Redis. It measures processor time, not elapsed time, and
prints the minimum and the tenth percentile of many short rounds, which a busy machine hardly
affects.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bench.api import LISTED, MESSAGE
from core.bootstrap import bootstrap
from core.db import migrate
from core.settings import get_settings
from tests.harness.service import own_servers
from web.app import create_app

KEY = "bench-0123456789abcdef"


@dataclass
class Call:
    """A request that is sent many times, and the seconds that each response took."""

    app: Flask
    method: str
    path: str
    body: dict[str, Any] | None = None
    taken: list[float] = field(default_factory=list)

    def send(self, *, times: int = 1) -> Any:
        """The JSON of the last response. Raises RuntimeError if any response is an error."""
        options: dict[str, Any] = {} if self.body is None else {"json": self.body}
        spent = 0.0
        for _ in range(times):
            builder = EnvironBuilder(self.path, method=self.method, **options)
            builder.headers["X-API-Key"] = KEY
            environ = builder.get_environ()
            started = time.process_time()
            chunks, status, _ = run_wsgi_app(self.app, environ, buffered=True)
            spent += time.process_time() - started
            if not status.startswith("2"):
                raise RuntimeError(status)
        self.taken.append(spent / times)
        return json.loads(b"".join(chunks))


@contextlib.contextmanager
def running_app() -> Iterator[Flask]:
    """The application with its own PostgreSQL and Redis; its log goes to a file."""
    with ExitStack() as stack:
        directory, database, redis = stack.enter_context(own_servers())
        os.environ.update(
            API_KEY=KEY,
            DATABASE_URL=database.url,
            REDIS_URL=redis.url,
            DATA_DIR=str(directory / "data"),
            RATE_LIMIT_PER_MINUTE="10000000",
        )
        migrate(get_settings().database_url)
        services = bootstrap(get_settings(), pool_size=2)
        stack.callback(services.close)
        log = stack.enter_context((directory / "log").open("w"))
        with contextlib.redirect_stdout(log):
            app = create_app(services=services)
        yield app


def calls(app: Flask) -> dict[str, Call]:
    def new_session() -> str:
        made = Call(app, "POST", "/api/v1/sessions", {"user_id": "bench"}).send()
        return f"/api/v1/sessions/{made['id']}/messages"

    listed = new_session()
    message = Call(app, "POST", listed, MESSAGE).send(times=LISTED)
    return {
        "append": Call(app, "POST", new_session(), MESSAGE),
        "list of 50": Call(app, "GET", f"{listed}?limit={LISTED}"),
        "get": Call(app, "GET", f"/api/v1/messages/{message['id']}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--calls", type=int, default=15)
    arguments = parser.parse_args()
    with running_app() as app:
        measured = calls(app)
        for _ in range(arguments.rounds):
            for call in measured.values():
                call.send(times=arguments.calls)
    print("| | least ms | 10th percentile ms |\n| --- | ---: | ---: |")
    for name, call in measured.items():
        found = [1000 * seconds for seconds in sorted(call.taken)]
        print(f"| {name} | {found[0]:.2f} | {found[len(found) // 10]:.2f} |")


if __name__ == "__main__":
    main()
