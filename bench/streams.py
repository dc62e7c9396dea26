"""The listeners of the benches of event streams, and the quantiles of what they measure."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.probe import Timed

LAG_SECONDS = 0.01
# A delta of the LLM's or the service's stream; its text is the time at which it was sent.
_TOKEN = re.compile(rb'"content": ?"([0-9]+\.[0-9]+) ?"')
_QUESTION = re.compile(rb'"user_message": ?\{"id": ?"([0-9a-f-]+)"')


@dataclass
class Heard:
    """What the listeners of one round measured. `first` is in seconds, the ends are times.

    `lags` are the seconds by which the listeners' own event loop was late (`watch_loop`).
    """

    first: list[float] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    delays: list[Timed] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    failures: int = 0

    @property
    def all_open(self) -> tuple[float, float]:
        """The times between which all streams were open, each after its first token."""
        return max(self.opened, default=0.0), min(self.ended, default=0.0)


class _Listener(asyncio.Protocol):
    """Reads one event stream. It parses no JSON, because the listeners share the processors."""

    def __init__(self, request: bytes, heard: Heard, question: asyncio.Future[str] | None) -> None:
        self._request, self._heard, self._question = request, heard, question
        self._started = time.monotonic()
        self._rest = b""
        self._has_head = self._has_token = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        whole, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        if not self._has_head and (whole or b"\r\n\r\n" in self._rest):
            self._has_head = True
            self._heard.failures += b" 200 " not in (whole or self._rest)[:20]
        if self._question is not None and (question := _QUESTION.search(whole)):
            self._question.set_result(question[1].decode())
            self._question = None
        for token in _TOKEN.finditer(whole):
            sent_at = float(token[1])
            self._heard.delays.append(Timed(sent_at, now - sent_at))
            if not self._has_token:
                self._has_token = True
                self._heard.first.append(now - self._started)
                self._heard.opened.append(now)

    def connection_lost(self, error: Exception | None) -> None:
        self._heard.ended.append(time.monotonic())
        self.over.set_result(None)


async def read_stream(
    port: int,
    method: str,
    path: str,
    body: dict[str, object] | None,
    key: str,
    heard: Heard,
    *,
    question: asyncio.Future[str] | None = None,
) -> None:
    """Read the event stream that a request returns, and record each token's delay.

    `question` gets the id of the question from the stream's first event.
    """
    data = json.dumps(body or {}).encode() if method == "POST" else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    listener = _Listener(head.encode() + data, heard, question)
    await asyncio.get_running_loop().create_connection(lambda: listener, "127.0.0.1", port)
    await listener.over


async def watch_loop(heard: Heard) -> None:
    """Record by how much the loop is late, every LAG_SECONDS, until the task is cancelled.

    A delay that a listener measures includes such a lag.
    """
    while True:
        due = time.monotonic() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        heard.lags.append(time.monotonic() - due)


def within(measured: Sequence[Timed], span: tuple[float, float]) -> list[float]:
    """The durations that began between two times."""
    return [one.seconds for one in measured if span[0] <= one.at <= span[1]]


def ms(values: Sequence[float], share: float) -> str:
    """The quantile `share` of seconds, in milliseconds."""
    if not values:
        return "-"
    ordered = sorted(values)
    return f"{1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]:.0f}"


def quantiles(values: Sequence[float]) -> str:
    """The median and the 99th percentile of seconds, in milliseconds."""
    return f"{ms(values, 0.5)}, {ms(values, 0.99)}"
