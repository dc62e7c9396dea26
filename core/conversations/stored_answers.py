"""Reads an answer with its question, for the events of its stream, in one statement."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from core.answering.passages import Passage
from core.conversations.events import AnswerState
from core.conversations.message_columns import message_fields
from core.conversations.messages import MessageRecord
from core.db import Executor
from core.errors import NotFound

# `given` is the message with the id, and `chosen` is the answer: that message, or the current
# answer to it.
_ANSWER = text(
    f"""
    WITH given AS (
        SELECT id, session_id, position, reply_to FROM messages
        WHERE tenant_id = :tenant_id AND id = :id
    ),
    chosen AS (
        SELECT id FROM given WHERE reply_to IS NOT NULL
        UNION ALL
        SELECT m.id FROM given JOIN messages m
          ON m.tenant_id = :tenant_id AND m.session_id = given.session_id
         AND m.position = given.position + 1 AND m.reply_to = given.id AND NOT m.superseded
        WHERE given.reply_to IS NULL
        LIMIT 1
    )
    SELECT (SELECT data FROM answer_contexts WHERE message_id = a.id AND attempt = a.attempt),
           (SELECT max(number) FROM answer_chunks WHERE message_id = a.id AND attempt = a.attempt),
           {message_fields("a")}, {message_fields("q")}
    FROM given
    LEFT JOIN chosen ON true
    LEFT JOIN messages a ON a.id = chosen.id
    LEFT JOIN messages q ON q.id = a.reply_to
    """  # noqa: S608  # constants only
)
_FIELDS = len(MessageRecord.__slots__)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer and its question as they are stored at one moment.

    `context` has the passages, and is None before the search is over. `last_chunk` is the number
    of the last chunk of a live answer's text, 0 if there is none.
    """

    question: MessageRecord
    answer: MessageRecord
    context: Mapping[str, Any] | None
    last_chunk: int

    def state(self) -> AnswerState:
        """Return the events' state."""
        answer, state = self.answer, AnswerState(self.question, self.answer.attempt)
        if self.context is not None:
            state.passages = shown_passages(self.context)
        elif answer.status == "complete":  # imported, or written by an earlier version
            state.passages = answer.retrieved_context
        if answer.status == "in_progress":
            state.add_text(answer.content)
        else:
            state.end(answer)
        return state


def read_answer(db: Executor, *, tenant_id: str, message_id: UUID) -> StoredAnswer:
    """Read an answer in one statement; `message_id` may be its question's.

    Raises NotFound, also for a message without an answer.
    """
    row = db.execute(_ANSWER, {"tenant_id": tenant_id, "id": message_id}).first()
    if row is None:
        raise NotFound("There is no such message.", code="message_not_found")
    context, number, *fields = row
    if fields[0] is None:
        raise NotFound("There is no answer to this message.", code="answer_not_found")
    answer, question = MessageRecord(*fields[:_FIELDS]), MessageRecord(*fields[_FIELDS:])
    return StoredAnswer(question, answer, context, number or 0)


def shown_passages(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the passages of an answer's context in the form of the `retrieval` event."""
    return [Passage(**passage).as_dict() for passage in context["passages"]]
