"""Exports sessions to JSON or Markdown files, and imports the JSON files.

The JSON is an object with `format`, `version`, `exported_at`, `session`, `messages` (the
current ones, by position) and `alternatives` (other answers to the same questions). An import
assigns new ids. An export of the imported session equals the file, except for ids and
`exported_at`. An answer that was being written at the time of the export is imported as
interrupted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal
from uuid import UUID

from psycopg2.extras import Json
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.conversations import markdown, sessions
from core.conversations.message_columns import CONTENT, ERROR, INTERRUPTED, STATUS
from core.db.models import ChatSession, new_id
from core.errors import Invalid
from core.storage.files import BLOCK
from core.storage.staging import staging_directory

Format = Literal["json", "markdown"]

FORMAT = "rag-chat-service/session"
VERSION = 1
SPOOL_BYTES = 1024 * 1024  # a larger export is written to a temporary file
FETCH_ROWS = 50
INSERT_ROWS = 100

MESSAGE_FIELDS = (
    "id", "position", "sender", "content", "context_metadata", "retrieved_context", "status",
    "model", "usage", "created_at", "finish_reason", "error", "feedback", "alternatives",
    "reply_to", "answer_context", "turn_options",
)  # fmt: skip

# One statement, so that the file shows the session at one moment.
_DECLARE = text(
    f"""
    DECLARE export NO SCROLL CURSOR FOR
    SELECT m.superseded, m.id, m.position, m.sender, {CONTENT.format(m="m")},
           m.context_metadata, m.retrieved_context, {STATUS.format(m="m")}, m.model, m.usage,
           m.created_at, m.finish_reason, {ERROR.format(m="m")}, m.feedback, m.alternatives,
           m.reply_to, x.data AS answer_context, m.turn_options - 'request_id' AS turn_options
    FROM messages m
    LEFT JOIN answer_contexts x ON x.message_id = m.id AND x.attempt = m.attempt
    WHERE m.tenant_id = :tenant_id AND m.session_id = :session_id
    ORDER BY m.superseded, m.position, m.id
    """  # noqa: S608  # constants only
)
_FETCH = text(f"FETCH {FETCH_ROWS} FROM export")
_INSERT = text(
    """
    INSERT INTO messages (
        tenant_id, session_id, superseded, id, position, sender, content, context_metadata,
        retrieved_context, status, model, usage, created_at, finish_reason, error, feedback,
        alternatives, reply_to, turn_options
    )
    SELECT :tenant_id, :session_id, superseded, id, position, sender, content, context_metadata,
           retrieved_context, status, model, usage, coalesce(created_at, clock_timestamp()),
           finish_reason, error, feedback, alternatives, reply_to, turn_options
    FROM jsonb_to_recordset(:rows) AS r (
        superseded boolean, id uuid, position int, sender text, content text,
        context_metadata jsonb, retrieved_context jsonb, status text, model text, usage jsonb,
        created_at timestamptz, finish_reason text, error jsonb, feedback jsonb,
        alternatives uuid[], reply_to uuid, turn_options jsonb
    )
    """
)
_INSERT_CONTEXTS = text(
    """
    INSERT INTO answer_contexts (message_id, attempt, tenant_id, data)
    SELECT id, 1, :tenant_id, answer_context
    FROM jsonb_to_recordset(:rows) AS r (id uuid, answer_context jsonb)
    WHERE answer_context IS NOT NULL
    """
)


@dataclass(frozen=True, slots=True)
class _Exported:
    """A session at one moment, with its messages in the order of the file."""

    session: ChatSession
    rows: Iterator[tuple[bool, dict[str, Any]]]  # whether superseded, and the message's fields


def export_session(
    services: Services, *, tenant_id: str, session_id: UUID, format_: Format, now: datetime
) -> Iterator[bytes]:
    """Yield a session's file in blocks. Raises NotFound before the first block.

    The whole file is written before the first block, so no transaction is open between blocks.
    """
    directory = staging_directory(services.settings)
    directory.mkdir(parents=True, exist_ok=True)
    spool = SpooledTemporaryFile(SPOOL_BYTES, dir=str(directory))  # noqa: SIM115  # `_read_all` closes it
    try:
        with services.database.transaction(tenant_id=tenant_id) as db:
            exported = _read(db, tenant_id=tenant_id, session_id=session_id)
            write = _write_json if format_ == "json" else _write_markdown
            write(spool, exported, now)
    except BaseException:
        spool.close()
        raise
    return _read_all(spool)


def _read(db: Session, *, tenant_id: str, session_id: UUID) -> _Exported:
    session = sessions.get_session(db, tenant_id=tenant_id, session_id=session_id)
    db.execute(_DECLARE, {"tenant_id": tenant_id, "session_id": session_id})
    return _Exported(session, _rows(db))


def _rows(db: Session) -> Iterator[tuple[bool, dict[str, Any]]]:
    while rows := db.execute(_FETCH).all():
        for superseded, *values in rows:
            yield superseded, dict(zip(MESSAGE_FIELDS, values, strict=True))


def _write_json(spool: IO[bytes], exported: _Exported, now: datetime) -> None:
    head = {"format": FORMAT, "version": VERSION, "exported_at": now}
    head["session"] = _session_fields(exported.session)
    spool.write(encode(head)[:-1] + b',"messages":[')
    separator, in_alternatives = b"", False
    for superseded, message in exported.rows:
        if superseded and not in_alternatives:
            in_alternatives, separator = True, b""
            spool.write(b'],"alternatives":[')
        spool.write(separator + encode(message))
        separator = b","
    spool.write(b"]}" if in_alternatives else b'],"alternatives":[]}')


def _session_fields(session: ChatSession) -> dict[str, Any]:
    return {
        "id": session.id,
        "user_id": session.user_id,
        "title": session.title,
        "title_is_automatic": session.title_is_automatic,
        "is_favorite": session.is_favorite,
        "metadata": session.meta,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "last_message_at": session.last_message_at,
    }


def _write_markdown(spool: IO[bytes], exported: _Exported, now: datetime) -> None:
    spool.write(markdown.heading(exported.session, now=now).encode())
    for superseded, message in exported.rows:
        spool.write(markdown.message(message, superseded=superseded).encode())


def _read_all(spool: IO[bytes]) -> Iterator[bytes]:
    with spool:
        spool.seek(0)
        while block := spool.read(BLOCK):
            yield block


def encode(value: Any) -> bytes:
    """Return compact JSON in UTF-8. `value` may contain UUIDs and times."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_as_text).encode()


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def import_session(db: Session, *, tenant_id: str, file: Mapping[str, Any]) -> ChatSession:
    """Write the session of a JSON file under new ids. Never commits.

    `file` has the members `session`, `messages` and `alternatives` of an export, with checked
    types. A message needs only `sender` and `content`. Raises Invalid, with the field's path,
    for a wrong position or a reference to a message that is not in the file.
    """
    current, earlier = list(file.get("messages", ())), list(file.get("alternatives", ()))
    rows = _Renumbering(current, earlier).rows()
    session = _insert_session(db, tenant_id=tenant_id, given=file["session"], messages=current)
    for start in range(0, len(rows), INSERT_ROWS):
        batch = rows[start : start + INSERT_ROWS]
        values = {"tenant_id": tenant_id, "session_id": session.id, "rows": _as_json(batch)}
        db.execute(_INSERT, values)
        del values["session_id"]
        db.execute(_INSERT_CONTEXTS, values)
    return session


