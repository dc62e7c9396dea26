"""Writes the answer of one turn in the turn's thread.

While it waits for the provider it holds no transaction and no connection. Text goes through a
draft (`core.conversations.drafts`), so listeners see only stored text.
"""

import threading
import time
from dataclasses import dataclass, field

from core.answering.base import AnswerStream, Question
from core.answering.citations import CitationFilter, Verbatim
from core.answering.support import measure_support
from core.bootstrap import Services
from core.conversations import endings, messages, titles, turns
from core.conversations.admission import Admission, Stage
from core.conversations.chat import PreparedTurn, make_question
from core.conversations.drafts import Draft, DraftWriter
from core.conversations.endings import Ending
from core.conversations.events import AnswerState
from core.conversations.feeds import Feed
from core.conversations.message_columns import INTERRUPTED
from core.conversations.messages import MessageRecord
from core.conversations.trace import TurnTrace
from core.db import Executor
from core.errors import NotFound, ProviderError, RagError
from core.telemetry import get_logger

log = get_logger(__name__)

SAVE_ATTEMPTS = 3
SAVE_PAUSE_SECONDS = 1.0


@dataclass(slots=True)
class AnswerWriter:
    """Writes one answer. If `stop` is set, the answer ends as interrupted.

    Its transactions are inside `at_database`, which limits how many turns have one.
    """

    services: Services
    turn: PreparedTurn
    feed: Feed
    drafts: DraftWriter
    stop: threading.Event
    at_database: Admission
    trace: TurnTrace = field(default_factory=TurnTrace)
    parts: list[str] = field(default_factory=list)
    stream: AnswerStream | None = None
    draft: Draft = field(init=False)

    def __post_init__(self) -> None:
        self.draft = self._new_draft()

    def run(self) -> bool:
        """Write the answer and store its end; return whether the session got its first title.

        Never raises. If the end cannot be stored, the feed stays open, and the follower reads
        the end from the database later.
        """
        try:
            ending = self._write()
        except RagError as error:
            ending = self._failed(error)
        except Exception:
            log.exception("chat_failed", message_id=str(self.draft.message_id))
            ending = self._failed(RagError("The answer could not be written."))
        finally:
            self.drafts.remove(self.draft)
        return self._finish(ending)

    def _new_draft(self) -> Draft:
        answer = self.turn.rows.answer
        draft = Draft(message_id=answer.id, attempt=answer.attempt, on_stored=self.feed.add_text)
        self.drafts.add(draft)
        return draft

    def _write(self) -> Ending:
        question = make_question(self.services, self.turn, self.trace)
        started = time.perf_counter()
        self.stream = self.services.answerer.answer(question, should_stop=self._should_stop)
        self.trace.note("prompt", since=started)
        self._publish_context(question)
        self._generate(question)
        if self.stream.finish_reason == "cancelled":
            return self._ending("interrupted", error=INTERRUPTED)
        if not "".join(self.parts).strip():
            raise ProviderError("The chat provider sent an empty answer.")
        return self._ending("complete", finish_reason=self.stream.finish_reason)

    def _autocommit(self) -> Executor:
        return self.services.database.autocommit(tenant_id=self.turn.tenant_id)

    def _should_stop(self) -> bool:
        return self.draft.is_lost or self.stop.is_set()

    def _publish_context(self, question: Question) -> None:
        """Store the answer's passages before its first word, for the `retrieval` event."""
        with self.at_database(Stage.CONTEXT):
            is_held = self._set_context(self._autocommit(), question, attempt=self.draft.attempt)
        if is_held:
            self.feed.set_passages([passage.as_dict() for passage in question.passages])
        else:
            self.draft.is_lost = True

    def _set_context(self, db: Executor, question: Question, *, attempt: int) -> bool:
        assert self.stream is not None
        id_, passages = self.draft.message_id, [one.stored() for one in question.passages]
        data = {"passages": passages, "model": self.stream.model}
        return endings.set_context(db, message_id=id_, attempt=attempt, data=data)

    def _generate(self, question: Question) -> None:
        """Pass the provider's text on, without markers that refer to no passage."""
        assert self.stream is not None
        stream, started = self.stream, time.perf_counter()
        citations = _citations(question)

        def receive(delta: str) -> None:
            nonlocal citations
            if stream.restarted:
                stream.restarted = False
                citations = _citations(question)
                self._restart(question)
            if "first_token" not in self.trace.timings:
                self.trace.note("first_token", since=started)
            self._write_text(citations.feed(delta))

        stream.read(receive)
        self._write_text(citations.flush())
        self.trace.note("generate", since=started)

    def _write_text(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.drafts.write(self.draft, text)

    def _restart(self, question: Question) -> None:
        """Begin a new attempt, because the text so far was the model's reasoning.

        Listeners have seen that text, so a new attempt is needed to get new event ids.
        """
        self.drafts.remove(self.draft)
        self.parts.clear()
        answer = self.turn.rows.answer
        database, tenant_id = self.services.database, self.turn.tenant_id
        with (
            self.at_database(Stage.CONTEXT),
            database.plain_transaction(tenant_id=tenant_id) as db,
        ):
            if not turns.restart_answer(db, message_id=answer.id, attempt=answer.attempt):
                self.draft.is_lost = True
                return
            self._set_context(db, question, attempt=answer.attempt + 1)
        answer.attempt += 1
        self.draft = self._new_draft()
        passages = [passage.as_dict() for passage in question.passages]
        self.feed.restart(AnswerState(self.turn.rows.question, answer.attempt, passages))

    def _ending(
        self,
        status: str,
        *,
        finish_reason: str | None = None,
        error: dict[str, str] | None = None,
    ) -> Ending:
        stream = self.stream
        content = "".join(self.parts)
        self.trace.support = measure_support(
            content, self.trace.passages, question=self.turn.rows.question.content
        )
        return Ending(
            status=status,
            finish_reason=finish_reason,
            error=error,
            content=content,
            passages=self.trace.passages,
            model=stream.model if stream else self.services.answerer.model,
            usage=stream.usage.as_dict() if stream and stream.usage else None,
            support=self.trace.support.share,
        )

    def _failed(self, error: RagError) -> Ending:
        message_id = str(self.turn.rows.answer.id)
        log.warning("answer_failed", message_id=message_id, code=error.code, detail=error.detail)
        return self._ending("failed", error={"code": error.code, "detail": error.detail})

    def _finish(self, ending: Ending) -> bool:
        for attempt in range(1, SAVE_ATTEMPTS + 1):
            try:
                return self._store(ending)
            except Exception as error:
                log.warning(
                    "answer_not_saved",
                    message_id=str(self.draft.message_id),
                    error=type(error).__name__,
                )
            if attempt < SAVE_ATTEMPTS:
                time.sleep(SAVE_PAUSE_SECONDS)
        return False

    def _store(self, ending: Ending) -> bool:
        """Commit text, passages, status, trace and title at once; then send the last event."""
        question = self.turn.rows.question
        title = titles.title_from(question.content) if ending.status == "complete" else None
        with self.at_database(Stage.END):
            ended = endings.store_end(
                self._autocommit(),
                message_id=self.draft.message_id,
                attempt=self.draft.attempt,
                ending=ending,
                title=title,
                trace=self.trace.as_dict(model=ending.model, usage=ending.usage),
            )
            # The statement returns the message, because after it an edit may delete the answer.
            stored = ended.message if ended else self._find_answer()
        self._end_feed(stored)
        return ended is not None and ended.is_titled

    def _find_answer(self) -> MessageRecord | None:
        ids = [self.draft.message_id]
        found = messages.find_messages(
            self._autocommit(), tenant_id=self.turn.tenant_id, message_ids=ids
        )
        return found[0] if found else None

    def _end_feed(self, stored: MessageRecord | None) -> None:
        """Send the stored end to the listeners. A cancel may have ended the answer first."""
        if stored is None:  # deleted with its session meanwhile
            self.feed.fail(NotFound("There is no such message.", code="message_not_found"))
        elif stored.attempt == self.draft.attempt and stored.status != "in_progress":
            self.feed.end(stored)


def _citations(question: Question) -> CitationFilter | Verbatim:
    """Return the filter that removes markers that refer to no passage.

    Without a search, `[n]` is ordinary text and stays.
    """
    if not question.grounded:
        return Verbatim()
    return CitationFilter({passage.index for passage in question.passages})
