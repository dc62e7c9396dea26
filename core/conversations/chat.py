"""Prepares a chat turn: its options, its first transaction, and the question for the answerer.

`core.conversations.live` runs turns; `core.conversations.writer` writes their answers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from core.access import idempotency
from core.access.idempotency import Claim
from core.answering.base import Question, Turn
from core.answering.prompt import standalone_query
from core.bootstrap import Services
from core.conversations import memory as memories
from core.conversations import messages, turns
from core.conversations.messages import MessageRecord
from core.conversations.trace import TurnTrace
from core.conversations.turns import TurnRows
from core.db import Transaction
from core.search import retrieval
from core.search.candidates import Mode
from core.search.reach import Reach, resolve_reach

Memory = Literal["none", "session", "user"]
Opening = Callable[[Transaction], TurnRows]

SEARCH_MODE: Mode = "hybrid"
HISTORY_MESSAGES = 40  # read from the session; the token budget may keep fewer


def turn_options(
    *,
    use_rag: bool = True,
    top_k: int | None = None,
    document_ids: Sequence[UUID] | None = None,
    memory: Memory = "session",
    request_id: str | None = None,
) -> dict[str, Any]:
    """Return the options to store with a turn's answer, for `retry` and `regenerate`.

    `request_id` is the id of the request that begins the turn.
    """
    ids = None if document_ids is None else [str(one) for one in document_ids]
    options = {"use_rag": use_rag, "top_k": top_k, "document_ids": ids, "memory": memory}
    return options | ({"request_id": request_id} if request_id else {})


@dataclass(slots=True)
class PreparedTurn:
    """A turn whose rows are committed. `reach` is None if the turn does not search."""

    tenant_id: str
    rows: TurnRows
    history: list[Turn] = field(default_factory=list)
    reach: Reach | None = None


def prepare_turn(
    services: Services, *, tenant_id: str, opening: Opening, claim: Claim | None = None
) -> PreparedTurn:
    """Run the turn's first transaction: write its rows, read its history, resolve its reach.

    `opening` writes the rows. `claim` is the claim on the request's idempotency key. If an
    earlier attempt at the same request opened a turn, that turn continues instead. Raises the
    errors of `opening`, and NotFound for a document out of reach.
    """
    with services.database.plain_transaction(tenant_id=tenant_id) as db:
        rows = _open(db, tenant_id=tenant_id, opening=opening, claim=claim)
        prepared = PreparedTurn(tenant_id, rows)
        if not rows.is_over:
            prepared.reach = _reach(db, tenant_id, rows)
            prepared.history = _history(db, tenant_id, rows)
    return prepared


def _open(db: Transaction, *, tenant_id: str, opening: Opening, claim: Claim | None) -> TurnRows:
    if claim is not None and claim.checkpoint is not None:
        question_id = UUID(bytes=claim.checkpoint)
        return turns.resume_turn(db, tenant_id=tenant_id, message_id=question_id)
    rows = opening(db)
    if claim is not None:
        idempotency.note(db, claim, rows.question.id.bytes)
    return rows


def _reach(db: Transaction, tenant_id: str, rows: TurnRows) -> Reach | None:
    if not rows.options.get("use_rag", True):
        return None
    listed = rows.options.get("document_ids")
    ids = None if listed is None else [UUID(one) for one in listed]
    reach = Reach(tenant_id, rows.user_id, rows.question.session_id, ids)
    return reach if ids is None else resolve_reach(db, reach)


def _history(db: Transaction, tenant_id: str, rows: TurnRows) -> list[Turn]:
    if rows.options.get("memory") == "none" or rows.question.position == 1:
        return []
    earlier = messages.recent_messages(
        db,
        tenant_id=tenant_id,
        session_id=rows.question.session_id,
        limit=HISTORY_MESSAGES,
        before_position=rows.question.position,
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


def make_question(services: Services, turn: PreparedTurn, trace: TurnTrace) -> Question:
    """Search, recall memories, and return the Question for the answerer.

    No transaction is open while the query is embedded. Raises ProviderError.
    """
    question, options = turn.rows.question, turn.rows.options
    trace.query = query = standalone_query(question.content, turn.history)
    if turn.reach is not None:
        trace.mode = SEARCH_MODE
        found = retrieval.find_in_reach(
            services,
            reach=turn.reach,
            query=query,
            top_k=options.get("top_k") or services.answerer.top_k,
            mode=SEARCH_MODE,
        )
        trace.query = query = found.query
        trace.candidates, trace.passages = found.candidates, found.passages
        trace.timings |= found.timings
    if options.get("memory") == "user":
        _recall(services, tenant_id=turn.tenant_id, question=question, trace=trace)
    return Question(
        text=question.content,
        search_query=query,
        passages=trace.passages,
        history=turn.history,
        memories=[memories.excerpt(one.content) for one in trace.memories],
        grounded=turn.reach is not None,
    )


def _recall(
    services: Services, *, tenant_id: str, question: MessageRecord, trace: TurnTrace
) -> None:
    started = time.perf_counter()
    trace.memories = memories.recall(
        services,
        tenant_id=tenant_id,
        session_id=question.session_id,
        query=trace.query or question.content,
        question=question.content,
    )
    trace.note("recall", since=started)


def without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the client has set: those that are not None."""
    return {name: value for name, value in options.items() if value is not None}
