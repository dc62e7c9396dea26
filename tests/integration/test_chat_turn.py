"""The input of a turn's answerer and the rows of the turn: history, query, quotes, trace."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from core.answering.prompt import GROUNDED_RULES
from core.bootstrap import Services
from core.conversations.trace import get_trace
from core.db.models import Chunk, DocumentPage
from core.errors import NotFound
from core.search import retrieval
from tests.cited import cited_indexes
from tests.fakes.llm_server import CHAT, LLMServer, Reply
from tests.integration.steps import TENANT, ask, ingest, new_session, say
from tests.pdfs import make_pdf

LIGHTHOUSE = [
    "The lighthouse of Norrskar was built in 1847 by Albin Lind. It is 31 metres high.",
    "The lamp of Norrskar burned rapeseed oil until 1886. Since then it has burned petroleum.",
    "The last keeper, Elsa Holm, left the island in 1962. A radio beacon took over her work.",
]
WORDS = ["amber", "basin", "cliff", "delta", "fjord", "glade", "haven", "inlet", "marsh", "ridge"]


@pytest.fixture
def make_llm_services(make_services: Callable[..., Services], llm: LLMServer) -> Any:
    def make(**overrides: object) -> Services:
        return make_services(
            chat_provider="openai", chat_base_url=llm.base_url, chat_model="m", **overrides
        )

    return make


def trace_of(services: Services, message_id: UUID) -> dict[str, Any]:
    with services.database.transaction(tenant_id=TENANT) as db:
        return get_trace(db, tenant_id=TENANT, message_id=message_id)


def prompt_of(llm: LLMServer) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = llm.requests_to(CHAT)[-1].body["messages"]
    return messages


def test_history_beyond_the_budget_is_dropped_oldest_first(
    make_llm_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_llm_services(chat_history_tokens=150)
    session = new_session(services)
    for number in range(12):
        say(services, session, f"Question {number}: what is said about the island?")
        say(services, session, f"Answer {number}: it lies far out at sea.", sender="assistant")
    ask(services, session, "What is the island's name?")
    prompt = prompt_of(llm)
    assert prompt[0]["role"] == "system"
    assert prompt[0]["content"].startswith(GROUNDED_RULES.split("\n")[0])
    assert "What is the island's name?" in prompt[-1]["content"]
    history = [message["content"] for message in prompt[1:-1]]
    everything = [
        text
        for number in range(12)
        for text in (
            f"Question {number}: what is said about the island?",
            f"Answer {number}: it lies far out at sea.",
        )
    ]
    assert 2 <= len(history) < 24
    assert history == everything[-len(history) :]
    assert prompt[1]["role"] == "user"
    counted = sum(services.embedder.count_tokens(text) for text in history)
    assert counted <= 150


def test_without_a_budget_the_system_prompt_and_the_question_remain(
    make_llm_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_llm_services(chat_history_tokens=0)
    session = new_session(services)
    say(services, session, "Earlier.")
    ask(services, session, "And now?", use_rag=False)
    assert [message["role"] for message in prompt_of(llm)] == ["system", "user"]


def test_no_history_without_memory(
    make_llm_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_llm_services()
    session = new_session(services)
    say(services, session, "Earlier.")
    ask(services, session, "And now?", memory="none", use_rag=False)
    assert [message["role"] for message in prompt_of(llm)] == ["system", "user"]


def test_a_follow_up_is_searched_with_terms_of_the_history(services: Services) -> None:
    ingest(services, make_pdf([*LIGHTHOUSE, "The church of Tolvar was built in 1921 by Ida Berg."]))
    session = new_session(services)
    ask(services, session, "Who was the last keeper of Norrskar?", top_k=1)
    second = trace_of(services, ask(services, session, "And when did she leave?", top_k=1).id)
    assert second["query"].endswith("And when did she leave?")
    assert {"keeper", "Norrskar"} <= set(second["query"].split())
    assert [passage["page_start"] for passage in second["prompt_passages"]] == [3]
    alone = ask(services, session, "And when did she leave?", top_k=1, memory="none")
    assert trace_of(services, alone.id)["query"] == "And when did she leave?"


def test_a_quote_supports_the_answer(services: Services) -> None:
    ingest(services, make_pdf([" ".join(LIGHTHOUSE)]))
    answer = ask(services, new_session(services), "How high is the lighthouse of Norrskar?")
    passage = answer.retrieved_context[0]
    assert passage["quote"] in passage["text"]
    assert " ".join(passage["quote"].split()) in answer.content
    assert "page_break" not in passage


def test_the_quote_follows_an_llm_s_statement(
    make_llm_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_llm_services()
    ingest(services, make_pdf([" ".join(LIGHTHOUSE)]))
    llm.default = Reply(deltas=["A radio beacon took over", " the keeper's work [1", "][7]."])
    answer = ask(services, new_session(services), "What do you know about Norrskar?")
    assert cited_indexes(answer.content) == [1]
    assert answer.retrieved_context[0]["quote"] == "A radio beacon took over her work."


def test_a_paraphrase_keeps_the_search_s_quote(
    make_llm_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_llm_services()
    ingest(services, make_pdf([" ".join(LIGHTHOUSE)]))
    llm.default = Reply(deltas=["Le phare fut bâti au dix-neuvième siècle [1]."])
    answer = ask(services, new_session(services), "What fuel did the lamp of Norrskar burn?")
    quote = answer.retrieved_context[0]["quote"]
    assert quote.startswith("The lamp of Norrskar")


def test_a_trace_has_query_candidates_prompt_and_times(
    make_llm_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_llm_services()
    ingest(services, make_pdf(LIGHTHOUSE))
    llm.default = Reply(deltas=["In 1847 ", "[1]."], delay=0.05, usage=(120, 5))
    said = say(services, new_session(services), "I love the lighthouse of Norrskar.")
    question = "When was the lighthouse of Norrskar built?"
    answer = ask(services, new_session(services), question, top_k=2, memory="user")
    trace = trace_of(services, answer.id)
    assert (trace["query"], trace["mode"], trace["model"]) == (question, "hybrid", "m")
    assert trace["usage"] == {"prompt_tokens": 120, "completion_tokens": 5, "total_tokens": 125}
    assert len(trace["prompt_passages"]) == 2
    in_prompt = [one["chunk_id"] for one in trace["candidates"] if one["in_prompt"]]
    assert set(in_prompt) == {passage["chunk_id"] for passage in trace["prompt_passages"]}
    assert [one["message_id"] for one in trace["memories"]] == [str(said.id)]
    assert "love" not in str(trace)
    timings = trace["timings_ms"]
    assert all(timings[stage] > 0 for stage in timings)
    assert timings["first_token"] >= 50
    assert timings["total"] >= timings["generate"] >= timings["first_token"]


def test_skipped_stages_have_no_time(services: Services) -> None:
    answer = ask(services, new_session(services), "Hello?", use_rag=False)
    trace = trace_of(services, answer.id)
    assert (trace["mode"], trace["candidates"], trace["prompt_passages"]) == (None, [], [])
    assert trace["timings_ms"]["search"] is None
    assert trace["timings_ms"]["recall"] is None


def test_a_failed_answer_has_a_trace_too(
    make_llm_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_llm_services()
    llm.default = Reply(status=400)
    failed = ask(services, new_session(services), "Hello?")
    assert failed.status == "failed"
    assert trace_of(services, failed.id)["query"] == "Hello?"


def test_an_appended_answer_has_no_trace(services: Services) -> None:
    message = say(services, new_session(services), "Hello.")
    with pytest.raises(NotFound):
        trace_of(services, message.id)


def running_on(count: int) -> list[str]:
    """Pages of full sentences, the last of which continues on the next page."""
    rng = random.Random(7)
    sentences = [
        f"Record {number} of the {rng.choice(WORDS)} {rng.choice(WORDS)} survey notes that the "
        f"{rng.choice(WORDS)} beside the {rng.choice(WORDS)} was {rng.randint(10, 999)} metres "
        f"wide, with {rng.choice(WORDS)} and {rng.choice(WORDS)} all around it."
        for number in range(count * 10)
    ]
    text = " ".join(sentences).split()
    size = len(text) // count
    cuts = [0]
    for number in range(1, count):
        cut = number * size
        while not text[cut].islower():
            cut += 1  # in mid-sentence
        cuts.append(cut)
    cuts.append(len(text))
    return [" ".join(text[start:end]) for start, end in pairwise(cuts)]


def page_texts(services: Services, document_id: UUID) -> dict[int, str]:
    with services.database.transaction(tenant_id=None) as db:
        rows = db.execute(
            select(DocumentPage.number, DocumentPage.text).where(
                DocumentPage.document_id == document_id
            )
        )
        return {row.number: row.text for row in rows}


def chunks(services: Services, document_id: UUID) -> Sequence[Chunk]:
    with services.database.transaction(tenant_id=None) as db:
        return list(db.scalars(select(Chunk).where(Chunk.document_id == document_id)))


def test_every_quote_is_on_its_page(services: Services) -> None:
    document_id = ingest(services, make_pdf(running_on(9)))
    pages = page_texts(services, document_id)
    stored = chunks(services, document_id)
    assert sum(chunk.page_end > chunk.page_start for chunk in stored) >= 4
    seen = set()
    for chunk in stored:
        if chunk.page_break is not None:
            assert chunk.text[: chunk.page_break].rstrip() in pages[chunk.page_start]
            assert chunk.text[chunk.page_break :] in pages[chunk.page_end]
        for query in (chunk.text[-60:], chunk.text[:60], "survey"):
            for passage in retrieval.search(services, tenant_id=TENANT, query=query, top_k=10):
                seen.add(passage.chunk_id)
                assert passage.quote
                assert passage.quote in pages[passage.page_start]
    assert seen == {str(chunk.id) for chunk in stored}
