"""The whole service for a bench: `make run` on free ports, with its own data directory."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from launcher.servers import PostgresServer, RedisServer, start_postgres, start_redis
from tests.harness import ROOT
from tests.harness.ports import free_port

READY_SECONDS = 180


@dataclass(frozen=True)
class Service:
    base_url: str
    api_key: str
    data_dir: Path
    pid: int

    def client(self, *, timeout: float = 60) -> httpx.Client:
        return httpx.Client(
            base_url=f"{self.base_url}/api/v1",
            headers={"X-API-Key": self.api_key},
            timeout=timeout,
            trust_env=False,
        )


@contextmanager
def own_servers() -> Iterator[tuple[Path, PostgresServer, RedisServer]]:
    """A directory in which PostgreSQL and Redis run. All of it is removed at the end."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rag-bench-")))
        database = start_postgres(directory / "postgres")
        stack.callback(database.stop, "immediate")
        redis = start_redis(directory / "redis")
        stack.callback(redis.stop)
        yield directory, database, redis


@contextmanager
def running_service(**settings: object) -> Iterator[Service]:
    """The service with `settings` (names in lower case), stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="rag-bench-", ignore_cleanup_errors=True) as name:
        data_dir, port, key = Path(name), free_port(), f"bench-{secrets.token_hex(16)}"
        chosen = {
            "api_key": key,
            "port": port,
            "flower_port": free_port(),
            "ui_port": free_port(),
            "data_dir": data_dir / "data",
            "model_dir": ROOT / "data" / "models",
            "rate_limit_per_minute": 10_000_000,
            **settings,
        }
        env = os.environ | {name.upper(): str(value) for name, value in chosen.items()}
        with (data_dir / "service.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "launcher"], cwd=ROOT, env=env, stdout=log, stderr=log
            )
        service = Service(f"http://127.0.0.1:{port}", key, data_dir, process.pid)
        try:
            _wait_until_ready(service, process)
            yield service
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait_until_ready(service: Service, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_SECONDS
    log = service.data_dir / "service.log"
    while "Ready." not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text()[-4000:])
        time.sleep(0.2)


def ingest(client: httpx.Client, paths: list[Path], *, user_id: str) -> dict[str, str]:
    """Upload files and wait for their jobs; file names by document id. Raises if one fails."""
    jobs, names = [], {}
    for path in paths:
        answer = client.post(
            "/documents",
            files={"file": (path.name, path.read_bytes(), "application/pdf")},
            data={"user_id": user_id},
        )
        answer.raise_for_status()
        body = answer.json()
        jobs.append(body["job"]["id"])
        names[body["document"]["id"]] = path.name
    for job_id in jobs:
        while (job := client.get(f"/jobs/{job_id}").json())["finished_at"] is None:
            time.sleep(0.5)
        if job["state"] != "succeeded":
            raise RuntimeError(f"{job['state']}: {job['error']}")
    return names
