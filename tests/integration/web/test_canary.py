"""No reading route, no prompt and no log contains text of another tenant."""

import io
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import pytest
from flask import Response

from core.bootstrap import Services
from core.documents import ingestion
from tests.fakes.llm_server import CHAT, EMBEDDINGS, LLMServer, Reply
from tests.integration.web.conftest import Caller
from tests.pdfs import make_pdf
from web.http.streaming import HEARTBEAT

Json = dict[str, Any]


@dataclass(frozen=True)
class Resident:
    """A caller who has one item of each kind, with the items' ids."""

    caller: Caller
    ids: dict[str, str]
    cursors: dict[str, str]


@pytest.fixture
def canary() -> str:
    return f"canary{secrets.token_hex(8)}"


@pytest.fixture
def settle(asker: Caller, make_caller: Callable[..., Caller], llm: LLMServer) -> Any:
    """Create a tenant with one item of each kind that has text, and `word` in each text."""

    def make(tenant: str, *, user_id: str, word: str) -> Resident:
        made = make_caller(user_id, tenant=tenant)
        caller = Caller(asker.app, made.key, user_id)
        session = caller.new_session(title=f"About {word}", metadata={word: word})["id"]
        document = upload(caller, word)
        llm.script(Reply(deltas=[f"The {word} is 31 metres high [1]."]))
        answer = caller.post(f"/sessions/{session}/chat", {"message": f"How high is the {word}?"})
        said = caller.say(session, f"I like the {word}.", context_metadata={"of": word})
        key = caller.post("/keys", {"name": f"key of {word}", "scopes": ["read"]})
        ids = {
            "session_id": session,
            "message_id": answer.get_json()["assistant_message"]["id"],
            "document_id": document["document"]["id"],
            "job_id": document["job"]["id"],
            "key_id": key.get_json()["id"],
        }
        assert said["position"] == 3
        return Resident(caller, ids, cursors_of(caller, session))

    return make


def upload(caller: Caller, word: str) -> Json:
    pdf = make_pdf([f"The {word} was built in 1847 by Albin Lind. The {word} is 31 metres high."])
    form = {
        "file": (io.BytesIO(pdf), f"{word}.pdf"),
        "user_id": caller.user_id,
        "metadata": f'{{"{word}": 1}}',
    }
    response = caller.post("/documents", data=form, content_type="multipart/form-data")
    services: Services = caller.app.extensions["services"]
    while ingestion.process_next_range(services):
        pass
    made: Json = response.get_json()
    assert caller.get(f"/jobs/{made['job']['id']}").get_json()["state"] == "succeeded"
    return made


def cursors_of(caller: Caller, session: str) -> dict[str, str]:
    """The caller's own cursors by the list to which they belong."""
    path = f"/sessions/{session}/messages"
    cursor: str = caller.get(f"{path}?limit=1").get_json()["next_cursor"]
    assert cursor
    return {path: cursor}


def reading(document: Json) -> Iterator[tuple[str, list[str]]]:
    """Path and query parameters of every GET below /api/v1."""
    for path, methods in document["paths"].items():
        if path.startswith("/api/v1") and "get" in methods:
            parameters = methods["get"].get("parameters", [])
            yield path.removeprefix("/api/v1"), [one["name"] for one in parameters if "name" in one]


def queries(names: list[str], *, target: Resident, word: str) -> Iterator[dict[str, str]]:
    """Each parameter that can select rows, alone and with all others."""
    known = {
        "q": word,
        "user_id": target.caller.user_id,
        "highlight": word,
        "session_id": target.ids["session_id"],
        "document_id": target.ids["document_id"],
    }
    given = {name: known[name] for name in names if name in known}
    required = {"q": word} if "q" in given else {}
    yield required
    yield given
    for name, value in given.items():
        yield required | {name: value}


def fetch(caller: Caller, path: str, **options: Any) -> Any:
    """GET; from an endless stream only the part before its first pause."""
    if path != "/documents/events":
        return caller.get(path, **options)
    headers = {"X-API-Key": caller.key}
    client = caller.app.test_client()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("web.http.streaming.HEARTBEAT_SECONDS", 0.3)
        response = client.get(f"/api/v1{path}", headers=headers, **options)
        if response.status_code != 200:
            return response
        pieces = []
        for piece in response.response:
            if piece == HEARTBEAT:
                break
            pieces.append(piece)
        response.close()
    return Response(b"".join(pieces), 200, response.headers)


