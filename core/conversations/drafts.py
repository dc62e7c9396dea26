"""Stores the text of all answers that this process writes, many answers per statement.

Listeners see text only after it is stored. So text that a client has received is never lost,
and every process shows the same text. One thread flushes: FLUSH_SECONDS after the last flush,
or at once when an answer has FLUSH_CHARS new characters. The thread also renews the leases and
notices cancelled answers: their draft becomes `lost` and stores nothing more. Between two
flushes the thread holds no connection.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from core.conversations.endings import CHANNEL
from core.conversations.turns import LEASE_SECONDS, RENEW_SECONDS
from core.db import Database
from core.telemetry import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 0.1
FLUSH_CHARS = 1024
RETRY_SECONDS = 1.0  # after a flush that failed
CHECK_SECONDS = 0.4  # so that a cancelled answer's provider call ends within a second

NOTIFY_IDS = 200  # per payload of NOTIFY, which must be shorter than 8,000 bytes

_STORE = text(
    f"""
    WITH new AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:numbers AS int[]),
            CAST(:texts AS text[])
        ) AS new (message_id, attempt, number, text)
    ),
    held AS MATERIALIZED (
        -- The lock orders this before or after a cancel, so no chunk is stored after a cancel.
        SELECT m.id, m.tenant_id FROM messages m
        WHERE (m.id, m.attempt) IN (SELECT message_id, attempt FROM new)
          AND m.status = 'in_progress'
        ORDER BY m.id FOR SHARE
    ),
    stored AS (
        INSERT INTO answer_chunks (message_id, attempt, number, tenant_id, text)
        SELECT new.message_id, new.attempt, new.number, held.tenant_id, new.text
        FROM new JOIN held ON held.id = new.message_id
        RETURNING message_id, attempt
    ),
    payloads AS (
        SELECT string_agg(CAST(message_id AS text), ',') AS ids
        FROM (SELECT message_id, row_number() OVER () / {NOTIFY_IDS} AS part FROM stored) AS parts
        GROUP BY part
    ),
    woken AS MATERIALIZED (SELECT pg_notify('{CHANNEL}', ids) FROM payloads)
    SELECT message_id, attempt FROM stored WHERE (SELECT count(*) FROM woken) > 0
    """  # noqa: S608  # constants only
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
    """One attempt at an answer; attempts count from 1. A writer owns exactly one attempt."""

    message_id: UUID
    attempt: int


class Chunk(NamedTuple):
    """The text that one flush stores; `number` counts from 1 within an attempt."""

    number: int
    text: str


class Draft:
    """The text of one answer that waits to be stored. One thread adds text to it.

    The flushing thread calls `on_stored` with each committed text. `is_lost` becomes true when
    the answer was cancelled or another process took it over; then no more text is stored.
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
    def attempt_key(self) -> Attempt:
        return Attempt(self.message_id, self.attempt)

    @property
    def number(self) -> int:
        """The number of the last stored chunk, if none is being stored."""
        return self._number

    def add(self, text: str) -> int:
        """Add text, and return the number of characters that wait to be stored."""
        with self._settled:
            self._pending.append(text)
            return sum(map(len, self._pending))

    def take(self) -> Chunk | None:
        """Remove and return the waiting text, if any; then call `settle` or `put_back`."""
        with self._settled:
            if not self._pending:
                return None
            text = "".join(self._pending)
            self._pending, self._in_flight = [], True
            self._number += 1
            return Chunk(self._number, text)

    def settle(self, text: str, *, stored: bool) -> None:
        """Note that the chunk was committed, or was refused because the attempt is outdated."""
        if stored:
            self._on_stored(text)
        with self._settled:
            self.is_lost = self.is_lost or not stored
            self._in_flight = False
            self._settled.notify_all()

    def put_back(self, text: str) -> None:
        """Return the text after a failed flush; the next flush stores it."""
        with self._settled:
            self._pending.insert(0, text)
            self._number -= 1
            self._in_flight = False
            self._settled.notify_all()

    def wait_settled(self) -> None:
        """Wait until no flush of this draft is under way, so that the answer may end."""
        with self._settled:
            while self._in_flight:
                self._settled.wait()


class DraftWriter:
    """Flushes drafts in one thread, which runs while there are drafts."""

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
        """Stop storing the draft, and wait for a flush that is under way."""
        with self._lock:
            self._drafts.discard(draft)
        draft.wait_settled()

    def write(self, draft: Draft, text: str) -> None:
        """Add text to a draft; it is stored within FLUSH_SECONDS."""
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
            self._renew_or_check(drafts)
            self._is_urgent.wait(FLUSH_SECONDS)

    def _flush(self, drafts: list[Draft]) -> None:
        taken = [(draft, chunk) for draft in drafts if (chunk := draft.take()) is not None]
        if not taken:
            return
        try:
            held = self._store(taken)
        except Exception as error:
            log.warning("answers_not_saved", count=len(taken), error=type(error).__name__)
            for draft, chunk in taken:
                draft.put_back(chunk.text)
            time.sleep(RETRY_SECONDS)
            return
        for draft, chunk in taken:
            draft.settle(chunk.text, stored=draft.attempt_key in held)

    def _store(self, taken: list[tuple[Draft, Chunk]]) -> set[Attempt]:
        """Store the chunks, and return the attempts that are still in progress."""
        stored = self._database.autocommit(tenant_id=None).execute(
            _STORE,
            {
                "ids": [draft.message_id for draft, _ in taken],
                "attempts": [draft.attempt for draft, _ in taken],
                "numbers": [chunk.number for _, chunk in taken],
                "texts": [chunk.text for _, chunk in taken],
            },
        )
        return {Attempt(*row) for row in stored}

    def _renew_or_check(self, drafts: list[Draft]) -> None:
        """Renew the leases or, more often, only check them; mark drafts that lost theirs."""
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
        try:
            rows = self._database.autocommit(tenant_id=None).execute(statement, values)
            held = {Attempt(*row) for row in rows}
        except Exception as error:
            log.warning("leases_not_renewed", error=type(error).__name__)
            self._renewed_at = 0.0
            return
        for draft in drafts:
            draft.is_lost = draft.is_lost or draft.attempt_key not in held
