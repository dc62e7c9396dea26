"""Two processes at one answer: one with an expired lease wakes up and changes nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from core.access import idempotency
from core.access.idempotency import Claim
from core.bootstrap import Services
from core.conversations import endings, messages, turns
from core.conversations.chat import make_question, turn_options
from core.conversations.endings import Ending
from core.conversations.events import ChatEvent
from core.conversations.live import LiveAnswers, Turn
from core.conversations.messages import MessageRecord
from core.db.paging import PageRequest
from core.errors import Conflict
from tests.fakes.llm_server import LLMServer, Reply
from tests.integration.steps import TENANT, live_answers, new_session, wait_until
from tests.integration.steps import run_turn as run


@pytest.fixture
def services(make_services: Callable[..., Services], llm: LLMServer) -> Services:
    return make_services(chat_provider="openai", chat_base_url=llm.base_url, chat_model="m")


def claim(services: Services) -> Claim:
    """A claim on a key whose request has died."""
    with services.database.transaction(tenant_id=TENANT) as db:
        taken = idempotency.claim(db, tenant_id=TENANT, key="k", fingerprint=b"f", hold_seconds=-1)
    assert isinstance(taken, Claim)
    return taken


def begin(services: Services, session: UUID) -> Iterator[ChatEvent]:
    return run(services, session_id=session, message="Hello?", use_rag=False, claim=claim(services))


def stored(services: Services, session: UUID) -> list[MessageRecord]:
    with services.database.transaction(tenant_id=TENANT) as db:
        page = PageRequest(limit=50, skip=0, cursor=None)
        found = messages.list_messages(db, tenant_id=TENANT, session_id=session, page=page)
    return list(found.items)


def end_leases(services: Services) -> None:
    """End the leases of all answers, as if their writers had died."""
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE messages SET lease_expires_at = lease_expires_at - interval '1 h'"))


def first_delta(turn: Iterator[ChatEvent]) -> None:
    while next(turn).name != "delta":
        pass


def test_an_answer_with_a_valid_lease_is_not_taken_over(services: Services, llm: LLMServer) -> None:
    llm.script(Reply(delay_between=0.3))
    session = new_session(services)
    first = begin(services, session)
    next(first)
    with pytest.raises(Conflict) as refused:
        next(begin(services, session))
    assert refused.value.code == "idempotency_in_progress"
    assert [event.name for event in first][-1] == "message_completed"
    assert [event.name for event in begin(services, session)][-1] == "message_completed"
    assert len(stored(services, session)) == 2


def test_a_writer_with_an_expired_lease_changes_nothing(services: Services, llm: LLMServer) -> None:
    llm.script(
        Reply(deltas=["of ", "the ", "first"], stall_after=2, stall_seconds=3),
        Reply(deltas=["of ", "the ", "second"]),
    )
    session = new_session(services)
    first = begin(services, session)
    first_delta(first)
    end_leases(services)
    second = list(begin(services, session))
    assert second[-1].name == "message_completed"
    (asked, answer) = stored(services, session)
    assert (answer.status, answer.content) == ("complete", "of the second")
    assert llm.wait_for_disconnect(30), "the first one gives its provider up"
    assert stored(services, session) == [asked, answer]
    assert len(llm.answer_requests()) == 2


def test_the_ids_of_a_further_attempt_are_new(services: Services, llm: LLMServer) -> None:
    llm.script(Reply(status=500), Reply(status=500), Reply(status=500))
    session = new_session(services)
    failed = list(begin(services, session))
    assert [event.name for event in failed] == ["message_created", "retrieval", "error"]
    again = list(begin(services, session))
    assert [event.number for event in again] == list(range(10_000_001, 10_000_001 + len(again)))


def test_only_one_of_two_writers_continues(services: Services) -> None:
    session = new_session(services)
    slow, quick = claim(services), claim(services)
    assert (slow.checkpoint, quick.checkpoint) == (None, None)
    turn = partial(run, services, session_id=session, message="Hello?", use_rag=False)
    assert list(turn(claim=quick))[-1].name == "message_completed"
    with pytest.raises(Conflict):
        next(turn(claim=slow))
    assert [message.sender for message in stored(services, session)] == ["user", "assistant"]


def test_a_lease_is_renewed_while_its_answer_is_written(
    services: Services, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider is silent for three leases, and the lease is still renewed."""
    monkeypatch.setattr("core.conversations.turns.LEASE_SECONDS", 1.0)
    monkeypatch.setattr("core.conversations.drafts.LEASE_SECONDS", 1.0)
    monkeypatch.setattr("core.conversations.drafts.RENEW_SECONDS", 0.2)
    llm.script(Reply(deltas=["one ", "two "], stall_after=1, stall_seconds=3))
    session = new_session(services)
    turn = begin(services, session)
    next(turn)
    assert stored(services, session)[1].status == "in_progress"
    events = list(turn)
    assert events[-1].name == "message_completed", "no reader took the writer for dead"
    with services.database.transaction(tenant_id=TENANT) as db:
        assert db.scalar(text("SELECT count(lease_expires_at) FROM messages")) == 0