def found(reader: Resident, *, target: Resident, word: str) -> list[str]:
    """The places where `reader` finds `word`, with the target's ids and with its own."""
    get, where = partial(fetch, reader.caller), []
    document = reader.caller.app.test_client().get("/openapi.json").get_json()
    for (path, names), ids in product(reading(document), (target.ids, reader.ids)):
        filled = path.format(**{"user_id": target.caller.user_id}, **ids, number=1)
        for query in queries(names, target=target, word=word):
            response = get(filled, query_string=query)
            assert response.status_code in {200, 404}, (filled, query, response.text)
            if holds(response, word):
                where.append(path)
    for path, cursor in target.cursors.items():
        where += [path] if holds(get(path, query_string={"cursor": cursor}), word) else []
    for scope, mode in product(scopes(target), ("hybrid", "text", "vector")):
        response = reader.caller.post("/search", {"query": word, "mode": mode, **scope})
        assert response.status_code in {200, 404}, response.text
        where += ["/search"] if holds(response, word) else []
    for open_ in ("/health", "/metrics", "/openapi.json"):
        assert not holds(reader.caller.app.test_client().get(open_), word)
    return where


def scopes(target: Resident) -> list[Json]:
    return [
        {},
        {"user_id": target.caller.user_id},
        {"session_id": target.ids["session_id"]},
        {"document_ids": [target.ids["document_id"]]},
    ]


def holds(response: Any, word: str) -> bool:
    return word.encode() in response.data or word in str(response.headers)


@pytest.fixture
def residents(settle: Any, canary: str, tenant: str) -> tuple[Resident, Resident]:
    """A reader, and another tenant's user of the same name with the canary in every text."""
    reader = settle(f"{tenant}-a", user_id="alice", word="lighthouse")
    return reader, settle(f"{tenant}-b", user_id="alice", word=canary)


def test_no_route_returns_another_tenants_text(
    residents: tuple[Resident, Resident], canary: str
) -> None:
    reader, stranger = residents
    assert found(reader, target=stranger, word=canary) == []
    # The search works: the owner finds the text nearly everywhere.
    own = found(stranger, target=stranger, word=canary)
    assert {
        "/sessions",
        "/sessions/{session_id}",
        "/sessions/{session_id}/messages",
        "/messages/search",
        "/messages/{message_id}",
        "/messages/{message_id}/trace",
        "/documents",
        "/documents/{document_id}",
        "/documents/{document_id}/chunks",
        "/documents/{document_id}/content",
        "/keys",
        "/search",
    } <= set(own)


def test_no_prompt_contains_another_tenants_text(
    residents: tuple[Resident, Resident], canary: str, llm: LLMServer
) -> None:
    reader, stranger = residents
    llm.requests.clear()
    for memory, user_id in product(("session", "user"), ("alice", canary)):
        session = reader.caller.new_session(user_id=user_id)["id"]
        asked = {"message": "How high is it, and what do I like?", "memory": memory}
        response = reader.caller.post(f"/sessions/{session}/chat", asked)
        assert response.status_code == 200
        assert not holds(response, canary)
    sent = [str(request.body) for request in llm.requests]
    assert len(llm.requests_to(CHAT)) == 4
    assert llm.requests_to(EMBEDDINGS)
    assert [body for body in sent if canary in body] == []
    asked = {"message": "How high is it, and what do I like?", "memory": "user"}
    session = stranger.caller.new_session()["id"]
    stranger.caller.post(f"/sessions/{session}/chat", asked)
    assert canary in str(llm.requests_to(CHAT)[-1].body), "its owner's prompt holds it"


def test_no_log_line_contains_text_of_users(
    capfd: pytest.CaptureFixture[str],
    canary: str,
    residents: tuple[Resident, Resident],
) -> None:
    """`capfd` is the first fixture, so that it captures their output too."""
    reader, stranger = residents
    found(reader, target=stranger, word=canary)
    captured = capfd.readouterr()
    logged = captured.out + captured.err
    assert "/api/v1/documents/<uuid:document_id>/content" in logged
    assert "/api/v1/sessions/<uuid:session_id>/chat" in logged
    hidden = (canary, "Albin Lind", reader.caller.key, stranger.caller.key)
    assert [text for text in hidden if text in logged] == []
