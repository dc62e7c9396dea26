"""A real HTTP server that speaks OpenAI's chat, embedding and model endpoints.

    with LLMServer() as llm:
        llm.script(Reply(status=429, headers={"Retry-After": "0"}), Reply(deltas=["Hi"]))
        ...  # base_url is llm.base_url
        assert llm.requests[0].body["model"] == "test-model"

Unscripted requests get `llm.default`. Scripts are kept per path; each reply serves once.
"""

import hashlib
import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.server_thread import ServerThread

CHAT, EMBEDDINGS, MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"


@dataclass(frozen=True)
class Reply:
    """How one request is answered.

    A `body` (a dict is sent as JSON) or `chunks` (bytes, one write each) replace the usual
    response. Delays are in seconds. `stall_after=n` stops sending after n deltas, for
    `stall_seconds`. `drop_after=n` cuts the connection after n deltas.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | str | None = None
    chunks: Sequence[bytes] | None = None
    deltas: Sequence[str] = ("Hello", " from", " the", " model.")
    delay: float = 0.0
    delay_between: float = 0.0
    stall_after: int | None = None
    stall_seconds: float = 30.0
    drop_after: int | None = None
    finish_reason: str | None = "stop"
    done: bool = True
    usage: tuple[int, int] | None = (11, 7)
    # Embeddings only: the vectors to return instead of the deterministic ones.
    vectors: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class Recorded:
    """One request as it came in; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float

    @property
    def is_for_title(self) -> bool:
        """Whether the LLM is asked for the title of a session, and not for an answer."""
        return "Write a title" in str(self.body)


