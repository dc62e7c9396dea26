"""Messages of the same user in other sessions: the worker embeds them, a turn recalls them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from core.bootstrap import Services
from core.conversations import memory
from core.db.models import MessageVector
from core.documents import uploads
from core.embedding import create_embedder
from core.embedding.base import Embedder, Vectors
from core.errors import ProviderError
from tests.fakes.llm_server import CHAT, EMBEDDINGS, LLMServer
from tests.integration.steps import TENANT, ask, ingest, new_session, say
from tests.pdfs import make_pdf

COLOUR = "My favourite colour is teal."


@pytest.fixture
def services(make_services: Callable[..., Services], llm: LLMServer) -> Services:
    return make_services(chat_provider="openai", chat_base_url=llm.base_url, chat_model="m")


def prompt(llm: LLMServer) -> str:
    """The last message of the last prompt."""
    content: str = llm.requests_to(CHAT)[-1].body["messages"][-1]["content"]
    return content


def vectors(services: Services) -> list[Any]:
    with services.database.transaction(tenant_id=None) as db:
        return list(db.scalars(select(MessageVector).order_by(MessageVector.message_id)))


def make_old(services: Services) -> None:
    """Make all messages two hours old, so that no turn embeds them itself."""
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE messages SET created_at = created_at - interval '2 hours'"))


def recalled(services: Services, session: UUID, query: str, tenant_id: str = TENANT) -> list[str]:
    found = memory.recall(
        services, tenant_id=tenant_id, session_id=session, query=query, question=query
    )
    return [one.content for one in found]


def test_a_turn_recalls_what_the_worker_embedded(services: Services, llm: LLMServer) -> None:
    said = say(services, new_session(services), COLOUR)
    say(services, new_session(services), "The audit is due on 14 March.")
    assert memory.embed_pending(services) == 2
    make_old(services)
    answer = ask(services, new_session(services), "What is my favourite colour?", memory="user")
    assert answer.status == "complete"
    assert f"- {COLOUR}\n" in prompt(llm)
    assert "audit" not in prompt(llm)
    assert vectors(services)[0].message_id == said.id


@pytest.mark.parametrize("kind", ["none", "session"])
def test_other_kinds_of_memory_recall_nothing(
    services: Services, llm: LLMServer, kind: str
) -> None:
    say(services, new_session(services), COLOUR)
    memory.embed_pending(services)
    ask(services, new_session(services), "What is my favourite colour?", memory=kind)
    assert "teal" not in prompt(llm)


def test_a_recent_message_is_recalled_before_the_worker_embeds_it(
    services: Services, llm: LLMServer
) -> None:
    say(services, new_session(services), COLOUR)
    ask(services, new_session(services), "What is my favourite colour?", memory="user")
    assert COLOUR in prompt(llm)
    assert vectors(services) == []


@pytest.mark.parametrize("embedded", [True, False])
def test_a_user_recalls_no_other_user_s_messages(services: Services, embedded: bool) -> None:
    say(services, new_session(services, "alice"), COLOUR)
    say(services, new_session(services, "alice", tenant_id="other"), COLOUR, tenant_id="other")
    if embedded:
        memory.embed_pending(services)
        make_old(services)
    question = "What is my favourite colour?"
    assert recalled(services, new_session(services, "bob"), question) == []
    stranger = new_session(services, "alice", tenant_id="third")
    assert recalled(services, stranger, question, tenant_id="third") == []
    # Not even by naming the session of another tenant.
    assert recalled(services, new_session(services, "alice"), question, tenant_id="third") == []
    assert recalled(services, new_session(services, "alice"), question) == [COLOUR]


def test_only_users_messages_in_other_sessions_are_recalled(services: Services) -> None:
    here, there = new_session(services), new_session(services)
    say(services, here, COLOUR)
    say(services, there, "Your favourite colour is teal, I believe.", sender="assistant")
    for embedded in (False, True):
        if embedded:
            memory.embed_pending(services)
            make_old(services)
        assert recalled(services, here, "What is my favourite colour?") == []
    assert len(vectors(services)) == 1


def test_statements_come_before_questions_and_nothing_twice(services: Services) -> None:
    for content in (
        "What is my favourite colour?",
        "Which colour do I like best?",
        COLOUR,
        "my  favourite colour is TEAL.",
    ):
        say(services, new_session(services), content)
    found = recalled(services, new_session(services), "What is my favourite colour?")
    assert found[0].casefold().split() == COLOUR.casefold().split()
    assert found[1:] == ["Which colour do I like best?"]


def test_at_most_five_and_none_below_the_floor(services: Services) -> None:
    for number in range(8):
        say(services, new_session(services), f"{COLOUR} Since {1990 + number}, that is.")
    session = new_session(services)
    assert len(recalled(services, session, "What is my favourite colour?")) == memory.TOP
    assert recalled(services, session, "Who wrote Hamlet?") == []


def test_memory_is_deleted_with_its_session(services: Services) -> None:
    session = new_session(services)
    say(services, session, COLOUR)
    memory.embed_pending(services)
    uploads.delete_session(services, tenant_id=TENANT, session_id=session)
    assert vectors(services) == []
    assert recalled(services, new_session(services), "What is my favourite colour?") == []


def test_two_workers_embed_each_message_once(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "BATCH", 7)
    session = new_session(services)
    said = [say(services, session, f"Sentence number {number}.").id for number in range(60)]
    counting = Counting(services.embedder)
    services.__dict__["embedder"] = counting
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: memory.embed_pending(services), range(3)))
    while memory.embed_pending(services):
        pass
    assert [row.message_id for row in vectors(services)] == sorted(said)
    assert all(row.embedding is not None and not row.lease_expires_at for row in vectors(services))
    assert counting.texts == 60


def test_greetings_are_skipped_once(services: Services) -> None:
    session = new_session(services)
    for content in ("hello", "  ", "OK!"):
        say(services, session, content)
    assert memory.embed_pending(services) == 3
    assert [row.embedding for row in vectors(services)] == [None] * 3
    assert memory.embed_pending(services) == 0


def test_equal_messages_are_embedded_once(
    make_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_services(
        embedding_provider="openai",
        embedding_base_url=llm.base_url,
        embedding_model="test-model",
    )
    services.__dict__["embedder"] = create_embedder(services.settings)
    session = new_session(services)
    for content in (COLOUR, "Where does the old lighthouse stand?", COLOUR, COLOUR):
        say(services, session, content)
    assert memory.embed_pending(services) == 4
    (request,) = llm.requests_to(EMBEDDINGS)
    assert request.body["input"] == [COLOUR, "Where does the old lighthouse stand?"]
    kept = [row.embedding for row in vectors(services)]
    assert kept[0] == kept[2] == kept[3] != kept[1]


def test_a_refusing_endpoint_is_asked_again_later(services: Services, llm: LLMServer) -> None:
    say(services, new_session(services), COLOUR)
    refusing = Refusing(services.embedder, ProviderError("no"), ProviderError("no"))
    services.__dict__["embedder"] = refusing
    assert memory.embed_pending(services) == 0
    assert memory.embed_pending(services) == 0  # its lease is not over
    question = "What is my favourite colour?"
    answer = ask(services, new_session(services), question, memory="user", use_rag=False)
    assert answer.status == "complete"  # without a memory
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE message_vectors SET lease_expires_at = now() - interval '1 s'"))
    assert memory.embed_pending(services) == 2  # the question too
    assert all(row.embedding is not None for row in vectors(services))


def test_documents_go_first(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BATCH", 2)
    session = new_session(services)
    for number in range(5):
        say(services, session, f"Sentence number {number}.")
    monkeypatch.setattr(memory, "_ingestion_waits", lambda _: True)
    assert memory.embed_pending(services) == 2
    monkeypatch.undo()
    assert memory.embed_pending(services) == 3


def test_embedded_messages_are_not_read_again(services: Services) -> None:
    """Ids are ordered by time, so a sweep reads only as far back as clocks may differ."""
    old = say(services, new_session(services), COLOUR)
    early = UUID(int=old.id.int - (3 * 3600 * 1000 << 80))
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE messages SET id = :new"), {"new": early})
    say(services, new_session(services), "The audit is due on 14 March.")
    assert memory.embed_pending(services) == 2  # nothing was settled before
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("DELETE FROM message_vectors WHERE message_id = :id"), {"id": early})
    assert memory.embed_pending(services) == 0


def test_long_messages_are_shortened_for_the_prompt(services: Services, llm: LLMServer) -> None:
    say(services, new_session(services), COLOUR + " And so on." * 1000)
    ask(services, new_session(services), "What is my favourite colour?", memory="user")
    line = next(line for line in prompt(llm).split("\n") if line.startswith("- My favourite"))
    assert len(line) <= memory.MAX_CHARS + 2
    assert line.endswith(" …")


def test_the_extractive_answerer_quotes_the_user(make_services: Callable[..., Services]) -> None:
    services = make_services()
    ingest(services, make_pdf(["The lighthouse of Norrskar was built in 1847 by Albin Lind."]))
    say(services, new_session(services), f"{COLOUR} [1]")
    session = new_session(services)
    answer = ask(services, session, "What is my favourite colour?", memory="user")
    assert answer.content == f"You said earlier: “{COLOUR}”"
    assert answer.retrieved_context == []
    about_a_document = ask(services, session, "Who built the lighthouse?", memory="user")
    assert "Albin Lind" in about_a_document.content
    assert about_a_document.retrieved_context
    without = ask(services, session, "What is my favourite colour?", memory="none")
    assert "teal" not in without.content


class Counting:
    """An embedder that counts its texts."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.texts = inner, 0
        self.name, self.dimensions = inner.name, inner.dimensions
        self.count_tokens = inner.count_tokens

    def embed(self, texts: Any) -> Vectors:
        self.texts += len(texts)
        return self.inner.embed(texts)


class Refusing(Counting):
    """An embedder that raises its `errors` before it embeds."""

    def __init__(self, inner: Embedder, *answers: Exception) -> None:
        super().__init__(inner)
        self.answers = list(answers)

    def embed(self, texts: Any) -> Vectors:
        if len(texts) and self.answers:
            raise self.answers.pop(0)
        return super().embed(texts)
