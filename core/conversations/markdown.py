"""Writes a session as Markdown for people to read; it cannot be imported."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.db.models import ChatSession

_SPECIAL = re.compile(r"([!-/:-@\[-`{-~])")  # CommonMark 2.4: any of these can be escaped
_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}


def heading(session: ChatSession, *, now: datetime) -> str:
    """Return the file's first lines: title, user and times."""
    title = _plain(session.title or "Conversation")
    return (
        f"# {title}\n\n"
        f"- User: {_plain(session.user_id)}\n"
        f"- Started: {_time_of(session.created_at)}\n"
        f"- Exported: {_time_of(now)}\n"
    )


def message(fields: Mapping[str, Any], *, superseded: bool) -> str:
    """Return a message with its sources and rating. `fields` are those of the JSON export.

    The text is not escaped, so Markdown in an answer stays Markdown.
    """
    speaker = _SPEAKERS[fields["sender"]]
    kind = f"Earlier answer to message {fields['position'] - 1}" if superseded else speaker
    number = "" if superseded else f"{fields['position']}. "
    state = "" if fields["status"] == "complete" else f", {fields['status'].replace('_', ' ')}"
    parts = [
        f"\n## {number}{kind} ({_time_of(fields['created_at'])}{state})\n\n{fields['content']}\n"
    ]
    if fields["error"]:
        parts.append(f"\n*Error: {_plain(fields['error']['detail'])}*\n")
    if fields["retrieved_context"]:
        listed = "".join(map(_source, fields["retrieved_context"]))
        parts.append(f"\n### Sources\n\n{listed}")
    if fields["feedback"]:
        comment = fields["feedback"].get("comment")
        said = f": {_plain(comment)}" if comment else ""
        parts.append(f"\n*Rated {fields['feedback']['rating']}{said}*\n")
    return "".join(parts)


def _source(passage: Mapping[str, Any]) -> str:
    mark = "" if passage.get("index") is None else f"\\[{passage['index']}\\] "
    name = _plain(passage.get("filename") or "unnamed source")
    page = "" if passage.get("page_start") is None else f", page {passage['page_start']}"
    quote = _plain(passage.get("quote") or passage["text"])
    return f"- {mark}{name}{page}: “{quote}”\n"


def _plain(text: str) -> str:
    """Return `text` on one line, escaped for Markdown and HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _time_of(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M UTC")