class LLMServer(ServerThread):
    """Serves on a free port of 127.0.0.1 between `start` and `stop`, or inside `with`."""

    def __init__(self, *, port: int = 0, dimensions: int = 384, model: str = "test-model") -> None:
        self.default = Reply()
        self.dimensions = dimensions
        self.model = model
        self.requests: list[Recorded] = []
        # The number of clients that disconnected before the end of their response.
        self.disconnects = 0
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        super().__init__(_Server(("127.0.0.1", port), self))

    @property
    def base_url(self) -> str:
        return f"http://{self.address}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """Settings by which a service chats and embeds with this server."""
        return {
            "EMBEDDING_PROVIDER": "openai",
            "EMBEDDING_BASE_URL": self.base_url,
            "EMBEDDING_MODEL": "e",
            "CHAT_PROVIDER": "openai",
            "CHAT_BASE_URL": self.base_url,
            "CHAT_MODEL": "m",
        }

    def stop(self) -> None:
        self._stopping.set()
        super().stop()

    def script(self, *replies: Reply, path: str = CHAT) -> None:
        """Answer the next requests to `path` with these, one each, in order."""
        with self._lock:
            self._scripts[path].extend(replies)

    def forget_scripts(self) -> None:
        """Drop replies that no request has taken, and the count of clients that disconnected."""
        with self._lock:
            self._scripts.clear()
            self.disconnects = 0

    def requests_to(self, path: str) -> list[Recorded]:
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def answer_requests(self) -> list[Recorded]:
        """Chat requests for answers; those for a session's title are left out."""
        chats = self.requests_to(CHAT)
        return [request for request in chats if not request.is_for_title]

    def wait_for_disconnect(self, seconds: float = 30.0) -> bool:
        until = time.monotonic() + seconds
        while not self.disconnects and time.monotonic() < until:
            time.sleep(0.01)
        return self.disconnects > 0

    def record(self, request: Recorded) -> Reply:
        with self._lock:
            self.requests.append(request)
            script = self._scripts[request.path]
            return script.popleft() if script else self.default

    def count_disconnect(self) -> None:
        with self._lock:
            self.disconnects += 1

    def sleep(self, seconds: float) -> None:
        """Sleep, but not past `stop`."""
        if seconds > 0:
            self._stopping.wait(seconds)

    def embed(self, text: str) -> list[float]:
        """A unit vector. Texts that share words have similar vectors."""
        vector = [0.0] * self.dimensions
        for word in text.lower().split() or [""]:
            digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
            for offset in range(0, 16, 4):
                vector[int.from_bytes(digest[offset : offset + 4], "big") % self.dimensions] += 1.0
        norm = sum(value * value for value in vector) ** 0.5
        return [value / norm for value in vector]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: LLMServer) -> None:
        super().__init__(address, _Handler)
        self.owner = owner

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up: tests do that on purpose."""


class _Dropped(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = raw.decode("utf-8", "replace")
        self._serve(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _serve(self, body: Any) -> None:
        owner = self.server.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = owner.record(Recorded(self.command, self.path, headers, body, at=time.monotonic()))
        owner.sleep(reply.delay)
        try:
            self._answer(reply, body)
        except _Dropped:
            self.close_connection = True
        except OSError:
            owner.count_disconnect()
            self.close_connection = True

    def _answer(self, reply: Reply, body: Any) -> None:
        if reply.chunks is not None:
            self._send_chunks(reply)
        elif reply.body is not None:
            self._send_json(reply, reply.body)
        elif reply.status != 200:
            self._send_json(reply, {"error": {"message": "scripted failure", "type": "test"}})
        elif self.path == MODELS:
            data = [{"id": self.server.owner.model, "object": "model", "owned_by": "test"}]
            self._send_json(reply, {"object": "list", "data": data})
        elif self.path == EMBEDDINGS:
            self._send_json(reply, self._embeddings(reply, body))
        elif self.path == CHAT and body.get("stream"):
            self._stream(reply, body)
        elif self.path == CHAT:
            self._send_json(reply, self._completion(reply, body))
        else:
            self._send_json(Reply(status=404), {"error": {"message": "no such path"}})

    def _send_json(self, reply: Reply, body: dict[str, Any] | str) -> None:
        payload = (body if isinstance(body, str) else json.dumps(body)).encode()
        self._start(reply, "application/json", {"Content-Length": str(len(payload))})
        self.wfile.write(payload)

    def _start(self, reply: Reply, content_type: str, extra: dict[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Type": content_type, **extra, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _start_stream(self, reply: Reply) -> None:
        self._start(reply, "text/event-stream", {"Transfer-Encoding": "chunked"})

    def _write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _send_chunks(self, reply: Reply) -> None:
        self._start_stream(reply)
        for number, chunk in enumerate(reply.chunks or ()):
            self._pause_before(reply, number)
            self._write_chunk(chunk)
        self._end(reply)

    def _pause_before(self, reply: Reply, number: int) -> None:
        if reply.drop_after == number:
            raise _Dropped
        if reply.stall_after == number:
            self.server.owner.sleep(reply.stall_seconds)
        if number:
            self.server.owner.sleep(reply.delay_between)

    def _end(self, reply: Reply) -> None:
        if reply.drop_after is not None:
            raise _Dropped
        self.wfile.write(b"0\r\n\r\n")

    def _stream(self, reply: Reply, body: dict[str, Any]) -> None:
        self._start_stream(reply)
        for number, delta in enumerate(reply.deltas):
            self._pause_before(reply, number)
            self._event(body, delta={"content": delta})
        self._pause_before(reply, len(reply.deltas))
        if reply.finish_reason:
            self._event(body, delta={}, finish_reason=reply.finish_reason)
        if reply.usage and (body.get("stream_options") or {}).get("include_usage"):
            self._event(body, usage=reply.usage)
        if reply.done:
            self._write_chunk(b"data: [DONE]\n\n")
        self._end(reply)

    def _event(
        self,
        body: dict[str, Any],
        *,
        delta: dict[str, str] | None = None,
        finish_reason: str | None = None,
        usage: tuple[int, int] | None = None,
    ) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        event = {
            "id": "chatcmpl-test",
            "object": "chat.completion.chunk",
            "model": body.get("model"),
            "choices": [] if delta is None else [choice],
            "usage": _usage(usage) if usage else None,
        }
        self._write_chunk(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())

    def _completion(self, reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(reply.deltas)}
        return {
            "id": "chatcmpl-test",
            "object": "chat.completion",
            "model": body.get("model"),
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
            "usage": _usage(reply.usage) if reply.usage else None,
        }

    def _embeddings(self, reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = reply.vectors
        if vectors is None:
            vectors = [self.server.owner.embed(text) for text in texts]
        data = [
            {"object": "embedding", "index": index, "embedding": list(vector)}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": body.get("model"), "data": data, "usage": usage}


def _usage(counts: tuple[int, int]) -> dict[str, int]:
    prompt, completion = counts
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
