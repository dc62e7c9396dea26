"""An HTTP server with scripted responses, one per request."""

import json
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fakes.server_thread import ServerThread


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    parts: list[bytes]


class ScriptedServer(ServerThread):
    """Sends `answers` in their order, and records the requests in `seen`."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.pause: float = 0  # seconds after each part of a body
        self.seen: list[Seen] = []
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), self._handler()))
        self.url = f"http://{self.address}"

    def will_send(self, body: object, *, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(Answer(status, named, [json.dumps(body).encode()]))

    def will_stream(self, *parts: bytes) -> None:
        self.answers.append(Answer(200, {"Content-Type": "text/event-stream"}, list(parts)))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script.seen.append(Seen(self.command, self.path, dict(self.headers), body))
                answer = script.answers.pop(0)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in answer.parts:
                    self.wfile.write(part)
                    self.wfile.flush()
                    time.sleep(script.pause)

            do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _answer

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def event(name: str, data: object, *, identifier: int = 1) -> bytes:
    """A server-sent event as it is on the wire."""
    return f"id: {identifier}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()
