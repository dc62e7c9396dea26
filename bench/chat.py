"""Measures chat streams: delays for many streams, and their effect on other requests.

    python -m bench.chat [--streams 1,16,200] [--tokens 50] [--pause 0.1]

A service with two web processes uses a scripted LLM. Each stream is a turn in a separate session.
The same run also reads the same answers directly from the LLM. Meanwhile one client requests
`GET /sessions/{id}` from the writing process twenty times a second, and the other process follows
all answers. Each delta is the time at which the LLM sent it, so its delay is known. Prints
milliseconds; a delay is the time between the LLM's sending and the client's reading.
"""

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from launcher.servers import start_postgres, start_redis
from tests.harness.ports import free_port
from tests.harness.stack import ROOT, Stack

PROBES_PER_SECOND = 20


@dataclass
class Delays:
    """The measurements of one round's listeners, in seconds."""

    first: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    failures: int = 0


async def read_stream(
    port: int,
    method: str,
    path: str,
    body: dict[str, object] | None,
    key: str,
    heard: Delays,
    *,
    question: asyncio.Future[str] | None = None,
) -> None:
    """Read the event stream that a request returns, and record each token's delay.

    `question` gets the id of the question from the stream's first event.
    """
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    data = json.dumps(body or {}).encode() if method == "POST" else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    status = await reader.readline()
    if b" 200 " not in status:
        heard.failures += 1
        return
    is_first = True
    async for line in reader:
        now = time.monotonic()
        if question is not None and not question.done() and b'"user_message"' in line:
            question.set_result(json.loads(line[6:])["user_message"]["id"])
        token = token_in(line)
        if token is None:
            continue
        heard.delays.append(now - token)
        if is_first:
            heard.first.append(now - started)
            is_first = False
    writer.close()


def token_in(line: bytes) -> float | None:
    """The time in a delta of the LLM's or the service's stream."""
    if not line.startswith(b"data: {"):
        return None
    data = json.loads(line[6:])
    choices = data.get("choices")
    content = choices[0]["delta"].get("content") if choices else data.get("content")
    try:
        return float(content)
    except (TypeError, ValueError):
        return None


async def probe(port: int, path: str, key: str, until: asyncio.Event) -> list[float]:
    """The seconds that each `GET path` takes, until the event is set."""
    taken = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while not until.is_set():
            started = time.monotonic()
            response = await client.get(path, headers={"X-API-Key": key}, timeout=30)
            response.raise_for_status()
            taken.append(time.monotonic() - started)
            await asyncio.sleep(max(0.0, 1 / PROBES_PER_SECOND - taken[-1]))
    return taken


async def read_llm(port: int, count: int) -> Delays:
    """Read the same answers directly from the LLM."""
    heard, started = Delays(), time.monotonic()
    path = "/v1/chat/completions"
    await asyncio.gather(*(read_stream(port, "POST", path, {}, "", heard) for _ in range(count)))
    heard.elapsed = time.monotonic() - started
    return heard


async def through(
    writer: Stack, reader: Stack, sessions: Sequence[str]
) -> tuple[Delays, Delays, list[float]]:
    """Run all turns at once; the delays at the writing process, at the other one, and of probes."""
    direct, followed, over = Delays(), Delays(), asyncio.Event()
    key = writer.api_key
    idle = f"/api/v1/sessions/{sessions[0]}"
    probes = asyncio.create_task(probe(writer.port, idle, key, over))
    started = time.monotonic()

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

    await asyncio.gather(*(turn(session) for session in sessions))
    direct.elapsed = time.monotonic() - started
    over.set()
    return direct, followed, await probes


def processor_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def ms(values: Sequence[float], share: float) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    return f"{1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", default="1,16,200")
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.1)
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rag-bench-")))
        llm_port = free_port()
        command = [sys.executable, "-m", "bench.chat_llm", str(llm_port)]
        llm = subprocess.Popen([*command, str(options.tokens), str(options.pause)], cwd=ROOT)
        stack.callback(llm.kill)
        writer, reader = start(stack, directory, llm_port)
        print(f"{processor_name()}, {platform.python_version()}; {options.tokens} tokens a turn")
        print(HEAD)
        for count in map(int, options.streams.split(",")):
            sessions = make_sessions(writer, count)
            bare = asyncio.run(read_llm(llm_port, count))
            print(row(count, bare, *asyncio.run(through(writer, reader, sessions))), flush=True)


HEAD = """\
| streams | LLM alone: first p50 | turns/s | first p50 | turns/s | share of the LLM's |\
 delay p50, p99 | other process: delay p50, p99 | GET p50, p99 | failures |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def row(count: int, bare: Delays, direct: Delays, followed: Delays, probes: Sequence[float]) -> str:
    """One line of the table."""
    cells = [
        str(count),
        ms(bare.first, 0.5),
        f"{count / bare.elapsed:.2f}",
        ms(direct.first, 0.5),
        f"{count / direct.elapsed:.2f}",
        f"{bare.elapsed / direct.elapsed:.2f}",
        *(f"{ms(one, 0.5)}, {ms(one, 0.99)}" for one in (direct.delays, followed.delays, probes)),
        str(direct.failures + followed.failures),
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


def make_sessions(web: Stack, count: int) -> list[str]:
    with web.client() as client:
        body = {"user_id": "bench", "title": "bench"}
        return [client.post("/api/v1/sessions", json=body).json()["id"] for _ in range(count)]


if __name__ == "__main__":
    main()
