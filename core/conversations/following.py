"""Follows answers that other processes write, and reads finished answers.

NOTIFY only wakes the thread, which also polls once a second. So a lost connection, or a pooler
that passes no notifications, only delays events by up to a second. One wake-up reads the changes
of all its answers together. The thread and its one connection exist only while somebody listens
to a live answer of another process.
"""

import contextlib
import select
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg2
from sqlalchemy import text

from core.answering.passages import Passage
from core.conversations import endings, messages
from core.conversations.events import AnswerState
from core.conversations.feeds import Feed
from core.conversations.messages import MessageRecord
from core.db import Database, Transaction
from core.errors import NotFound
from core.telemetry import get_logger

log = get_logger(__name__)

POLL_SECONDS = 1.0
# From one reading to the next, so that many answers that begin or end share one.
PAUSE_SECONDS = 0.05
UNWANTED_SECONDS = 10.0  # how long a feed without listeners is kept up to date

_CONTEXT = text("SELECT data FROM answer_contexts WHERE message_id = :id AND attempt = :attempt")
_CHANGES = text(
    """
    SELECT f.id, m.attempt, m.status, m.lease_expires_at < clock_timestamp() AS is_expired,
           c.text, c.number, x.data
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:numbers AS int[]),
        CAST(:wants AS boolean[])
    ) AS f (id, attempt, number, wants_context)
    LEFT JOIN messages m ON m.id = f.id
    LEFT JOIN LATERAL (
        SELECT string_agg(text, '' ORDER BY number) AS text, max(number) AS number
        FROM answer_chunks
        WHERE message_id = f.id AND attempt = f.attempt AND number > f.number
    ) AS c ON true
    LEFT JOIN answer_contexts x
      ON x.message_id = f.id AND x.attempt = f.attempt AND f.wants_context
    """
)


def read_state(db: Transaction, *, tenant_id: str, answer: MessageRecord) -> AnswerState:
    """Return the state of a finished answer, or of a live answer before its first chunk."""
    assert answer.reply_to is not None
    question = messages.get_message(db, tenant_id=tenant_id, message_id=answer.reply_to)
    state = AnswerState(question, answer.attempt)
    if answer.status == "in_progress":
        return state
    data = db.scalar(_CONTEXT, {"id": answer.id, "attempt": answer.attempt})
    if data is not None:
        state.passages = shown_passages(data)
    elif answer.status == "complete":  # imported, or written by an earlier version
        state.passages = answer.retrieved_context
    state.end(answer)
    return state


