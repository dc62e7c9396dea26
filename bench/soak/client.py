"""A client that repeats a request, with the same idempotency key, until it is answered."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.2


class NoAnswer(Exception):
    """No answer came within PATIENCE_SECONDS."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer, and the number of requests for it."""

    status: int
    body: dict[str, Any]
    tries: int

    @property
    def code(self) -> str | None:
        return self.body.get("code")

    def __str__(self) -> str:
        return f"{self.status} {self.code or ''}".strip()


def ask(
    http: httpx.Client, method: str, path: str, *, key: str | None = None, **options: Any
) -> Answer:
    """Send the request until there is a final answer. A POST needs a `key` for that.

    Repeats it after a broken connection, 503, and 409 (the first try counts as in progress).
    Raises NoAnswer.
    """
    headers = {"Idempotency-Key": key} if key else {}
    deadline, tries = time.monotonic() + PATIENCE_SECONDS, 0
    while time.monotonic() < deadline:
        tries += 1
        try:
            response = http.request(method, path, headers=headers, **options)
        except httpx.TransportError:
            time.sleep(PAUSE_SECONDS)
            continue
        is_json = "json" in response.headers.get("Content-Type", "")
        answer = Answer(response.status_code, response.json() if is_json else {}, tries)
        if answer.status != 503 and answer.code != "idempotency_in_progress":
            return answer
        time.sleep(PAUSE_SECONDS)
    raise NoAnswer(f"{method} {path}")
