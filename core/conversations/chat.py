"""A chat turn, as a generator of events that JSON and SSE drain alike.

Both messages of the turn are written in one transaction before anything is
generated, so that two turns on one session never interleave; the assistant's
starts as `interrupted` and keeps what is written so far, about once a second:
a process that dies in mid-answer leaves exactly that. No transaction and no
connection is held while the answer is written.

A turn that was asked for with an idempotency key, and broke off or failed, goes on
when it is asked for again: the question is there once, and its answer is written anew.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from core.access import idempotency
from core.access.idempotency import Claim
from core.answering.base import AnswerStream, Question, Turn
from core.answering.citations import (
    CitationFilter,
    Verbatim,
    best_quote,
    cited_statements,
    verbatim_quote,
)
from core.answering.passages import Passage
from core.answering.prompt import standalone_query
from core.bootstrap import Services
from core.conversations import memory as memories
from core.conversations import messages, turns
from core.conversations.messages import MessageRecord
from core.conversations.trace import TurnTrace, record_trace
from core.conversations.turns import TurnRows
from core.errors import Conflict, ProviderError, RagError
from core.search import retrieval
from core.search.candidates import Mode
from core.search.reach import Reach, resolve_reach
from core.telemetry import get_logger
from core.text.words import content_stems

log = get_logger(__name__)

Memory = Literal["none", "session", "user"]

DEFAULT_TOP_K = 5
SEARCH_MODE: Mode = "hybrid"
HISTORY_MESSAGES = 40  # read from the session; the token budget cuts further
SAVE_SECONDS = 1.0  # how much of an answer a killed process can lose


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """`name` is that of the server-sent event; `data` holds records, not JSON."""

    name: str
    data: dict[str, Any]


@dataclass(slots=True)
class _Answer:
    """The assistant's message while it is being written."""

    record: MessageRecord
    lease: datetime
    trace: TurnTrace
    passages: Sequence[Passage] = ()
    parts: list[str] = field(default_factory=list)
    status: str = "interrupted"
    cancelled: bool = False
    model: str | None = None
    usage: dict[str, Any] | None = None
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def content(self) -> str:
        return "".join(self.parts)


