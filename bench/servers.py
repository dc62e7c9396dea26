"""WSGI servers under many event streams: how late events are, and what is left for a short view.

    python -m bench.servers [--streams 200] [--servers ours,gthread,gevent,granian]

One process of each server runs the same app (`bench.servers_app`). gevent and granian are no
requirements of the project: `pip install` them first, or leave them out. Prints milliseconds.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil

from bench.chat import PROBE_START_SECONDS, processor_name
from bench.probe import Timed, probing
from bench.processors import processor_seconds
from bench.streams import Heard, ms, read_stream
from launcher.servers import start_postgres
from tests.harness.ports import free_port
from tests.harness.stack import ROOT

APP = "bench.servers_app:application"
GUNICORN = [sys.executable, "-m", "gunicorn", "--workers", "1", "--log-level", "error", APP]
OURS = "web.server.gunicorn_worker.GatheringWorker"


def command_of(server: str, *, port: int, streams: int) -> list[str]:
    threads = str(streams + 16)
    bind = ["--bind", f"127.0.0.1:{port}", "--worker-connections", "1000"]
    match server:
        case "ours":
            return [*GUNICORN, *bind, "--worker-class", OURS, "--threads", "16"]
        case "gthread":
            return [*GUNICORN, *bind, "--worker-class", "gthread", "--threads", threads]
        case "gevent":
            return [*GUNICORN, *bind, "--worker-class", "gevent"]
        case "granian":
            options = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
            options += ["--workers", "1", "--blocking-threads", threads, "--no-ws"]
            options += ["--log-level", "error"]
            return [sys.executable, "-m", "granian", *options, APP]
    raise SystemExit(f"unknown server: {server}")


async def measure(port: int, streams: int) -> tuple[Heard, list[Timed]]:
    """All streams at once, and the view twenty times a second meanwhile."""
    heard = Heard()
    with probing(port, "/view", "none") as probes:
        await asyncio.sleep(PROBE_START_SECONDS)
        started = time.monotonic()
        reads = (read_stream(port, "GET", "/stream", None, "none", heard) for _ in range(streams))
        await asyncio.gather(*reads)
        heard.elapsed = time.monotonic() - started
    return heard, probes


def run(server: str, *, streams: int, url: str) -> str:
    """One line of the table."""
    port = free_port()
    env = os.environ | {"DATABASE_URL": url, "BENCH_SERVERS": "1", "API_KEY": "x" * 20}
    env["REDIS_URL"] = "redis://127.0.0.1:1/0"
    if server == "gevent":
        env["BENCH_GEVENT"] = "1"
    process = subprocess.Popen(command_of(server, port=port, streams=streams), cwd=ROOT, env=env)
    try:
        wait_ready(port)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        before = processor_seconds(process.pid)
        heard, probes = asyncio.run(measure(port, streams))
        seconds = processor_seconds(process.pid) - before
        resident = max(one.memory_info().rss for one in family) / 2**20
    finally:
        process.terminate()
        process.wait(60)
    delays, views = [one.seconds for one in heard.delays], [one.seconds for one in probes]
    return (
        f"| {server} | {ms(heard.first, 0.5)} | {ms(delays, 0.5)} | {ms(delays, 0.99)}"
        f" | {ms(views, 0.5)} | {ms(views, 0.99)} | {seconds / heard.elapsed * 100:.0f} %"
        f" | {resident:.0f} MiB | {heard.failures} |"
    )


def wait_ready(port: int) -> None:
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{port}/view", trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--servers", default="ours,gthread,gevent,granian")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rag-bench-")))
        database = start_postgres(directory / "postgres")
        stack.callback(database.stop, "immediate")
        print(f"{processor_name()}; {options.streams} streams, ten events a second each")
        print(
            "| server | first p50 | delay p50 | delay p99 | view p50 | view p99 | processor"
            " | memory | failures |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )
        for server in options.servers.split(","):
            if server in ("gevent", "granian") and find_spec(server) is None:
                print(f"| {server} | not installed |")
                continue
            print(run(server, streams=options.streams, url=database.url), flush=True)


if __name__ == "__main__":
    main()
