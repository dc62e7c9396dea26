"""Measures append, list and get with all features on, next to a minimal service.

    python -m bench.api [--rounds 5] [--seconds 3] [--markdown]

Each round measures the service; a bare Flask view behind the same gunicorn configuration;
and only the append's statement with its commit, through psycopg2. wrk is the client, with
one thread, which needs a tenth of a core. Each of its connections appends to a separate
session; a list has 50 messages. The output is the median of the rounds.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
from psycopg2.extras import Json
from sqlalchemy.dialects.postgresql.psycopg2 import dialect

from core.conversations import messages
from launcher.servers import PostgresServer
from tests.harness.ports import free_port
from tests.harness.service import ROOT, Service, own_servers, running_service

CLIENTS = (1, 16)
LISTED = 50
TEXT = "How high is the lighthouse of Norrskar, and when was its lamp first lit?"
MESSAGE = {"sender": "user", "content": TEXT}

SCRIPT = """
local paths, bodies = {%(paths)s}, {%(bodies)s}
local turn = 0
wrk.method = %(method)s
wrk.headers["X-API-Key"] = "%(key)s"
wrk.headers["Content-Type"] = "application/json"
request = function()
  turn = turn + 1
  return wrk.format(nil, paths[turn %% #paths + 1], nil, bodies[turn %% #bodies + 1])
end
done = function(summary, latency)
  local errors = summary.errors
  local form = "\\n{\\"rate\\": %%f, \\"p50\\": %%f, \\"p99\\": %%f, \\"errors\\": %%d}\\n"
  io.write(string.format(form,
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """Requests that wrk repeats, cycling through `paths` and, where they post, `bodies`."""

    base_url: str
    paths: list[str]
    key: str = ""
    bodies: Sequence[dict[str, Any]] = ()

    def run(self, *, clients: int, seconds: float) -> dict[str, float]:
        """Requests per second, milliseconds at p50 and p99. Raises if one request failed."""
        script = SCRIPT % {
            "paths": ", ".join(f'"{path}"' for path in self.paths),
            "method": '"POST"' if self.bodies else '"GET"',
            "bodies": ", ".join(json.dumps(json.dumps(body)) for body in self.bodies),
            "key": self.key,
        }
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write(script)
            file.flush()
            command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", file.name]
            ran = subprocess.run(
                [*command, self.base_url], capture_output=True, text=True, check=True
            )
        found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
        if found.pop("errors"):
            raise RuntimeError(ran.stdout)
        return found


@contextmanager
def bare_service(environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
    env = os.environ | environment | {"PORT": str(port), "API_KEY": "bench"}
    with subprocess.Popen([*command, "bench.bare:app"], cwd=ROOT, env=env) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url)
            yield url
        finally:
            process.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/health/live", trust_env=False)
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def insert_only(url: str, sessions: list[str], *, clients: int, seconds: float) -> dict[str, Any]:
    """The append's statement and its commit, `clients` connections, no service."""
    statement = str(messages._APPEND.compile(dialect=dialect()))
    taken: list[list[float]] = [[] for _ in range(clients)]
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = psycopg2.connect(url)
        with connection.cursor() as cursor:
            while time.monotonic() < end:
                started = time.perf_counter()
                cursor.execute(statement, _values(sessions[number]))
                connection.commit()
                taken[number].append(1000 * (time.perf_counter() - started))
        connection.close()

    threads = [threading.Thread(target=client, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(chain.from_iterable(taken))
    return {
        "rate": len(times) / seconds,
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
    }


def _values(session_id: str) -> dict[str, Any]:
    return {
        "tenant_id": "default",
        "session_id": session_id,
        "id": str(uuid4()),
        **MESSAGE,
        "context_metadata": Json({}),
        "retrieved_context": Json([]),
        "status": "complete",
        "model": None,
        "usage": None,
        "reply_to": None,
    }


@dataclass
class Prepared:
    """Sessions for appending, one per client, and one of 50 messages for reading."""

    appended: list[str]
    listed: str
    message: str


def prepare(service: Service) -> Prepared:
    with service.client() as client:
        ids = [
            client.post("/sessions", json={"user_id": "bench"}).json()["id"]
            for _ in range(max(CLIENTS) + 1)
        ]
        for _ in range(LISTED):
            made = client.post(f"/sessions/{ids[0]}/messages", json=MESSAGE)
            made.raise_for_status()
    return Prepared(ids[1:], ids[0], made.json()["id"])


def loads(service: Service, bare_url: str, prepared: Prepared) -> dict[str, Load]:
    def load(*paths: str, bodies: Sequence[dict[str, Any]] = ()) -> Load:
        return Load(service.base_url, [f"/api/v1{p}" for p in paths], service.api_key, bodies)

    return {
        "append": load(
            *[f"/sessions/{id_}/messages" for id_ in prepared.appended], bodies=[MESSAGE]
        ),
        "list of 50": load(f"/sessions/{prepared.listed}/messages?limit={LISTED}"),
        "get": load(f"/messages/{prepared.message}"),
        "bare Flask view": Load(bare_url, ["/health/live"]),
    }


def measure(*, rounds: int, seconds: float) -> dict[tuple[str, int], dict[str, float]]:
    """Medians by (measurement, number of clients)."""
    found: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    with _everything() as (service, bare_url, database):
        prepared = prepare(service)
        runs: dict[str, Callable[..., dict[str, Any]]] = {
            name: load.run for name, load in loads(service, bare_url, prepared).items()
        }
        runs["INSERT alone"] = lambda **options: insert_only(
            database.url, prepared.appended, **options
        )
        for number in range(rounds + 1):
            for name, run in runs.items():
                for clients in CLIENTS:
                    result = run(clients=clients, seconds=seconds if number else 1)
                    if number:  # the first round warms up
                        found[name, clients].append(result)
    return {
        place: {name: statistics.median(one[name] for one in results) for name in results[0]}
        for place, results in found.items()
    }


@contextmanager
def _everything() -> Iterator[tuple[Service, str, PostgresServer]]:
    with ExitStack() as stack:
        directory, database, redis = stack.enter_context(own_servers())
        servers = {"DATABASE_URL": database.url, "REDIS_URL": redis.url}
        named = {name.lower(): value for name, value in servers.items()}
        service = stack.enter_context(running_service(**named))
        bare_url = stack.enter_context(bare_service(servers | {"DATA_DIR": str(directory)}))
        yield service, bare_url, database


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This needs wrk, Debian's package of that name.")
    print("| | clients | per second | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: | ---: |")
    for (name, clients), row in measure(rounds=arguments.rounds, seconds=arguments.seconds).items():
        print(f"| {name} | {clients} | {row['rate']:.0f} | {row['p50']:.2f} | {row['p99']:.1f} |")


if __name__ == "__main__":
    main()
