"""A client of event streams: reads a turn to its end, or resumes it on another process."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import httpx

from tests.functional.faults.conftest import Client

Events = list[tuple[str, str, Any]]  # id, name, data

TERMINAL = {"message_completed", "error"}
SHORT = 200  # bytes: some events


def new_session(web: Client) -> str:
    """A session's path. It has a title, so no model is asked for one."""
    made = web.http.post("/api/v1/sessions", json={"user_id": "alice", "title": "t"}).json()
    return f"/api/v1/sessions/{made['id']}"


def parse(block: str) -> tuple[str, str, Any]:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    return fields["id"], fields["event"], json.loads(fields["data"])


def listen(response: httpx.Response, *, deltas: int | None = None) -> Events:
    """The events of a stream: all, or until it has brought so many deltas."""
    heard: Events = []
    block: list[str] = []
    try:
        for line in response.iter_lines():
            if line:
                block.append(line)
                continue
            if block and not block[0].startswith(":"):
                heard.append(parse("\n".join(block)))
            block = []
            if deltas is not None and sum(name == "delta" for _, name, _ in heard) >= deltas:
                break
    except httpx.TransportError:
        pass  # the server was killed: the events that came whole count
    return heard


def ask(
    web: Client, session: str, *, question: str = "Hello?", deltas: int | None = None
) -> Events:
    """Ask, and read the answer to its end, or disconnect after `deltas` deltas."""
    body = {"message": question, "stream": True, "use_rag": False}
    with web.http.stream("POST", f"{session}/chat", json=body) as response:
        return listen(response, deltas=deltas)


def resume(web: Client, message_id: str, heard: Events) -> Events:
    """Return the events after the last one of `heard`."""
    headers = {"Last-Event-ID": heard[-1][0]} if heard else {}
    path = f"/api/v1/messages/{message_id}/stream"
    with web.http.stream("GET", path, headers=headers, timeout=120) as response:
        assert response.status_code == 200
        return listen(response)


def active(web: Client, session: str) -> str | None:
    """The id of the answer that is being written in a session."""
    active: str | None = web.http.get(session).json()["active_message_id"]
    return active


def message(web: Client, message_id: str) -> dict[str, Any]:
    found: dict[str, Any] = web.http.get(f"/api/v1/messages/{message_id}").json()
    return found


def items_of(web: Client, session: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = web.http.get(f"{session}/messages").json()["items"]
    return items


def text_of(events: Events) -> str:
    return "".join(data["content"] for _, name, data in events if name == "delta")


class RestlessListener:
    """Disconnects after a random number of bytes, also inside an event; resumes on another process.

    After a connection without a complete event, it reads more bytes. `webs` is called before each
    connection and returns the running processes.
    """

    def __init__(self, webs: Callable[[], Sequence[Client]], message_id: str, *, seed: int) -> None:
        self._webs, self._message_id, self._dice = webs, message_id, Random(seed)
        self.heard: Events = []
        self.cuts = 0

    def run(self) -> Events:
        """Return all events of the answer."""
        longest = SHORT
        while not (self.heard and self.heard[-1][1] in TERMINAL):
            webs, known = self._webs(), len(self.heard)
            self._listen(webs[self.cuts % len(webs)], size=self._dice.randint(1, longest))
            longest = 2 * longest if len(self.heard) == known else SHORT
            self.cuts += 1
        return self.heard

    def _listen(self, web: Client, *, size: int) -> None:
        headers = {"Last-Event-ID": self.heard[-1][0]} if self.heard else {}
        path, data = f"/api/v1/messages/{self._message_id}/stream", b""
        try:
            with web.http.stream("GET", path, headers=headers) as response:
                assert response.status_code == 200, response.read()
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) >= size:
                        break
        except httpx.TransportError:
            pass  # killed meanwhile
        blocks = data[:size].decode("utf-8", "ignore").split("\n\n")[:-1]
        self.heard += [parse(block) for block in blocks if not block.startswith(":")]
