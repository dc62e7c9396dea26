"""Measures chat streams: delays for many streams, and their effect on other requests.

    python -m bench.chat [--streams 1,16,200] [--tokens 150] [--pause 0.1]

A service with two web processes uses a scripted LLM. Each stream is a turn in a separate session,
and all turns begin at once. The same run also reads the same answers directly from the LLM.
Meanwhile one client requests `GET /sessions/{id}` from the writing process twenty times a second,
and the other process follows all answers. Each delta is the time at which the LLM sent it, so its
delay is known: the time between the LLM's sending and the client's reading. Prints milliseconds,
for the whole round and for the part of it in which all streams are open, and the processor time
of each process. The clients share the processors with the service, so the bench also prints by how
much its own processes are late (p50, p99): the readers of the streams, an event loop that wakes up
every 10 ms, and the process of the GETs. The measured delays include this lag.
"""

import argparse
import asyncio
import math
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.probe import Timed, probing
from bench.processors import ProcessorTimes
from bench.streams import Heard, quantiles, read_stream, watch_loop, within
from launcher.servers import start_postgres, start_redis
from tests.harness.ports import free_port
from tests.harness.stack import ROOT, Stack

PROBE_START_SECONDS = 1.0  # until the process of the probes runs


@dataclass
class Round:
    """The measurements of one round. `used` is the processor time of each process, in seconds."""

    direct: Heard
    followed: Heard
    probes: list[Timed]
    used: dict[str, float] = field(default_factory=dict)


async def read_llm(port: int, writer: Stack, sessions: Sequence[str]) -> Round:
    """Read the same answers directly from the LLM, while the service only answers probes."""
    heard, path = Heard(), "/v1/chat/completions"
    with probing(writer.port, view_of(sessions), writer.api_key) as probes:
        await asyncio.sleep(PROBE_START_SECONDS)
        started, watch = time.monotonic(), asyncio.create_task(watch_loop(heard))
        await asyncio.gather(*(read_stream(port, "POST", path, {}, "", heard) for _ in sessions))
        heard.elapsed = time.monotonic() - started
        watch.cancel()
    return Round(heard, Heard(), probes)


async def through(writer: Stack, reader: Stack, sessions: Sequence[str]) -> Round:
    """Run all turns at once, and listen to each at the writing process and at the other one."""
    direct, followed, key = Heard(), Heard(), writer.api_key

    async def turn(session: str) -> None:
        question: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        path = f"/api/v1/sessions/{session}/chat"
        body: dict[str, object] = {"message": "Hello?", "stream": True, "use_rag": False}
        asked = asyncio.create_task(
            read_stream(writer.port, "POST", path, body, key, direct, question=question)
        )
        await asyncio.wait([question, asked], return_when=asyncio.FIRST_COMPLETED)
        if question.done():  # a second browser tab, at the other process
            path = f"/api/v1/messages/{question.result()}/stream"
            await read_stream(reader.port, "GET", path, None, key, followed)
        await asked

    with probing(writer.port, view_of(sessions), key) as probes:
        await asyncio.sleep(PROBE_START_SECONDS)
        started, watch = time.monotonic(), asyncio.create_task(watch_loop(direct))
        await asyncio.gather(*(turn(session) for session in sessions))
        direct.elapsed = time.monotonic() - started
        watch.cancel()
    return Round(direct, followed, probes)


def view_of(sessions: Sequence[str]) -> str:
    return f"/api/v1/sessions/{sessions[0]}"


def processor_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", default="1,16,200")
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--pause", type=float, default=0.1)
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rag-bench-")))
        llm_port = free_port()
        command = [sys.executable, "-m", "bench.chat_llm", str(llm_port)]
        llm = subprocess.Popen([*command, str(options.tokens), str(options.pause)], cwd=ROOT)
        stack.callback(llm.kill)
        writer, reader = start(stack, directory, llm_port)
        groups = {
            "writing process": writer.pid("web"),
            "other process": reader.pid("web"),
            "PostgreSQL": postmaster(directory),
            "LLM": llm.pid,
        }
        print(f"{processor_name()}, {platform.python_version()}; {options.tokens} tokens a turn")
        print(HEAD)
        for count in map(int, options.streams.split(",")):
            sessions, times = make_sessions(writer, count), ProcessorTimes(groups)
            bare = asyncio.run(read_llm(llm_port, writer, sessions))
            bare.used, times = times.since(), ProcessorTimes(groups)
            measured = asyncio.run(through(writer, reader, sessions))
            measured.used = times.since()
            print(row(f"{count}, LLM alone", bare))
            print(row(str(count), measured), flush=True)


HEAD = """\
| streams | first p50, p99 | turns/s | delay p50, p99 | other process p50, p99 | GET p50, p99 |\
 the same while all are open: delay | other process | GET | lag of the readers | of the GETs |\
 processor time, % of a core | failures |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |"""


def row(name: str, one: Round) -> str:
    """One line of the table."""
    direct, measured = one.direct, (one.direct.delays, one.followed.delays, one.probes)
    always = (0.0, math.inf)
    used = (f"{name} {seconds / direct.elapsed:.0%}" for name, seconds in one.used.items())
    cells = [
        name,
        quantiles(direct.first),
        f"{len(direct.ended) / direct.elapsed:.2f}",
        *(quantiles(within(each, always)) for each in measured),
        *(quantiles(within(each, direct.all_open)) for each in measured),
        quantiles(direct.lags),
        quantiles([probe.lag for probe in measured[2]]),
        ", ".join(used),
        str(direct.failures + one.followed.failures),
    ]
    return f"| {' | '.join(cells)} |"


def start(stack: ExitStack, directory: Path, llm_port: int) -> tuple[Stack, Stack]:
    """Two web servers, one process each, of one service."""
    database = start_postgres(directory / "postgres")
    stack.callback(database.stop, "immediate")
    redis = start_redis(directory / "redis")
    stack.callback(redis.stop)
    env = {
        "CHAT_PROVIDER": "openai",
        "CHAT_BASE_URL": f"http://127.0.0.1:{llm_port}/v1",
        "CHAT_MODEL": "scripted",
        "EMBEDDING_PROVIDER": "openai",
        "EMBEDDING_MODEL": "none",
        "WEB_WORKERS": "1",
        "RATE_LIMIT_PER_MINUTE": "10000000",
        "MODEL_DIR": str(ROOT / "data" / "models"),
    }
    url = database.url.replace("postgresql://", "postgresql+psycopg2://", 1)
    made = []
    for name in ("writer", "reader"):
        if made:
            env = {**env, "API_KEY": made[0].api_key}
        web = Stack(directory / name, database_url=url, redis=redis, env=env)
        if made:
            web.api_key = made[0].api_key
        else:
            web.migrate()
        stack.callback(web.close)
        web.start("web")
        web.wait_ready()
        made.append(web)
    return made[0], made[1]


def postmaster(directory: Path) -> int:
    """The id of PostgreSQL's parent process."""
    return int((directory / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])


def make_sessions(web: Stack, count: int) -> list[str]:
    with web.client() as client:
        body = {"user_id": "bench", "title": "bench"}
        return [client.post("/api/v1/sessions", json=body).json()["id"] for _ in range(count)]


if __name__ == "__main__":
    main()
