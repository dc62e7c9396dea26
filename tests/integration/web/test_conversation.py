"""Conversations with real passages and the real model: follow-ups and memory."""

import io
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from core.answering.extractive import NOTHING_FOUND
from core.conversations import memory
from core.documents import ingestion
from core.embedding.base import Embedder
from tests.integration.web.conftest import Caller
from tests.pdfs import make_pdf

REPORT = [
    "Acme Oil in 2022. The revenue of Acme was 52 million euros in 2022. Its costs came to 31 "
    "million euros in that year.",
    "Acme Oil in 2023. The revenue of Acme was 61 million euros in 2023. Its costs came to 40 "
    "million euros in that year.",
    "The lighthouse of Norrskar was built in 1847 by Albin Lind. It is 31 metres high.",
]
COLOUR = "My favourite colour is teal."
ASKED = "What is my favourite colour?"


@pytest.fixture
def app(make_app: Callable[..., Flask], embedder: Embedder) -> Flask:
    """The app with the local embedding model and without an LLM."""
    made = make_app()
    made.extensions["services"].__dict__["embedder"] = embedder
    return made


def upload(caller: Caller, pages: list[str]) -> None:
    file = (io.BytesIO(make_pdf(pages)), "report.pdf")
    answer = caller.post("/documents", data={"file": file, "user_id": caller.user_id})
    assert answer.status_code == 202, answer.text
    while ingestion.process_next_range(caller.app.extensions["services"]):
        pass


def chat(caller: Caller, session: str, message: str, **body: Any) -> dict[str, Any]:
    answer = caller.post(f"/sessions/{session}/chat", {"message": message, **body})
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.get_json()["assistant_message"]
    return said


def query_of(caller: Caller, answer: dict[str, Any]) -> str:
    query: str = caller.get(f"/messages/{answer['id']}/trace").get_json()["query"]
    return query


def test_a_follow_up_is_answered_about_the_earlier_subject(alice: Caller) -> None:
    upload(alice, REPORT)
    session = alice.new_session()["id"]
    first = chat(alice, session, "What was the revenue of Acme in 2022?")
    assert "52 million" in first["content"].split("[")[0]
    second = chat(alice, session, "and in 2023?")
    assert "61 million" in second["content"].split("[")[0]
    assert "61 million" in second["retrieved_context"][0]["quote"]
    words = query_of(alice, second).split()
    assert {"revenue", "Acme", "2023?"} <= set(words)
    assert "2022" not in words
    third = chat(alice, session, "and the costs?")
    assert "40 million" in third["content"]
    assert "31 million" not in third["content"].split("40 million")[0]


def test_without_memory_a_follow_up_has_no_history(alice: Caller) -> None:
    upload(alice, REPORT)
    session = alice.new_session()["id"]
    chat(alice, session, "What was the revenue of Acme in 2022?")
    assert query_of(alice, chat(alice, session, "and him?", memory="none")) == "and him?"


def test_an_unanswerable_question_is_refused(alice: Caller) -> None:
    upload(alice, REPORT)
    answer = chat(alice, alice.new_session()["id"], "Which guitarist plays in Metallica?")
    assert answer["content"].startswith(NOTHING_FOUND)
    assert "Related: " in answer["content"]
    assert answer["retrieved_context"] == []


@pytest.mark.parametrize("embedded", [False, True], ids=["a moment ago", "embedded"])
def test_only_the_users_own_messages_are_recalled(
    alice: Caller, bob: Caller, make_caller: Callable[..., Caller], embedded: bool
) -> None:
    namesake = make_caller("alice", tenant=f"elsewhere-{uuid4().hex[:8]}")
    alice.say(alice.new_session()["id"], COLOUR)
    if embedded:
        assert memory.embed_pending(alice.app.extensions["services"]) >= 1
    said = {
        name: chat(caller, caller.new_session()["id"], ASKED, memory="user")
        for name, caller in (("bob", bob), ("namesake", namesake), ("alice", alice))
    }
    assert said["bob"]["content"] == said["namesake"]["content"] == NOTHING_FOUND
    assert COLOUR in said["alice"]["content"]
    for kind in ("session", "none"):
        other = chat(alice, alice.new_session()["id"], ASKED, memory=kind)
        assert other["content"] == NOTHING_FOUND
    # Traces name memories by id, and only the user's own.
    traces = {
        name: caller.get(f"/messages/{said[name]['id']}/trace").get_json()["memories"]
        for name, caller in (("bob", bob), ("namesake", namesake), ("alice", alice))
    }
    assert (len(traces["alice"]), traces["bob"], traces["namesake"]) == (1, [], [])
