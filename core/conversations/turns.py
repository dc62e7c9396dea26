"""Reads and writes the two messages of a chat turn. Functions that take `db` never commit.

A session has one turn at a time: `sessions.active_message_id` is the answer that is being
written. The writer of an answer owns the pair `(id, attempt)` and renews a lease on it. If the
lease expires, the writer's process counts as dead. Any process may then end the answer with
its stored text, and after that the old writer cannot change any row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg2.extras import Json
from sqlalchemy import text

from core.conversations import messages
from core.conversations.endings import close_expired
from core.conversations.messages import MessageRecord
from core.db import Transaction, count_changed
from core.db.models import new_id
from core.errors import Conflict, NotFound, session_not_found

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0

_LEASE_END = "clock_timestamp() + make_interval(secs => :lease_seconds)"
_IS_LIVE = "status = 'in_progress' AND lease_expires_at >= clock_timestamp()"

_LOCK_SESSION = text(
    "SELECT user_id, active_message_id FROM sessions"
    " WHERE tenant_id = :tenant_id AND id = :session_id FOR UPDATE"
)
_IS_WRITTEN = text(f"SELECT {_IS_LIVE} FROM messages WHERE id = :id")  # noqa: S608
_SET_ACTIVE = text("UPDATE sessions SET active_message_id = :id WHERE id = :session_id")
# Without `is_checked`, it writes nothing into a session with an active answer. If another turn has
# locked the session, the UPDATE waits, and then looks at the session again.
_OPEN = text(
    f"""
    WITH counted AS (
        UPDATE sessions
        SET message_count = message_count + 2, active_message_id = :answer_id,
            {messages.NOTE_ACTIVITY}
        WHERE tenant_id = :tenant_id AND id = :session_id
          AND (active_message_id IS NULL OR :is_checked)
        RETURNING id, user_id, message_count
    ),
    added AS (
        INSERT INTO messages (
            tenant_id, id, session_id, position, sender, content, status, reply_to, turn_options,
            lease_expires_at, context_metadata, retrieved_context, created_at
        )
        SELECT :tenant_id, new.id, counted.id, counted.message_count - 2 + new.number, new.sender,
               new.content, new.status, new.reply_to, new.options, new.lease_end, '{{}}', '[]',
               clock_timestamp()
        FROM counted, (
            VALUES
                (1, CAST(:question_id AS uuid), 'user', :content, 'complete',
                 NULL, NULL, NULL),
                (2, CAST(:answer_id AS uuid), 'assistant', '', 'in_progress',
                 CAST(:question_id AS uuid), CAST(:options AS jsonb), {_LEASE_END})
        ) AS new (number, id, sender, content, status, reply_to, options, lease_end)
        ORDER BY new.number
        RETURNING position, created_at
    )
    SELECT added.position, added.created_at, counted.user_id FROM added, counted
    ORDER BY added.position
    """  # noqa: S608  # constants only
)
_BEGIN = text(
    f"""
    UPDATE messages
    SET status = 'in_progress', lease_expires_at = {_LEASE_END}, attempt = :attempt,
        turn_options = :options, finish_reason = NULL, error = NULL,
        content = CASE WHEN :keep_text THEN content ELSE '' END
    WHERE tenant_id = :tenant_id AND id = :id
    """  # noqa: S608  # constants only
)
_RESTART = text(
    "UPDATE messages SET attempt = attempt + 1"
    " WHERE id = :id AND attempt = :attempt AND status = 'in_progress'"
)
_ANSWERS = text(
    "SELECT id, superseded FROM messages WHERE tenant_id = :tenant_id"
    " AND session_id = :session_id AND position = :position + 1 AND reply_to = :question_id"
    " ORDER BY superseded, id"
)
_OPTIONS = text("SELECT turn_options FROM messages WHERE tenant_id = :tenant_id AND id = :id")
_INSERT_ALTERNATIVE = text(
    """
    INSERT INTO messages (
        tenant_id, id, session_id, position, sender, content, status, reply_to, alternatives,
        context_metadata, retrieved_context, created_at
    )
    SELECT tenant_id, :new_id, session_id, position, sender, '', 'interrupted', reply_to,
           alternatives || id, '{}', '[]', clock_timestamp()
    FROM messages WHERE tenant_id = :tenant_id AND id = :id
    """
)
_SUPERSEDE = text("UPDATE messages SET superseded = :superseded WHERE id = :id")
_SET_ALTERNATIVES = text("UPDATE messages SET alternatives = :ids WHERE id = :id")
_DELETE_ALTERNATIVES = text("DELETE FROM messages WHERE superseded AND reply_to = :question_id")
_EDIT = text("UPDATE messages SET content = :content WHERE tenant_id = :tenant_id AND id = :id")
_LAST_QUESTION = text(
    "SELECT id FROM messages WHERE tenant_id = :tenant_id AND session_id = :session_id"
    " AND sender = 'user' ORDER BY position DESC LIMIT 1"
)


@dataclass(slots=True)
class TurnRows:
    """A question, its answer, and the options of the turn.

    `is_over` is true if the answer is complete already, so nothing needs to be written.
    """

    question: MessageRecord
    answer: MessageRecord
    user_id: str
    options: dict[str, Any]
    is_over: bool = False


class TurnInProgress(Conflict):
    """Another turn of the session is in progress."""

    default_code = "turn_in_progress"

    def __init__(self) -> None:
        super().__init__("Another answer is being written in this session.")


def open_turn(
    db: Transaction, *, tenant_id: str, session_id: UUID, message: str, options: Mapping[str, Any]
) -> TurnRows:
    """Write the user's message and an empty answer, and make it the session's active one.

    Raises NotFound, and TurnInProgress while another answer is being written.
    """
    ids = new_id(), new_id()
    values = {
        "tenant_id": tenant_id,
        "session_id": session_id,
        "question_id": ids[0],
        "answer_id": ids[1],
        "content": message,
        "options": Json(dict(options)),
        "lease_seconds": LEASE_SECONDS,
    }
    rows = db.execute(_OPEN, values | {"is_checked": False}).all()
    if not rows:
        _lock_idle_session(db, tenant_id=tenant_id, session_id=session_id)
        rows = db.execute(_OPEN, values | {"is_checked": True}).all()
    asked, begun = rows
    question = MessageRecord(
        ids[0], session_id, asked[0], "user", message, {}, [],
        "complete", None, None, None, asked[1],
    )  # fmt: skip
    answer = MessageRecord(
        ids[1], session_id, begun[0], "assistant", "", {}, [],
        "in_progress", None, None, ids[0], begun[1],
    )  # fmt: skip
    return TurnRows(question, answer, str(asked[2]), dict(options))


def retry_turn(
    db: Transaction, *, tenant_id: str, message_id: UUID, options: Mapping[str, Any]
) -> TurnRows:
    """Begin a new attempt at a failed or interrupted answer, in the same row.

    `message_id` is the answer's or its question's. Raises NotFound, TurnInProgress, and
    Conflict (`message_finished`) for a complete answer.
    """
    question, answer, user_id = _find_turn(db, tenant_id=tenant_id, message_id=message_id)
    if answer.status == "complete":
        raise Conflict("The answer is complete.", code="message_finished")
    return _begin(
        db, tenant_id, question, answer, user_id, _merge_options(db, tenant_id, answer, options)
    )


def resume_turn(db: Transaction, *, tenant_id: str, message_id: UUID) -> TurnRows:
    """Begin a new attempt at the answer to the question `message_id`, unless it is complete.

    Raises NotFound, and Conflict (`idempotency_in_progress`) while a process writes it.
    """
    try:
        question, answer, user_id = _find_turn(db, tenant_id=tenant_id, message_id=message_id)
    except TurnInProgress as error:
        raise duplicate_in_progress() from error
    if answer.status == "complete":
        return TurnRows(question, answer, user_id, {}, is_over=True)
    return _begin(
        db, tenant_id, question, answer, user_id, _merge_options(db, tenant_id, answer, {})
    )


def regenerate_turn(
    db: Transaction, *, tenant_id: str, message_id: UUID, options: Mapping[str, Any]
) -> TurnRows:
    """Begin another answer to the same question; the current one becomes an alternative.

    Raises NotFound, TurnInProgress.
    """
    question, old, user_id = _find_turn(db, tenant_id=tenant_id, message_id=message_id)
    options = _merge_options(db, tenant_id, old, options)
    _set_superseded(db, old.id, True)
    id_ = new_id()
    db.execute(_INSERT_ALTERNATIVE, {"tenant_id": tenant_id, "id": old.id, "new_id": id_})
    new = messages.get_message(db, tenant_id=tenant_id, message_id=id_)
    return _begin(db, tenant_id, question, new, user_id, options, attempt=1)


def edit_turn(
    db: Transaction, *, tenant_id: str, message_id: UUID, content: str, options: Mapping[str, Any]
) -> TurnRows:
    """Replace the user's last message and begin a new answer to it.

    Deletes the earlier answers, because they answer the old text. Raises NotFound,
    TurnInProgress, and Conflict (`not_last`) for any other message.
    """
    found = messages.get_message(db, tenant_id=tenant_id, message_id=message_id)
    user_id = _lock_idle_session(db, tenant_id=tenant_id, session_id=found.session_id)
    scope = {"tenant_id": tenant_id, "session_id": found.session_id}
    if found.sender != "user" or db.scalar(_LAST_QUESTION, scope) != message_id:
        raise Conflict("Only the user's last message can be edited.", code="not_last")
    db.execute(_EDIT, {"tenant_id": tenant_id, "id": message_id, "content": content})
    found.content = content
    answer = _current_answer(db, tenant_id=tenant_id, question=found)
    if answer is None:
        answer = _append_answer(db, tenant_id=tenant_id, question=found)
    else:
        options = _merge_options(db, tenant_id, answer, options)
        db.execute(_DELETE_ALTERNATIVES, {"question_id": message_id})
        db.execute(_SET_ALTERNATIVES, {"id": answer.id, "ids": []})
        answer.alternatives = []
    answer.content, answer.retrieved_context = "", []
    return _begin(db, tenant_id, found, answer, user_id, options, keep_text=False)


def restart_answer(db: Transaction, *, message_id: UUID, attempt: int) -> bool:
    """Begin the next attempt at a live answer, without the text of this attempt.

    Changes nothing and returns False if the attempt is no longer in progress.
    """
    return count_changed(db.execute(_RESTART, {"id": message_id, "attempt": attempt})) > 0


def select_answer(db: Transaction, *, tenant_id: str, message_id: UUID) -> MessageRecord:
    """Make an alternative the current answer to its question.

    Raises NotFound, TurnInProgress, and Conflict (`not_an_answer`).
    """
    chosen = messages.get_message(db, tenant_id=tenant_id, message_id=message_id)
    if chosen.reply_to is None:
        raise messages.not_an_answer()
    _lock_idle_session(db, tenant_id=tenant_id, session_id=chosen.session_id)
    question = messages.get_message(db, tenant_id=tenant_id, message_id=chosen.reply_to)
    current = _current_answer(db, tenant_id=tenant_id, question=question)
    if current is None or current.id == chosen.id:
        return chosen
    others = sorted({*current.alternatives, current.id} - {chosen.id})
    _set_superseded(db, current.id, True)
    _set_superseded(db, chosen.id, False)
    db.execute(_SET_ALTERNATIVES, {"id": chosen.id, "ids": others})
    chosen.alternatives = others
    return chosen


def find_answer(db: Transaction, *, tenant_id: str, message_id: UUID) -> MessageRecord:
    """Return the answer `message_id`, or the current answer to the question `message_id`.

    Raises NotFound, also for a message without an answer.
    """
    found = messages.get_message(db, tenant_id=tenant_id, message_id=message_id)
    if found.reply_to is not None:
        return found
    answer = _current_answer(db, tenant_id=tenant_id, question=found)
    if answer is None:
        raise NotFound("There is no answer to this message.", code="answer_not_found")
    return answer


def duplicate_in_progress() -> Conflict:
    return Conflict(
        "Another request is writing the answer to this message.", code="idempotency_in_progress"
    )


def _lock_idle_session(db: Transaction, *, tenant_id: str, session_id: UUID) -> str:
    """Lock a session and return its user. Raises TurnInProgress if an answer is being written.

    The check is a second statement, so it sees the changes of the transaction that held the
    lock before.
    """
    row = db.execute(_LOCK_SESSION, {"tenant_id": tenant_id, "session_id": session_id}).first()
    if row is None:
        raise session_not_found()
    user_id, active_message_id = row
    if active_message_id is not None:
        if db.scalar(_IS_WRITTEN, {"id": active_message_id}):
            raise TurnInProgress
        close_expired(db, ids=[active_message_id])
    return str(user_id)


def _find_turn(
    db: Transaction, *, tenant_id: str, message_id: UUID
) -> tuple[MessageRecord, MessageRecord, str]:
    """Lock a turn's session; return the turn's question, current answer and user."""
    found = messages.get_message(db, tenant_id=tenant_id, message_id=message_id)
    user_id = _lock_idle_session(db, tenant_id=tenant_id, session_id=found.session_id)
    question_id = found.reply_to or found.id
    question = messages.get_message(db, tenant_id=tenant_id, message_id=question_id)
    answer = _current_answer(db, tenant_id=tenant_id, question=question)
    if answer is None:
        raise NotFound("There is no answer to this message.", code="answer_not_found")
    return question, answer, user_id


def _current_answer(
    db: Transaction, *, tenant_id: str, question: MessageRecord
) -> MessageRecord | None:
    row = db.execute(
        _ANSWERS,
        {
            "tenant_id": tenant_id,
            "session_id": question.session_id,
            "position": question.position,
            "question_id": question.id,
        },
    ).first()
    if row is None or row[1]:
        return None
    return messages.get_message(db, tenant_id=tenant_id, message_id=row[0])


def _append_answer(db: Transaction, *, tenant_id: str, question: MessageRecord) -> MessageRecord:
    return messages.append_message(
        db,
        tenant_id=tenant_id,
        session_id=question.session_id,
        sender="assistant",
        content="",
        status="in_progress",
        reply_to=question.id,
    )


def _begin(
    db: Transaction,
    tenant_id: str,
    question: MessageRecord,
    answer: MessageRecord,
    user_id: str,
    options: Mapping[str, Any],
    *,
    attempt: int | None = None,
    keep_text: bool = True,
) -> TurnRows:
    if attempt is None:
        attempt = answer.attempt + (answer.status != "in_progress")
    values = {"tenant_id": tenant_id, "id": answer.id, "attempt": attempt, "keep_text": keep_text}
    values |= {"lease_seconds": LEASE_SECONDS, "options": Json(dict(options))}
    db.execute(_BEGIN, values)
    db.execute(_SET_ACTIVE, {"id": answer.id, "session_id": answer.session_id})
    answer.status, answer.attempt = "in_progress", attempt
    answer.error = answer.finish_reason = None
    return TurnRows(question, answer, user_id, dict(options))


def _merge_options(
    db: Transaction, tenant_id: str, answer: MessageRecord, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of the turn's last attempt, updated with `options`."""
    earlier = db.scalar(_OPTIONS, {"tenant_id": tenant_id, "id": answer.id})
    return {**(earlier or {}), **options}


def _set_superseded(db: Transaction, message_id: UUID, superseded: bool) -> None:
    db.execute(_SUPERSEDE, {"id": message_id, "superseded": superseded})
