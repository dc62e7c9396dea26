"""Two processes at one answer: one that was taken for dead wakes up, and changes nothing."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from core.access import idempotency
from core.access.idempotency import Claim
from core.bootstrap import Services
from core.conversations import messages, turns
from core.conversations.chat import ChatEvent, run_turn
from core.conversations.messages import MessageRecord
from core.db.paging import PageRequest
from core.errors import Conflict
from tests.fakes.llm_server import CHAT, LLMServer, Reply
from tests.integration.steps import TENANT, new_session


@pytest.fixture
def services(make_services: Callable[..., Services], llm: LLMServer) -> Services:
    return make_services(chat_provider="openai", chat_base_url=llm.base_url, chat_model="m")


def claim(services: Services) -> Claim:
    """The right to a key, of a holder who went silent at once."""
    with services.database.transaction(tenant_id=TENANT) as db:
        taken = idempotency.claim(db, tenant_id=TENANT, key="k", fingerprint=b"f", hold_seconds=-1)
    assert isinstance(taken, Claim)
    return taken


def begin(services: Services, session: UUID) -> Iterator[ChatEvent]:
    return run_turn(
        services,
        tenant_id=TENANT,
        session_id=session,
        message="Hello?",
        use_rag=False,
        claim=claim(services),
    )


def stored(services: Services, session: UUID) -> list[MessageRecord]:
    with services.database.transaction(tenant_id=TENANT) as db:
        page = PageRequest(limit=50, skip=0, cursor=None)
        found = messages.list_messages(db, tenant_id=TENANT, session_id=session, page=page)
    return list(found.items)


def end_lease(services: Services) -> None:
    """As if the writer had been silent for so long."""
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE messages SET lease_expires_at = lease_expires_at - interval '1 h'"))


def is_refused(turn: Iterator[ChatEvent]) -> bool:
    """Whether a turn ends in a Conflict: by an event, or raised when it is to be stored."""
    try:
        ending = list(turn)[-1]
    except Conflict:
        return True
    return ending.name == "error" and isinstance(ending.data["error"], Conflict)


def test_a_living_answer_is_not_taken_over(services: Services) -> None:
    session = new_session(services)
    first = begin(services, session)
    next(first)
    with pytest.raises(Conflict) as refused:
        next(begin(services, session))
    assert refused.value.code == "idempotency_in_progress"
    assert [event.name for event in first][-1] == "message_completed"
    assert [event.name for event in begin(services, session)][-1] == "message_completed"
    assert len(stored(services, session)) == 2


@pytest.mark.parametrize("saves", [0.0, 1000.0], ids=["saves at each delta", "saves at its end"])
def test_who_was_taken_for_dead_changes_nothing(
    services: Services, llm: LLMServer, monkeypatch: pytest.MonkeyPatch, saves: float
) -> None:
    monkeypatch.setattr("core.conversations.chat.SAVE_SECONDS", saves)
    llm.script(Reply(deltas=["of", " the", " first"]), Reply(deltas=["of", " the", " second"]))
    session = new_session(services)
    first = begin(services, session)
    while next(first).name != "delta":
        pass
    end_lease(services)
    second = list(begin(services, session))
    assert second[-1].name == "message_completed"
    (asked, answer) = stored(services, session)
    assert (answer.status, answer.content) == ("complete", "of the second")
    assert is_refused(first)
    assert stored(services, session) == [asked, answer]
    assert len(llm.requests_to(CHAT)) == 2


def test_of_two_that_begin_one_goes_on(services: Services) -> None:
    session = new_session(services)
    slow, quick = claim(services), claim(services)
    assert (slow.checkpoint, quick.checkpoint) == (None, None)

    def turn(claimed: Claim) -> Iterator[ChatEvent]:
        return run_turn(
            services, tenant_id=TENANT, session_id=session, message="Hello?", claim=claimed
        )

    first = turn(quick)
    next(first)
    with pytest.raises(Conflict):
        next(turn(slow))
    first.close()  # type: ignore[attr-defined]
    assert [message.sender for message in stored(services, session)] == ["user", "assistant"]


def test_a_lease_lasts_while_its_answer_is_written_and_no_longer(services: Services) -> None:
    session = new_session(services)

    def leased() -> bool:
        with services.database.transaction(tenant_id=TENANT) as db:
            found = db.execute(
                text("SELECT lease_expires_at > now() FROM messages WHERE position = 2")
            )
            return bool(found.scalar_one())

    turn = begin(services, session)
    next(turn)
    assert leased()
    for _ in turn:
        pass
    assert not leased()


def test_an_answer_that_is_gone_is_saved_by_nobody(services: Services) -> None:
    session = new_session(services)
    with services.database.transaction(tenant_id=TENANT) as db:
        rows = turns.open_turn(db, tenant_id=TENANT, session_id=session, message="Hello?")
    with services.database.transaction(tenant_id=TENANT) as db:
        db.execute(text("DELETE FROM sessions"))
    assert rows.lease is not None
    with services.database.transaction(tenant_id=TENANT) as db:
        turns.save_answer(db, tenant_id=TENANT, record=rows.answer, lease=rows.lease, finished=True)
        assert db.scalar(text("SELECT count(*) FROM messages")) == 0