def test_a_dead_writer_s_answer_reads_as_interrupted_and_is_closed_with_its_text(
    services: Services, llm: LLMServer
) -> None:
    session = new_session(services)
    rows = abandoned_turn(services, session, text="half an ans")
    end_leases(services)
    found = stored(services, session)[1]
    assert (found.status, found.content) == ("interrupted", "half an ans")
    with services.database.transaction(tenant_id=None) as db:
        assert endings.close_expired(db) == 1
    found = stored(services, session)[1]
    assert (found.status, found.content) == ("interrupted", "half an ans")
    assert found.error is not None
    assert found.error["code"] == "answer_interrupted"
    with services.database.transaction(tenant_id=None) as db:
        ending = Ending(status="complete", content="too late")
        late = endings.end_answer(db, message_id=rows.answer.id, attempt=1, ending=ending)
    assert not late
    assert stored(services, session)[1] == found


def test_the_next_turn_closes_a_dead_one_and_does_not_wait_for_it(services: Services) -> None:
    session = new_session(services)
    abandoned_turn(services, session, text="half")
    end_leases(services)
    assert list(run(services, session_id=session, message="And?", use_rag=False))
    found = stored(services, session)
    assert [one.position for one in found] == [1, 2, 3, 4]
    assert [one.status for one in found] == ["complete", "interrupted", "complete", "complete"]


def test_a_cancel_keeps_the_text_that_is_stored_at_the_same_time(services: Services) -> None:
    """A listener may have heard that text, so the ended answer must contain it."""
    session = new_session(services)
    live = live_answers(services)
    with services.database.transaction(tenant_id=TENANT) as db:
        rows = turns.open_turn(
            db, tenant_id=TENANT, session_id=session, message="Hello?", options={}
        )
    with ThreadPoolExecutor(1) as pool:
        with services.database.transaction(tenant_id=None) as db:  # a writer's flush
            db.execute(text("SELECT 1 FROM messages FOR SHARE"))
            cancelled = pool.submit(live.cancel, tenant_id=TENANT, message_id=rows.answer.id)
            wait_until(lambda: is_waiting_for_lock(services), what="the cancel at the lock")
            insert_chunk(db, rows, "heard")
        assert cancelled.result().content == "heard"