def _as_json(rows: Sequence[dict[str, Any]]) -> Json:
    return Json(rows, dumps=lambda value: encode(value).decode())


def _insert_session(
    db: Session, *, tenant_id: str, given: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
) -> ChatSession:
    now = datetime.now(UTC)
    created_at = given.get("created_at") or now
    spoken = [message["created_at"] for message in messages if message.get("created_at")]
    last_message_at = given.get("last_message_at") or (
        max(spoken, default=now) if messages else None
    )
    session = ChatSession(
        tenant_id=tenant_id,
        user_id=given["user_id"],
        title=given.get("title"),
        title_is_automatic=given.get("title_is_automatic", False),
        is_favorite=given.get("is_favorite", False),
        meta=given.get("metadata", {}),
        message_count=len(messages),
        created_at=created_at,
        updated_at=given.get("updated_at") or now,
        last_message_at=last_message_at,
        active_at=min(last_message_at or created_at, now),  # never in the future
    )
    db.add(session)
    db.flush()
    return session


class _Renumbering:
    """Turns the messages of a file into rows with new ids and positions."""

    def __init__(
        self, current: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]]
    ) -> None:
        self._messages = [(f"messages.{i}", one) for i, one in enumerate(current)]
        self._earlier = [(f"alternatives.{i}", one) for i, one in enumerate(earlier)]
        self._new_ids = self._number()
        self._positions: dict[UUID, int] = {}
        self._questions: dict[UUID, UUID] = {}  # from an answer's id to its question's id
        self._answered: set[UUID] = set()

    def _number(self) -> list[UUID]:
        """Return new ids in the order of the old ones, because ids tell which answer is later."""
        old = [message.get("id") for _, message in self._messages + self._earlier]
        known = [one for one in old if one is not None]
        if len(set(known)) < len(known):
            raise _invalid("messages", "Two messages must not have the same id.")
        order = sorted(range(len(old)), key=lambda i: (old[i] or UUID(int=0), i))
        fresh = sorted(new_id() for _ in old)
        numbered = dict(zip(order, fresh, strict=True))
        self._by_old_id = {one: numbered[i] for i, one in enumerate(old) if one is not None}
        return [numbered[i] for i in range(len(old))]

    def rows(self) -> list[dict[str, Any]]:
        """Raises Invalid."""
        for place, (path, message) in enumerate(self._messages, start=1):
            if message.get("position", place) != place:
                raise _invalid(f"{path}.position", f"Must be {place}: positions have no gap.")
            self._check_position(path, message, place)
        for path, message in self._earlier:
            self._check_alternative(path, message)
        everything = self._messages + self._earlier
        return [
            self._row(path, message, id_=id_, superseded=place >= len(self._messages))
            for place, ((path, message), id_) in enumerate(
                zip(everything, self._new_ids, strict=True)
            )
        ]

    def _check_position(self, path: str, message: Mapping[str, Any], place: int) -> None:
        question = message.get("reply_to")
        if question is not None:
            before = self._messages[place - 2][1] if place > 1 else {}
            if before.get("id") != question or before.get("sender") != "user":
                raise _invalid(f"{path}.reply_to", "Must be the id of the user's message before.")
            if message["sender"] != "assistant":
                raise _invalid(f"{path}.sender", "An answer's sender must be the assistant.")
            self._answered.add(question)
        if message.get("id") is not None:
            self._positions[message["id"]] = place
            if question is not None:
                self._questions[message["id"]] = question

    def _check_alternative(self, path: str, message: Mapping[str, Any]) -> None:
        question = message.get("reply_to")
        if question not in self._answered:
            raise _invalid(f"{path}.reply_to", "Must be the id of a question that has an answer.")
        if message["sender"] != "assistant":
            raise _invalid(f"{path}.sender", "An answer's sender must be the assistant.")
        place = self._positions[question] + 1
        if message.get("position", place) != place:
            raise _invalid(f"{path}.position", f"Must be {place}, as of the current answer.")
        if message.get("id") is not None:
            self._questions[message["id"]] = question

    def _row(
        self, path: str, message: Mapping[str, Any], *, id_: UUID, superseded: bool
    ) -> dict[str, Any]:
        row = {"context_metadata": {}, "retrieved_context": [], "status": "complete", **message}
        question: Any = message.get("reply_to")
        if row["status"] == "in_progress":  # no writer exists in this service
            row |= {"status": "interrupted", "error": INTERRUPTED}
        place = int(path.rpartition(".")[2]) + 1
        row |= {
            "id": id_,
            "superseded": superseded,
            "position": self._positions[question] + 1 if superseded else place,
            "reply_to": question and self._by_old_id[question],
            "alternatives": self._alternatives(path, message),
        }
        return row

    def _alternatives(self, path: str, message: Mapping[str, Any]) -> list[UUID]:
        listed = message.get("alternatives", ())
        for one in listed:
            question = self._questions.get(one)
            if one == message.get("id") or question is None or question != message.get("reply_to"):
                detail = "Must be the ids of other answers to the same question."
                raise _invalid(f"{path}.alternatives", detail)
        return [self._by_old_id[one] for one in listed]


def _invalid(path: str, detail: str) -> Invalid:
    return Invalid("The request is not valid; see errors.", errors={path: [detail]})