def shown_passages(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the passages of an answer's context in the form of the `retrieval` event."""
    return [Passage(**passage).as_dict() for passage in context["passages"]]


class _Followed:
    """A feed that the follower keeps up to date, and the number of its last chunk."""

    def __init__(self, feed: Feed, *, tenant_id: str, message_id: UUID) -> None:
        self.feed, self.tenant_id, self.message_id = feed, tenant_id, message_id
        self.attempt, self.number = feed.attempt, 0
        self.wants_context = True
        self.wanted_at = time.monotonic()


class Follower:
    """Follows answers with one thread and one LISTEN connection per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._followed: dict[UUID, _Followed] = {}
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._is_closed = False
        self._updating = threading.Lock()  # so that no chunk is applied twice

    def follow(self, feed: Feed, *, tenant_id: str, message_id: UUID) -> Feed:
        """Keep `feed` up to date until its answer ends, and return it.

        If the answer is followed already, return the feed of the earlier call.
        """
        with self._lock:
            known = self._followed.get(message_id)
            if known is not None:
                return known.feed
            self._followed[message_id] = _Followed(feed, tenant_id=tenant_id, message_id=message_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
                self._thread.start()
        return feed

    def catch_up(self, message_id: UUID) -> None:
        """Update one feed now, because a client may have newer events from the writer's process."""
        with self._lock:
            one = self._followed.get(message_id)
        if one is not None:
            self._update([one])

    def close(self) -> None:
        """Stop following; the thread ends within POLL_SECONDS."""
        self._is_closed = True

    def _run(self) -> None:
        self._listen()
        changed: set[UUID] | None = None  # None means all
        while (followed := self._drop_unwanted()) is not None:
            due = [one for one in followed if changed is None or one.message_id in changed]
            try:
                if due:
                    self._update(due)
            except Exception as error:
                log.warning("answers_not_followed", error=type(error).__name__)
                time.sleep(POLL_SECONDS)
            time.sleep(PAUSE_SECONDS)
            changed = self._wait()

    def _drop_unwanted(self) -> list[_Followed] | None:
        """Drop unwanted feeds and return the rest. None, if there is none, ends the thread."""
        now = time.monotonic()
        with self._lock:
            for message_id, one in list(self._followed.items()):
                if one.feed.is_wanted:
                    one.wanted_at = now
                if one.feed.answer is not None or now - one.wanted_at > UNWANTED_SECONDS:
                    del self._followed[message_id]
            if self._followed and not self._is_closed:
                return list(self._followed.values())
            self._thread = None
            self._disconnect()
            return None

    def _update(self, followed: list[_Followed]) -> None:
        with self._updating:
            self._read_changes(followed)

    def _read_changes(self, followed: list[_Followed]) -> None:
        by_id = {one.message_id: one for one in followed}
        values = {
            "ids": list(by_id),
            "attempts": [one.attempt for one in followed],
            "numbers": [one.number for one in followed],
            "wants": [one.wants_context for one in followed],
        }
        with self._database.transaction(tenant_id=None) as db:
            rows = db.execute(_CHANGES, values).all()
            expired = [row.id for row in rows if row.status == "in_progress" and row.is_expired]
            if expired:
                endings.close_expired(db, ids=expired)
        outdated: dict[str, list[_Followed]] = {}
        for row in rows:
            one = by_id[row.id]
            if not self._apply(one, row):
                outdated.setdefault(one.tenant_id, []).append(one)
        for tenant_id, some in outdated.items():
            self._reread(tenant_id, some)

    @staticmethod
    def _apply(one: _Followed, row: Any) -> bool:
        """Apply a change; False if the answer ended, or if a new attempt at it began."""
        if row.status is None:
            one.feed.fail(NotFound("The answer was deleted.", code="message_not_found"))
            return True
        if row.attempt != one.attempt:
            return False
        if row.data is not None:
            one.wants_context = False
            one.feed.set_passages(shown_passages(row.data))
        if row.text:
            one.number = row.number
            one.feed.add_text(row.text)
        return row.status == "in_progress" and not row.is_expired

    def _reread(self, tenant_id: str, outdated: list[_Followed]) -> None:
        """Read answers of one tenant that ended, or of which a new attempt began."""
        by_id = {one.message_id: one for one in outdated}
        with self._database.transaction(tenant_id=tenant_id) as db:
            answers = messages.find_messages(db, tenant_id=tenant_id, message_ids=list(by_id))
            restarted = {
                answer.id: read_state(db, tenant_id=tenant_id, answer=answer)
                for answer in answers
                if answer.attempt != by_id[answer.id].attempt
            }
        for answer in answers:
            one = by_id[answer.id]
            if answer.id in restarted:
                one.attempt, one.number, one.wants_context = answer.attempt, 0, True
                one.feed.restart(restarted[answer.id])
            elif answer.status != "in_progress":
                if answer.status == "complete":
                    one.feed.set_passages(answer.retrieved_context)
                one.feed.end(answer)

    def _listen(self) -> None:
        """Open the LISTEN connection. If that fails, the thread only polls."""
        try:
            url = self._database.engine.url.set(drivername="postgresql")
            connection = psycopg2.connect(
                url.render_as_string(hide_password=False), connect_timeout=3
            )
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {endings.CHANNEL}")
            self._connection = connection
        except psycopg2.Error as error:
            log.warning("answers_not_listened_to", error=type(error).__name__)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                connection.close()

    def _wait(self) -> set[UUID] | None:
        """Wait for a notification; return the changed answers, None after POLL_SECONDS."""
        connection = self._connection
        if connection is None:
            time.sleep(POLL_SECONDS)
            self._listen()
            return None
        try:
            if not select.select([connection], [], [], POLL_SECONDS)[0]:
                return None
            connection.poll()
        except (psycopg2.Error, OSError, ValueError):
            self._disconnect()
            return None
        changed = {
            UUID(id_) for notice in connection.notifies for id_ in notice.payload.split(",") if id_
        }
        connection.notifies.clear()
        return changed