def is_waiting_for_lock(services: Services) -> bool:
    with services.database.transaction(tenant_id=None) as db:
        waiting = text("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(db.scalar(waiting))


def abandoned_turn(services: Services, session: UUID, *, text: str) -> turns.TurnRows:
    """The rows that a process leaves if it is killed during an answer."""
    with services.database.transaction(tenant_id=TENANT) as db:
        rows = turns.open_turn(
            db,
            tenant_id=TENANT,
            session_id=session,
            message="Hello?",
            options=turn_options(use_rag=False),
        )
        insert_chunk(db, rows, text)
    return rows


def insert_chunk(db: object, rows: turns.TurnRows, chunk: str) -> None:
    statement = text(
        "INSERT INTO answer_chunks (message_id, attempt, number, tenant_id, text)"
        " VALUES (:id, 1, 1, :tenant_id, :text)"
    )
    values = {"id": rows.answer.id, "tenant_id": TENANT, "text": chunk}
    db.execute(statement, values)  # type: ignore[attr-defined]


def test_a_deleted_answer_is_not_stored_again(services: Services, llm: LLMServer) -> None:
    llm.script(Reply(deltas=["one ", "two ", "three"], delay_between=0.5))
    session = new_session(services)
    turn = begin(services, session)
    first_delta(turn)
    with services.database.transaction(tenant_id=TENANT) as db:
        db.execute(text("DELETE FROM sessions"))
    with pytest.raises(Exception, match="no such message"):
        list(turn)
    with services.database.transaction(tenant_id=TENANT) as db:
        assert db.scalar(text("SELECT count(*) FROM messages")) == 0


def test_turns_of_one_session_follow_each_other_in_two_processes(
    services: Services, make_services: Callable[..., Services], llm: LLMServer
) -> None:
    """Two registries, which like two processes share only the database."""
    llm.default = Reply(delay_between=0.01)
    session = new_session(services)
    processes = [LiveAnswers(services), LiveAnswers(services)]
    begun: list[Turn] = []
    for number in range(10):
        opening = partial(
            turns.open_turn,
            tenant_id=TENANT,
            session_id=session,
            message=f"question {number}",
            options=turn_options(use_rag=False),
        )
        live = processes[number % 2]
        begun.append(live.start(tenant_id=TENANT, session_id=session, opening=opening))
    feeds = [turn.feed() for turn in begun]
    wait_until(lambda: all(feed.answer is not None for feed in feeds), what="all answers")
    found = stored(services, session)
    assert [one.position for one in found] == list(range(1, 21))
    assert [one.sender for one in found] == ["user", "assistant"] * 10
    assert {one.status for one in found} == {"complete"}


def test_a_turn_waits_for_the_previous_one_up_to_a_limit(
    make_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_services(
        chat_provider="openai", chat_base_url=llm.base_url, chat_model="m", chat_wait_seconds=0.5
    )
    llm.script(Reply(deltas=["one ", "two "], stall_after=1, stall_seconds=5))
    session = new_session(services)
    first = run(services, session_id=session, message="Hello?", use_rag=False)
    next(first)
    with pytest.raises(Conflict) as refused:
        next(run(services, session_id=session, message="Hello?", use_rag=False))
    assert refused.value.code == "turn_in_progress"
    assert len(stored(services, session)) == 2


def test_a_turn_that_is_cancelled_before_its_retrieval_ends_with_the_same_events_for_all(
    services: Services, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer finds its passages after the end that a listener has heard."""
    live = live_answers(services)
    elsewhere: list[list[tuple[int, str]]] = []

    def cancel_and_listen(*args: Any) -> Any:
        answer = args[1].rows.answer.id
        live.cancel(tenant_id=TENANT, message_id=answer)
        elsewhere.append(replayed(services, answer))
        return make_question(*args)

    monkeypatch.setattr("core.conversations.writer.make_question", cancel_and_listen)
    session = new_session(services)
    events = list(run(services, session_id=session, message="Hello?", use_rag=False))
    assert [(event.number, event.name) for event in events] == elsewhere[0]
    assert [event.name for event in events] == ["message_created", "message_completed"]
    assert replayed(services, stored(services, session)[1].id) == elsewhere[0]
    assert llm.answer_requests() == []


def test_reasoning_that_shows_itself_after_a_cancel_begins_no_further_attempt(
    services: Services, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listeners hear one end, of the attempt that was cancelled. Its writer learns it late."""
    monkeypatch.setattr("core.conversations.drafts.CHECK_SECONDS", 60.0)
    monkeypatch.setattr("core.conversations.drafts.RENEW_SECONDS", 60.0)
    llm.script(Reply(deltas=["It ", "seems.\n</think>\n", "No."], stall_after=1, stall_seconds=2))
    session = new_session(services)
    turn = run(services, session_id=session, message="Hello?", use_rag=False)
    events = [next(turn), next(turn), next(turn)]
    assert events[-1].name == "delta"
    answer = stored(services, session)[1].id
    with services.database.transaction(tenant_id=TENANT) as db:
        ending = Ending(status="interrupted", finish_reason="cancelled")
        assert endings.end_answer(db, message_id=answer, attempt=1, ending=ending)
    events += turn
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert events[-1].name == "message_completed"
    assert events[-1].data["assistant_message"].finish_reason == "cancelled"
    assert [(event.number, event.name) for event in events] == replayed(services, answer)


def replayed(services: Services, answer: UUID) -> list[tuple[int, str]]:
    """The events as another process has them, by number and name."""
    feed = LiveAnswers(services).follow(tenant_id=TENANT, message_id=answer)
    return [(event.number, event.name) for event in feed.read(0)]
