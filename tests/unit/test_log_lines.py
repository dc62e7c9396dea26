"""The log lines that `make run` shows."""

import json

import pytest

from launcher.log_lines import shorten


def line(**entry: object) -> bytes:
    return json.dumps({"level": "info", "logger": "x", "time": "t"} | entry).encode()


def test_a_request_is_a_few_words() -> None:
    request = {"event": "request", "method": "GET", "path": "/api/v1/sessions", "status": 200}
    assert shorten(line(**request, ms=12.3, db_ms=4)) == b"GET /api/v1/sessions 200 12 ms"
    assert shorten(line(**request, level="error", ms=1, error="no")) == (
        b"ERROR GET /api/v1/sessions 200 1 ms error=no"
    )


def test_a_line_that_is_no_json_is_unchanged() -> None:
    for other in (b"Listening at: http://127.0.0.1:8000", b"{", b"[1]", b'{"file": "a"}'):
        assert shorten(other) == other


@pytest.mark.parametrize(
    "entry",
    [
        {"event": "request", "path": "/health/ready", "status": 200},
        {"event": "task", "task": "ingest.sweep", "outcome": "done"},
        {"event": "Scheduler: Sending due task sweep (ingest.sweep)"},
    ],
)
def test_routine_is_left_out_unless_something_is_wrong(entry: dict[str, object]) -> None:
    assert shorten(line(**entry)) is None
    assert shorten(line(**entry, level="warning")) is not None


def test_failures_of_routine_tasks_are_shown() -> None:
    assert shorten(line(event="request", path="/health/ready", status=503)) is not None
    failed = shorten(line(event="task", task="ingest.sweep", outcome="failed", ms=3.0))
    assert failed == b"ingest.sweep failed 3 ms"
