"""Shortens log lines for a terminal, and leaves out lines that repeat every second."""

import json
from typing import Any

# Fields that every line has, or that are at its beginning.
_LEFT_OUT = {
    *("event", "level", "logger", "time", "request_id", "task_id", "remote", "route", "key"),
    *("tenant", "db_statements", "db_ms", "bytes_sent", "method", "path", "status", "ms"),
    *("task", "outcome"),
}
_QUIET_PATHS = ("/health", "/metrics")
# Tasks that beat runs every few seconds or minutes, whether there is work or not.
_QUIET_TASKS = (
    *("ingest.sweep", "ingest.count", "ingest.index", "ingest.tidy"),
    *("memory.", "chat.close_abandoned", "users.erase"),
)


def shorten(line: bytes) -> bytes | None:
    """A line of JSON in a few words; None for a routine line. Other lines are not changed.

    Requests become `GET /api/v1/sessions 200 12 ms`. Successful health checks and sweeps are
    left out; warnings and errors never are.
    """
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "event" not in entry:
        return line
    if entry.get("level") == "info" and _is_routine(entry):
        return None
    return _words(entry).encode()


def _is_routine(entry: dict[str, Any]) -> bool:
    if entry["event"] == "request":
        return str(entry.get("path", "")).startswith(_QUIET_PATHS) and entry.get("status") == 200
    if entry["event"] == "task":
        return (
            str(entry.get("task", "")).startswith(_QUIET_TASKS) and entry.get("outcome") == "done"
        )
    return "Scheduler: Sending due task" in str(entry["event"])


def _words(entry: dict[str, Any]) -> str:
    if entry["event"] == "request":
        words = [entry.get("method"), entry.get("path"), entry.get("status"), _milliseconds(entry)]
    elif entry["event"] == "task":
        words = [entry.get("task"), entry.get("outcome"), _milliseconds(entry)]
    else:
        words = [entry["event"]]
    level = str(entry.get("level", "info"))
    extra = [f"{name}={value}" for name, value in entry.items() if name not in _LEFT_OUT]
    shown = [*([level.upper()] if level != "info" else []), *words, *extra]
    return " ".join(str(word) for word in shown if word is not None)


def _milliseconds(entry: dict[str, Any]) -> str | None:
    spent = entry.get("ms")
    return f"{spent:.0f} ms" if isinstance(spent, int | float) else None