def run_turn(
    services: Services,
    *,
    tenant_id: str,
    session_id: UUID,
    message: str,
    use_rag: bool = True,
    top_k: int | None = None,
    document_ids: Sequence[UUID] | None = None,
    memory: Memory = "session",
    claim: Claim | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[ChatEvent]:
    """Answer `message` in a session, event by event; see the HTTP contract for their order.

    The first event is yielded once both messages are committed. Before that,
    NotFound (session, or a document out of reach) or Unavailable is raised;
    after it, whatever goes wrong is an `error` event, and closing the generator
    leaves an `interrupted` answer with what had been produced. So does `should_stop`,
    which is asked while the provider is silent too.

    `claim` is that on the request's idempotency key: with it a turn that an earlier
    attempt began is gone on with, or told again if its answer is complete.
    """
    trace = TurnTrace()
    rows = _begin(
        services,
        tenant_id=tenant_id,
        session_id=session_id,
        message=message,
        document_ids=document_ids if use_rag else None,
        claim=claim,
    )
    if rows.lease is None:
        yield from _replay_turn(rows)
        return
    answer = _Answer(rows.answer, rows.lease, trace)
    try:
        yield ChatEvent("message_created", {"user_message": rows.asked})
        question = _ask(
            services,
            tenant_id=tenant_id,
            asked=rows.asked,
            use_rag=use_rag,
            top_k=top_k or DEFAULT_TOP_K,
            document_ids=document_ids,
            memory=memory,
            trace=trace,
        )
        answer.passages = question.passages
        yield ChatEvent("retrieval", {"passages": list(question.passages)})
        for delta in _write(services, tenant_id, answer, question, should_stop):
            yield ChatEvent("delta", {"content": delta})
        if answer.cancelled:
            return
        answer.status = "complete"
    except RagError as error:
        answer.status = "failed"
        yield _failed(services, tenant_id, answer, error)
        return
    except Exception:
        log.exception("chat_failed", message_id=str(rows.answer.id))
        answer.status = "failed"
        unexpected = RagError("The answer could not be written.")
        yield _failed(services, tenant_id, answer, unexpected)
        return
    finally:
        # Runs at a close() too, when the client is gone: `interrupted` then.
        if answer.status == "interrupted":
            _save_quietly(services, tenant_id, answer)
    yield ChatEvent("message_completed", {"assistant_message": _save(services, tenant_id, answer)})


def _begin(
    services: Services,
    *,
    tenant_id: str,
    session_id: UUID,
    message: str,
    document_ids: Sequence[UUID] | None,
    claim: Claim | None,
) -> TurnRows:
    with services.database.transaction(tenant_id=tenant_id) as db:
        if claim is not None and claim.checkpoint is not None:
            begun = UUID(bytes=claim.checkpoint)
            return turns.resume_turn(db, tenant_id=tenant_id, message_id=begun)
        rows = turns.open_turn(db, tenant_id=tenant_id, session_id=session_id, message=message)
        if claim is not None:
            idempotency.note(db, claim, rows.asked.id.bytes)
        if document_ids is not None:
            resolve_reach(db, Reach(tenant_id, None, session_id, document_ids))
    return rows


def _replay_turn(rows: TurnRows) -> Iterator[ChatEvent]:
    """A turn that was complete when its process died, before it could remember that."""
    answer = rows.answer
    yield ChatEvent("message_created", {"user_message": rows.asked})
    cited = [Passage(**passage) for passage in answer.retrieved_context]
    yield ChatEvent("retrieval", {"passages": cited})
    if answer.content:
        yield ChatEvent("delta", {"content": answer.content})
    yield ChatEvent("message_completed", {"assistant_message": answer})


def _ask(
    services: Services,
    *,
    tenant_id: str,
    asked: MessageRecord,
    use_rag: bool,
    top_k: int,
    document_ids: Sequence[UUID] | None,
    memory: Memory,
    trace: TurnTrace,
) -> Question:
    """Everything the answerer is given: history, the query made from it, passages, memories."""
    history = _history(services, tenant_id=tenant_id, asked=asked) if memory != "none" else []
    trace.query = query = standalone_query(asked.content, history)
    if use_rag:
        trace.mode = SEARCH_MODE
        found = retrieval.find(
            services,
            tenant_id=tenant_id,
            query=query,
            session_id=asked.session_id,
            document_ids=document_ids,
            top_k=top_k,
            mode=SEARCH_MODE,
        )
        trace.candidates, trace.passages = found.candidates, found.passages
        trace.timings |= found.timings
    if memory == "user":
        _recall(services, tenant_id=tenant_id, asked=asked, trace=trace)
    return Question(
        text=asked.content,
        search_query=query,
        passages=trace.passages,
        history=history,
        memories=[memories.excerpt(one.content) for one in trace.memories],
        grounded=use_rag,
    )


def _recall(services: Services, *, tenant_id: str, asked: MessageRecord, trace: TurnTrace) -> None:
    started = time.perf_counter()
    trace.memories = memories.recall(
        services,
        tenant_id=tenant_id,
        session_id=asked.session_id,
        query=trace.query or asked.content,
        asked=asked.content,
    )
    trace.note("recall", since=started)


def _history(services: Services, *, tenant_id: str, asked: MessageRecord) -> list[Turn]:
    with services.database.transaction(tenant_id=tenant_id) as db:
        earlier = messages.recent_messages(
            db,
            tenant_id=tenant_id,
            session_id=asked.session_id,
            limit=HISTORY_MESSAGES,
            before_position=asked.position,
        )
    return [
        Turn(
            role=item.sender,  # type: ignore[arg-type]
            content=item.content,
            cited=bool(item.retrieved_context),
        )
        for item in earlier
        if item.content
    ]


def _write(
    services: Services,
    tenant_id: str,
    answer: _Answer,
    question: Question,
    should_stop: Callable[[], bool],
) -> Iterator[str]:
    """The answer's deltas, with no marker among them that refers to nothing."""
    started = time.perf_counter()
    stream = services.answerer.answer(question, should_stop=should_stop)
    answer.trace.note("prompt", since=started)
    asked = time.perf_counter()
    citations = _markers_of(question)
    answer.model = stream.model
    for delta in stream:
        if stream.restarted:
            stream.restarted = False
            answer.parts.clear()
            citations = _markers_of(question)
        if "first_token" not in answer.trace.timings:
            answer.trace.note("first_token", since=asked)
        if shown := citations.feed(delta):
            answer.parts.append(shown)
            yield shown
        _save_now_and_then(services, tenant_id, answer)
    if rest := citations.flush():
        answer.parts.append(rest)
        yield rest
    answer.trace.note("generate", since=asked)
    _note_end(answer, stream)
    if not answer.cancelled and not answer.content.strip():
        raise ProviderError("The chat provider sent an empty answer.")


def _markers_of(question: Question) -> CitationFilter | Verbatim:
    """What keeps markers that refer to nothing out of an answer; without passages all is text."""
    if not question.grounded:
        return Verbatim()
    return CitationFilter({passage.index for passage in question.passages})


def _note_end(answer: _Answer, stream: AnswerStream) -> None:
    answer.model = stream.model
    answer.usage = stream.usage.as_dict() if stream.usage else None
    answer.cancelled = stream.finish_reason == "cancelled"


def _save_now_and_then(services: Services, tenant_id: str, answer: _Answer) -> None:
    if time.monotonic() - answer.saved_at >= SAVE_SECONDS:
        _save_quietly(services, tenant_id, answer, finished=False, raising=Conflict)
        answer.saved_at = time.monotonic()


def _save(
    services: Services, tenant_id: str, answer: _Answer, *, finished: bool = True
) -> MessageRecord:
    """Write the answer as it stands, with the passages it cites; its trace once it is over."""
    record = answer.record
    record.status, record.model, record.usage = answer.status, answer.model, answer.usage
    if answer.parts or answer.status == "complete":  # else an earlier attempt's text stays
        record.content = answer.content
        record.retrieved_context = [passage.as_dict() for passage in _cited(answer)]
    with services.database.transaction(tenant_id=tenant_id) as db:
        lease = turns.save_answer(
            db, tenant_id=tenant_id, record=record, lease=answer.lease, finished=finished
        )
        if finished:
            data = answer.trace.as_dict(model=answer.model, usage=answer.usage)
            record_trace(db, tenant_id=tenant_id, message_id=record.id, data=data)
    answer.lease = lease or answer.lease
    return record


def _cited(answer: _Answer) -> list[Passage]:
    """The passages that the answer names, each quoted by what the answer says of it."""
    statements = cited_statements(answer.content)
    return [
        _quoted(passage, statements[passage.index])
        for passage in answer.passages
        if passage.index in statements
    ]


def _quoted(passage: Passage, statement: str) -> Passage:
    if set(content_stems(statement)).isdisjoint(content_stems(passage.text)):
        return passage  # in other words, or another language: what fits the question stays
    place = {"page_break": passage.page_break}
    quote = verbatim_quote(passage.text, statement, **place)
    return passage.quoted(quote or best_quote(passage.text, statement, **place))


def _save_quietly(
    services: Services,
    tenant_id: str,
    answer: _Answer,
    *,
    finished: bool = True,
    raising: type[RagError] | tuple[()] = (),
) -> None:
    try:
        _save(services, tenant_id, answer, finished=finished)
    except raising:
        raise
    except Exception as error:
        log.warning(
            "answer_not_saved", message_id=str(answer.record.id), error=type(error).__name__
        )


def _failed(services: Services, tenant_id: str, answer: _Answer, error: RagError) -> ChatEvent:
    log.warning(
        "answer_failed", message_id=str(answer.record.id), code=error.code, detail=error.detail
    )
    _save_quietly(services, tenant_id, answer)
    return ChatEvent("error", {"error": error, "assistant_message": answer.record})
