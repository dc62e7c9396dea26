"""Starts the turns of a process, lets clients listen to them, and stops them.

A turn runs in its own thread and continues when its client leaves. A session runs one turn at
a time: within a process in the order of the requests, between processes by the lock on the
session's row (`core.conversations.turns`).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from uuid import UUID

from core.access.idempotency import Claim
from core.bootstrap import Services
from core.conversations import endings, messages, titles, turns
from core.conversations.admission import Admission, Stage
from core.conversations.chat import Opening, PreparedTurn, prepare_turn
from core.conversations.drafts import DraftWriter
from core.conversations.endings import Ending
from core.conversations.events import AnswerState, ChatEvent
from core.conversations.feeds import Feed, listen
from core.conversations.following import Follower
from core.conversations.message_columns import INTERRUPTED
from core.conversations.messages import MessageRecord
from core.conversations.stored_answers import read_answer
from core.conversations.turns import TurnInProgress
from core.conversations.writer import AnswerWriter
from core.errors import Conflict, Unavailable
from core.telemetry import get_logger

log = get_logger(__name__)

MAX_TURNS = 256  # per process, with waiting turns, because each turn has a thread
# This many turns of a process have a transaction at the same time. When hundreds begin at once, the
# others wait, requests find connections in the pool, and few threads want the interpreter lock.
MAX_AT_DATABASE = 2
# The LLM is asked for a title only after no turn has begun for this long, because many LLMs
# answer one request at a time.
TITLE_DELAY_SECONDS = 1.5
TITLE_PATIENCE_SECONDS = 8.0  # the longest wait for such a quiet moment
TITLE_POLL_SECONDS = 0.1
CATCH_UP_SECONDS = 2.0  # of a feed with the text that is stored
WAIT_POLL_SECONDS = 0.2  # how often the first waiting turn checks whether its session is free


class TooManyTurns(Unavailable):
    """The process has reached its limit of turns at the same time."""

    default_code = "too_many_streams"


class Turn:
    """A requested turn. Later it is either refused or gets a feed."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._feed: Feed | None = None
        self._refusal: Exception | None = None
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_decided(self) -> bool:
        with self._changed:
            return self._feed is not None or self._refusal is not None

    def feed(self) -> Feed:
        """Wait for the turn's feed and return it. Raises the error that refused the turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._feed is not None or self._refusal is not None)
            if self._refusal is not None:
                raise self._refusal
            assert self._feed is not None
            return self._feed

    def when_decided(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the turn is opened or refused. It must not block."""
        with self._changed:
            if not self.is_decided:
                self._callbacks.append(callback)
                return
        callback()

    def when_refused(self, callback: Callable[[], None]) -> None:
        """Call `callback` if the turn is refused. It must not block."""
        self.when_decided(lambda: None if self._refusal is None else callback())

    def decide(self, *, feed: Feed | None = None, refusal: Exception | None = None) -> None:
        with self._changed:
            self._feed, self._refusal = feed, refusal
            self._changed.notify_all()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class LiveAnswers:
    """The answers that this process writes, or follows while another process writes them."""

    def __init__(self, services: Services, *, max_turns: int = MAX_TURNS) -> None:
        self._services = services
        self._max_turns = max_turns
        self._drafts = DraftWriter(services.database)
        self._follower = Follower(services.database)
        self._changed = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._feeds: dict[UUID, Feed] = {}
        self._lines: dict[UUID, deque[object]] = {}
        self._stop = threading.Event()
        self._at_database = Admission(MAX_AT_DATABASE)
        self._begun_at = 0.0  # monotonic time of the last turn's begin

    def start(
        self,
        *,
        tenant_id: str,
        session_id: UUID,
        opening: Opening,
        claim: Claim | None = None,
        when_over: Callable[[Feed], None] = lambda feed: None,
    ) -> Turn:
        """Begin a turn and return at once. Raises TooManyTurns.

        `opening` writes the turn's rows once the session is free. The turn's thread calls
        `when_over` after it has stored the end of the answer.
        """
        turn = Turn()
        thread = threading.Thread(
            target=self._run, args=(turn, tenant_id, session_id, opening, claim, when_over)
        )
        with self._changed:
            if self._stop.is_set() or len(self._threads) >= self._max_turns:
                raise TooManyTurns("Too many answers are being written; try again shortly.")
            self._threads.add(thread)
            self._begun_at = time.monotonic()
        thread.start()
        return turn

    def follow(self, *, tenant_id: str, message_id: UUID) -> Feed:
        """Return the feed of an answer; `message_id` may be its question's. Raises NotFound."""
        db = self._services.database.autocommit(tenant_id=tenant_id)
        stored = read_answer(db, tenant_id=tenant_id, message_id=message_id)
        answer = stored.answer
        feed = self._local_feed(answer)
        if feed is not None:
            # The client may have events from another process that this one has stored, but not
            # yet added to the feed.
            feed.wait_for(stored.state(), timeout=CATCH_UP_SECONDS)
            return feed
        if answer.error == INTERRUPTED and self._close_dead(answer.id):
            return self.follow(tenant_id=tenant_id, message_id=answer.id)
        if answer.status != "in_progress":
            return Feed(stored.state())
        return self._follower.follow(stored, tenant_id=tenant_id)

    def _close_dead(self, message_id: UUID) -> bool:
        """End an answer whose writer seems dead; False if it has ended already.

        Before listeners hear of an end it must be stored, because until then a writer that was
        only delayed could continue.
        """
        with self._services.database.plain_transaction(tenant_id=None) as db:
            return endings.close_expired(db, ids=[message_id]) > 0

    def cancel(self, *, tenant_id: str, message_id: UUID) -> MessageRecord:
        """End a live answer with its stored text, whichever process writes it.

        The writer notices it within a second and ends its call to the provider. Raises
        NotFound, and Conflict (`message_finished`) for an answer that ended in another way.
        """
        with self._services.database.plain_transaction(tenant_id=tenant_id) as db:
            answer = turns.find_answer(db, tenant_id=tenant_id, message_id=message_id)
            ending = Ending(status="interrupted", finish_reason="cancelled")
            endings.end_answer(db, message_id=answer.id, attempt=answer.attempt, ending=ending)
            stored = messages.get_message(db, tenant_id=tenant_id, message_id=answer.id)
        if stored.finish_reason != "cancelled":
            raise Conflict("The answer is over already.", code="message_finished")
        return stored

    def close(self, *, patience: float = 0.0) -> None:
        """Give live answers `patience` seconds to end, then interrupt them and wait for them."""
        deadline = time.monotonic() + patience
        with self._changed:
            self._changed.wait_for(lambda: not self._threads, max(0.0, patience))
            self._stop.set()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(5.0, deadline - time.monotonic()))
        self._follower.close()

    @property
    def count(self) -> int:
        """The number of running and waiting turns."""
        with self._changed:
            return len(self._threads)

    def _local_feed(self, answer: MessageRecord) -> Feed | None:
        with self._changed:
            feed = self._feeds.get(answer.id)
        return feed if feed is not None and feed.attempt == answer.attempt else None

    def _run(
        self,
        turn: Turn,
        tenant_id: str,
        session_id: UUID,
        opening: Opening,
        claim: Claim | None,
        when_over: Callable[[Feed], None],
    ) -> None:
        feed: Feed | None = None
        prepared: PreparedTurn | None = None
        try:
            prepared = self._prepare(tenant_id, session_id, opening, claim)
            feed, needs_title = self._write(turn, prepared)
            when_over(feed)
            if needs_title and self._wait_for_quiet():
                titles.improve_title(self._services, tenant_id=tenant_id, rows=prepared.rows)
        except Exception as error:
            if turn.is_decided:
                log.exception("turn_failed")
            turn.decide(refusal=error)
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()

    def _wait_for_quiet(self) -> bool:
        """Wait until a title can be written. False if the process ends."""
        over_at = time.monotonic()
        while not self._stop.wait(TITLE_POLL_SECONDS):
            now = time.monotonic()
            quiet = now - max(self._begun_at, over_at) >= TITLE_DELAY_SECONDS
            if quiet or now - over_at >= TITLE_PATIENCE_SECONDS:
                return True
        return False

    def _prepare(
        self, tenant_id: str, session_id: UUID, opening: Opening, claim: Claim | None
    ) -> PreparedTurn:
        """Wait until the session is free, in order of arrival. Raises TurnInProgress."""
        deadline = time.monotonic() + self._services.settings.chat_wait_seconds
        ticket = object()
        with self._changed:
            line = self._lines.setdefault(session_id, deque())
            line.append(ticket)
        try:
            while True:
                self._wait_for_head(line, ticket, deadline)
                try:
                    with self._at_database(Stage.OPENING):
                        return prepare_turn(
                            self._services, tenant_id=tenant_id, opening=opening, claim=claim
                        )
                except TurnInProgress:
                    if time.monotonic() >= deadline or self._stop.is_set():
                        raise
                with self._changed:
                    self._changed.wait(WAIT_POLL_SECONDS)
        finally:
            self._leave_line(session_id, line, ticket)

    def _wait_for_head(self, line: deque[object], ticket: object, deadline: float) -> None:
        with self._changed:
            left = max(0.0, deadline - time.monotonic())
            self._changed.wait_for(lambda: line[0] is ticket or self._stop.is_set(), left)
            if line[0] is not ticket:
                raise TurnInProgress

    def _leave_line(self, session_id: UUID, line: deque[object], ticket: object) -> None:
        with self._changed:
            line.remove(ticket)
            if not line and self._lines.get(session_id) is line:
                del self._lines[session_id]
            self._changed.notify_all()

    def _write(self, turn: Turn, prepared: PreparedTurn) -> tuple[Feed, bool]:
        """Write the whole answer. Return its feed, and whether the session needs an LLM's title."""
        rows, tenant_id = prepared.rows, prepared.tenant_id
        if rows.is_over:
            feed = self.follow(tenant_id=tenant_id, message_id=rows.answer.id)
            turn.decide(feed=feed)
            return feed, False
        feed = Feed(AnswerState(rows.question, rows.answer.attempt))
        with self._changed:
            self._feeds[rows.answer.id] = feed
        turn.decide(feed=feed)
        try:
            writer = AnswerWriter(
                self._services, prepared, feed, self._drafts, self._stop, self._at_database
            )
            needs_title = writer.run()
        finally:
            with self._changed:
                if self._feeds.get(rows.answer.id) is feed:
                    del self._feeds[rows.answer.id]
                self._changed.notify_all()
        if feed.answer is None:  # the end could not be stored; the sweep will end the answer
            self._follower.adopt(
                feed, tenant_id=tenant_id, message_id=rows.answer.id, number=writer.draft.number
            )
        return feed, needs_title


def drain(turn: Turn) -> Iterator[ChatEvent]:
    """Yield the events of a turn as they come. Raises the error that refused the turn."""
    for event in listen(turn.feed()):
        if event is not None:
            yield event
