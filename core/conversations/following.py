"""Follows answers that other processes write.

NOTIFY only wakes the thread, which also polls once a second. So a lost connection, or a pooler
that passes no notifications, only delays events by up to a second. One wake-up reads the changes
of all its answers together. The thread and its one connection exist only while somebody listens
to a live answer of another process.
"""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
from sqlalchemy import text

from core.conversations import endings, messages
from core.conversations.feeds import Feed
from core.conversations.stored_answers import StoredAnswer, read_answer, shown_passages
from core.db import Database
from core.errors import NotFound
from core.telemetry import get_logger

log = get_logger(__name__)

POLL_SECONDS = 1.0
# From one reading to the next, so that many answers that begin or end share one.
PAUSE_SECONDS = 0.05
UNWANTED_SECONDS = 10.0  # how long a feed without listeners is kept up to date
_MAX_WAKES = 4096  # more than the wakes between two readings

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


class _Change(NamedTuple):
    """A row of `_CHANGES`: what is new about an answer. `status` is None if it was deleted."""

    message_id: UUID
    attempt: int
    status: str | None
    is_expired: bool
    text: str | None
    number: int | None
    context: Mapping[str, Any] | None


class _Followed:
    """A feed that the follower keeps up to date, and the number of its last chunk."""

    def __init__(
        self, feed: Feed, *, tenant_id: str, message_id: UUID, number: int, has_context: bool
    ) -> None:
        self.feed, self.tenant_id, self.message_id = feed, tenant_id, message_id
        self.attempt, self.number = feed.attempt, number
        self.wants_context = not has_context
        self.wanted_at = time.monotonic()

    def restart(self, stored: StoredAnswer) -> None:
        """Switch the feed to a new attempt at the answer."""
        self.attempt, self.number = stored.answer.attempt, stored.last_chunk
        self.wants_context = stored.context is None
        self.feed.restart(stored.state())


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
        # Followed since the thread's last reading. They may have changed since their own reading.
        self._new: set[UUID] = set()
        self._woken: socket.socket | None = None  # the thread waits for it, too
        self._waker: socket.socket | None = None

    def follow(self, stored: StoredAnswer, *, tenant_id: str) -> Feed:
        """Return a feed of a live answer, and keep it up to date until the answer ends.

        It has at least the events of `stored`.
        """
        message_id, state = stored.answer.id, stored.state()
        feed = self.adopt(
            Feed(state),
            tenant_id=tenant_id,
            message_id=message_id,
            number=stored.last_chunk,
            has_context=state.passages is not None,
        )
        if feed.is_behind(state):
            self._catch_up(message_id)
        return feed

    def adopt(
        self,
        feed: Feed,
        *,
        tenant_id: str,
        message_id: UUID,
        number: int = 0,
        has_context: bool = False,
    ) -> Feed:
        """Keep `feed`, which has the chunks up to `number`, up to date until its answer ends.

        If the answer is followed already, return the feed of the earlier call.
        """
        one = _Followed(
            feed,
            tenant_id=tenant_id,
            message_id=message_id,
            number=number,
            has_context=has_context,
        )
        with self._lock:
            known = self._followed.get(message_id)
            if known is not None:
                return known.feed
            self._followed[message_id] = one
            self._new.add(message_id)
            if self._thread is None:
                self._start()
            self._wake()
        return feed

    def _start(self) -> None:
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        """Let the thread read the changes of new answers. Needs the lock."""
        if self._waker is not None:
            with contextlib.suppress(BlockingIOError):  # the thread has not read earlier wakes
                self._waker.send(b"\0")

    def _catch_up(self, message_id: UUID) -> None:
        with self._lock:
            one = self._followed.get(message_id)
        if one is not None:
            self._update([one])

    def close(self) -> None:
        """Stop following; the thread ends soon."""
        self._is_closed = True
        with self._lock:
            self._wake()

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
            self._disconnect()
            for one_end in (self._woken, self._waker):
                assert one_end is not None
                one_end.close()
            self._thread = self._woken = self._waker = None
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
        rows = self._database.autocommit(tenant_id=None).execute(_CHANGES, values)
        changes = [_Change(*row) for row in rows]
        self._close_expired(changes)
        outdated: dict[str, list[_Followed]] = {}
        for change in changes:
            one = by_id[change.message_id]
            if not self._apply(one, change):
                outdated.setdefault(one.tenant_id, []).append(one)
        for tenant_id, some in outdated.items():
            self._reread(tenant_id, some)

    def _close_expired(self, changes: list[_Change]) -> None:
        """End the answers whose writers are dead."""
        expired = [
            one.message_id for one in changes if one.status == "in_progress" and one.is_expired
        ]
        if expired:
            with self._database.plain_transaction(tenant_id=None) as db:
                endings.close_expired(db, ids=expired)

    @staticmethod
    def _apply(one: _Followed, change: _Change) -> bool:
        """Apply a change; False if the answer ended, or if a new attempt at it began."""
        if change.status is None:
            one.feed.fail(NotFound("The answer was deleted.", code="message_not_found"))
            return True
        if change.attempt != one.attempt:
            return False
        if change.context is not None:
            one.wants_context = False
            one.feed.set_passages(shown_passages(change.context))
        if change.text:
            assert change.number is not None
            one.number = change.number
            one.feed.add_text(change.text)
        return change.status == "in_progress" and not change.is_expired

    def _reread(self, tenant_id: str, outdated: list[_Followed]) -> None:
        """Read answers of one tenant that ended, or of which a new attempt began."""
        by_id = {one.message_id: one for one in outdated}
        with self._database.plain_transaction(tenant_id=tenant_id) as db:
            answers = messages.find_messages(db, tenant_id=tenant_id, message_ids=list(by_id))
            restarted = [
                read_answer(db, tenant_id=tenant_id, message_id=answer.id)
                for answer in answers
                if answer.attempt != by_id[answer.id].attempt
            ]
        for stored in restarted:
            by_id[stored.answer.id].restart(stored)
        for answer in answers:
            feed = by_id[answer.id].feed
            if answer.attempt == feed.attempt and answer.status != "in_progress":
                if answer.status == "complete":
                    feed.set_passages(answer.retrieved_context)
                feed.end(answer)

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
        """Wait for news; return the answers that are new or changed, None after POLL_SECONDS."""
        connection, woken = self._connection, self._woken
        assert woken is not None
        if connection is None:
            time.sleep(POLL_SECONDS)
            self._listen()
            return None
        try:
            ready = _readable(connection.fileno(), woken.fileno())
            if woken.fileno() in ready:
                woken.recv(_MAX_WAKES)
            if connection.fileno() in ready:
                connection.poll()
        except (psycopg2.Error, OSError):
            self._disconnect()
            return None
        notices = [id_ for notice in connection.notifies for id_ in notice.payload.split(",")]
        connection.notifies.clear()
        with self._lock:
            new, self._new = self._new, set()
        return new.union(map(UUID, filter(None, notices))) if ready else None


def _readable(*files: int) -> set[int]:
    """Wait up to POLL_SECONDS, and return the file descriptors that can be read.

    `select.select` takes no descriptor above 1,023, which a process with many streams has.
    """
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return {file for file, _ in poll.poll(POLL_SECONDS * 1000)}
