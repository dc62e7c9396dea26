"""Stores the text of all answers that this process writes, many in one statement.

A listener sees text only after it is stored: what a client has received is never lost, and
every process shows the same. One thread flushes: FLUSH_SECONDS after the last time, or at once
when an answer has FLUSH_CHARS more. It renews the leases too, and finds out who was cancelled:
a draft whose attempt is outdated stores nothing more and is `lost`. No connection is held
between two flushes.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.conversations.endings import notify
from core.conversations.turns import LEASE_SECONDS, RENEW_SECONDS
from core.db import Database
from core.telemetry import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 0.1
FLUSH_CHARS = 1024
RETRY_SECONDS = 1.0  # after a flush that failed
CHECK_SECONDS = 0.4  # a cancelled answer's provider call ends within a second

_STORE = text(
    """
    WITH new AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:numbers AS int[]),
            CAST(:texts AS text[])
        ) AS new (message_id, attempt, number, text)
    ),
    held AS MATERIALIZED (
        -- The lock orders this before or after a cancel: no chunk is stored behind its back.
        SELECT m.id, m.tenant_id FROM messages m
        WHERE (m.id, m.attempt) IN (SELECT message_id, attempt FROM new)
          AND m.status = 'in_progress'
        ORDER BY m.id FOR SHARE
    )
    INSERT INTO answer_chunks (message_id, attempt, number, tenant_id, text)
    SELECT new.message_id, new.attempt, new.number, held.tenant_id, new.text
    FROM new JOIN held ON held.id = new.message_id
    RETURNING message_id, attempt
    """
)
_RENEW = text(
    """
    UPDATE messages SET lease_expires_at = clock_timestamp() + make_interval(secs => :seconds)
    WHERE (id, attempt) IN (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]))
    ) AND status = 'in_progress'
    RETURNING id, attempt
    """
)
_CHECK = text(
    """
    SELECT id, attempt FROM messages
    WHERE (id, attempt) IN (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]))
    ) AND status = 'in_progress'
    """
)


class Attempt(NamedTuple):
    """What a writer holds: an answer, and how often it was begun."""

    message_id: UUID
    attempt: int


class Chunk(NamedTuple):
    """Text that is stored by one flush; `number` counts from 1 within an attempt."""

    number: int
    text: str


class Draft:
    """The text of one answer on its way into the database. One thread writes to it.

    The flushing thread calls `on_stored` with each text that is committed. `is_lost`
    becomes true when the answer was cancelled or taken over: nothing more of it is stored.
    """

    def __init__(self, *, message_id: UUID, attempt: int, on_stored: Callable[[str], None]) -> None:
        self.message_id, self.attempt = message_id, attempt
        self.is_lost = False
        self._on_stored = on_stored
        self._settled = threading.Condition()
        self._pending: list[str] = []
        self._number = 0
        self._in_flight = False

    @property
    def held_by(self) -> Attempt:
        return Attempt(self.message_id, self.attempt)

    def add(self, text: str) -> int:
        """Take more text; the number of characters that wait to be stored."""
        with self._settled:
            self._pending.append(text)
            return sum(map(len, self._pending))

    def take(self) -> Chunk | None:
        """The next chunk, if there is one; `settle` or `put_back` must follow."""
        with self._settled:
            if not self._pending:
                return None
            text = "".join(self._pending)
            self._pending, self._in_flight = [], True
            self._number += 1
            return Chunk(self._number, text)

    def settle(self, text: str, *, stored: bool) -> None:
        """The chunk is committed, or refused since the attempt is outdated."""
        if stored:
            self._on_stored(text)
        with self._settled:
            self.is_lost = self.is_lost or not stored
            self._in_flight = False
            self._settled.notify_all()

    def put_back(self, text: str) -> None:
        """The flush failed and nothing was committed: the chunk goes with the next one."""
        with self._settled:
            self._pending.insert(0, text)
            self._number -= 1
            self._in_flight = False
            self._settled.notify_all()

    def wait_settled(self) -> None:
        """Return when no flush of this draft is under way, so that the answer may end."""
        with self._settled:
            while self._in_flight:
                self._settled.wait()


class DraftWriter:
    """The thread that flushes; it runs while there are drafts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._drafts: set[Draft] = set()
        self._has_text, self._is_urgent = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._renewed_at = self._checked_at = 0.0

    def add(self, draft: Draft) -> None:
        with self._lock:
            self._drafts.add(draft)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="drafts", daemon=True)
                self._thread.start()

    def remove(self, draft: Draft) -> None:
        """No more of it is to be stored; waits for a flush that is under way."""
        with self._lock:
            self._drafts.discard(draft)
        draft.wait_settled()

    def write(self, draft: Draft, text: str) -> None:
        """Take more text of an answer, to be stored within FLUSH_SECONDS."""
        if draft.add(text) >= FLUSH_CHARS:
            self._is_urgent.set()
        self._has_text.set()

    def _run(self) -> None:
        while True:
            self._has_text.wait(CHECK_SECONDS)
            self._has_text.clear()
            self._is_urgent.clear()
            with self._lock:
                drafts = list(self._drafts)
                if not drafts:
                    self._thread = None
                    return
            self._flush(drafts)
            self._keep_alive(drafts)
            self._is_urgent.wait(FLUSH_SECONDS)

    def _flush(self, drafts: list[Draft]) -> None:
        taken = [(draft, chunk) for draft in drafts if (chunk := draft.take()) is not None]
        if not taken:
            return
        try:
            with self._database.transaction(tenant_id=None) as db:
                held = self._store(db, taken)
        except Exception as error:
            log.warning("answers_not_saved", count=len(taken), error=type(error).__name__)
            for draft, chunk in taken:
                draft.put_back(chunk.text)
            time.sleep(RETRY_SECONDS)
            return
        for draft, chunk in taken:
            draft.settle(chunk.text, stored=draft.held_by in held)

    @staticmethod
    def _store(db: Session, taken: list[tuple[Draft, Chunk]]) -> set[Attempt]:
        stored = db.execute(
            _STORE,
            {
                "ids": [draft.message_id for draft, _ in taken],
                "attempts": [draft.attempt for draft, _ in taken],
                "numbers": [chunk.number for _, chunk in taken],
                "texts": [chunk.text for _, chunk in taken],
            },
        )
        held = {Attempt(*row) for row in stored}
        notify(db, {one.message_id for one in held})
        return held

    def _keep_alive(self, drafts: list[Draft]) -> None:
        now = time.monotonic()
        if now - self._renewed_at >= RENEW_SECONDS:
            statement, self._renewed_at, self._checked_at = _RENEW, now, now
        elif now - self._checked_at >= CHECK_SECONDS:
            statement, self._checked_at = _CHECK, now
        else:
            return
        values = {
            "ids": [draft.message_id for draft in drafts],
            "attempts": [draft.attempt for draft in drafts],
            "seconds": LEASE_SECONDS,
        }
        if statement is _CHECK:
            del values["seconds"]
        try:
            with self._database.transaction(tenant_id=None) as db:
                held = {Attempt(*row) for row in db.execute(statement, values)}
        except Exception as error:
            log.warning("leases_not_renewed", error=type(error).__name__)
            self._renewed_at = 0.0
            return
        for draft in drafts:
            draft.is_lost = draft.is_lost or draft.held_by not in held
