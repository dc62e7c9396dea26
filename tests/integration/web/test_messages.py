"""Messages: positions, passages, search."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.web.conftest import Caller

FIELDS = {
    "id",
    "session_id",
    "position",
    "sender",
    "content",
    "context_metadata",
    "retrieved_context",
    "status",
    "model",
    "usage",
    "finish_reason",
    "error",
    "feedback",
    "alternatives",
    "created_at",
}


def test_a_message_is_stored_unchanged(alice: Caller) -> None:
    session = alice.new_session()
    body = {
        "sender": "assistant",
        "content": "  \u202eשלום\u200d 👩‍👩‍👧 e\u0301 \ufeff\x01\n\t ",
        "context_metadata": {"k": {"n": 1.5, "list": [True, None, "ü"]}},
        "retrieved_context": [
            {"text": "only text"},
            {"index": 2, "text": "all", "document_id": "d", "filename": "f.pdf", "page_start": 1,
             "page_end": 2, "chunk_id": "c", "quote": "al", "score": 0.25},
        ],
    }  # fmt: skip
    response = alice.post(f"/sessions/{session['id']}/messages", body)
    made = response.get_json()
    assert response.status_code == 201
    assert set(made) == FIELDS
    assert {name: made[name] for name in body} == body
    assert (made["position"], made["status"], made["model"]) == (1, "complete", None)
    assert alice.get(f"/messages/{made['id']}").get_json() == made
    seen = alice.get(f"/sessions/{session['id']}").get_json()
    assert seen["message_count"] == 1
    assert seen["last_message_at"] is not None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sender": "robot"}, "sender"),
        ({"sender": None}, "sender"),
        ({"content": ""}, "content"),
        ({"content": ["x"]}, "content"),
        ({"context_metadata": "x"}, "context_metadata"),
        ({"retrieved_context": {}}, "retrieved_context"),
        ({"retrieved_context": [{}]}, "retrieved_context.0.text"),
        ({"retrieved_context": [{"text": "x", "score": "1"}]}, "retrieved_context.0.score"),
        ({"retrieved_context": [{"text": "x", "page_start": 1.5}]},
         "retrieved_context.0.page_start"),
        ({"retrieved_context": [{"text": "x", "role": "y"}]}, "retrieved_context.0.role"),
        ({"position": 7}, "position"),
        ({"role": "admin"}, "role"),
    ],
)  # fmt: skip
def test_invalid_fields_are_named(alice: Caller, change: dict[str, Any], field: str) -> None:
    path = f"/sessions/{alice.new_session()['id']}/messages"
    response = alice.post(path, {"sender": "user", "content": "hello"} | change)
    assert response.status_code == 400
    assert list(response.get_json()["errors"]) == [field]
    assert alice.get(path).get_json()["total"] == 0


def test_fifty_concurrent_appends_get_positions_1_to_50(alice: Caller) -> None:
    session = alice.new_session()
    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda n: alice.say(session["id"], f"m{n}"), range(50)))
    assert sorted(message["position"] for message in made) == list(range(1, 51))
    listed = alice.get(f"/sessions/{session['id']}/messages?limit=100").get_json()
    assert [item["position"] for item in listed["items"]] == list(range(1, 51))
    assert {item["id"]: item["position"] for item in listed["items"]} == {
        message["id"]: message["position"] for message in made
    }
    times = [item["created_at"] for item in listed["items"]]
    assert times == sorted(times)
    assert alice.get(f"/sessions/{session['id']}").get_json()["message_count"] == 50


def test_messages_are_listed_in_either_order_and_by_sender(alice: Caller) -> None:
    session = alice.new_session()
    for number in range(6):
        alice.say(session["id"], str(number), sender="assistant" if number % 2 else "user")
    path = f"/sessions/{session['id']}/messages"

    def positions(query: str) -> list[int]:
        return [item["position"] for item in alice.get(f"{path}?{query}").get_json()["items"]]

    assert positions("") == [1, 2, 3, 4, 5, 6]
    assert positions("order=desc") == [6, 5, 4, 3, 2, 1]
    assert positions("skip=2&limit=2") == [3, 4]
    assert positions("order=desc&skip=2&limit=2") == [4, 3]
    assert positions("sender=assistant") == [2, 4, 6]
    assert positions("sender=user&skip=1&limit=1") == [3]
    assert positions("skip=6") == []
    assert alice.get(f"{path}?sender=user").get_json()["total"] == 3
    assert alice.get(f"{path}?skip=100").get_json()["total"] == 6


def test_an_unknown_session_has_no_messages(alice: Caller, unknown_id: str) -> None:
    assert alice.get(f"/sessions/{unknown_id}/messages").status_code == 404
    body = {"sender": "user", "content": "x"}
    assert alice.post(f"/sessions/{unknown_id}/messages", body).status_code == 404


def test_search_finds_words_best_first(alice: Caller, charlie: Caller) -> None:
    session, other = alice.new_session(), alice.new_session(user_id="dora")
    best = alice.say(session["id"], "Walrus, walrus! The walrus sings.")
    good = alice.say(session["id"], "filler " * 60 + "a walrus here " + "filler " * 60)
    doras = alice.say(other["id"], "walrus of another user")
    alice.say(session["id"], "carpenter")

    found = alice.get("/messages/search?q=WALRUS&user_id=alice").get_json()
    assert [item["message"]["id"] for item in found["items"]] == [best["id"], good["id"]]
    assert found["items"][0]["session_id"] == session["id"]
    assert found["items"][0]["message"] == best
    assert "walrus" in found["items"][1]["snippet"]
    assert len(found["items"][1]["snippet"]) < 300
    everybodys = alice.get("/messages/search?q=walrus").get_json()
    assert everybodys["total"] == 3
    assert doras["id"] in [item["message"]["id"] for item in everybodys["items"]]
    assert alice.get("/messages/search?q=walrus+-sings").get_json()["total"] == 2
    assert alice.get("/messages/search?q=%22walrus+sings%22").get_json()["total"] == 1
    assert alice.get("/messages/search?q=%21%26%7C").get_json()["items"] == []
    assert charlie.get("/messages/search?q=walrus").get_json()["total"] == 0
    assert alice.get("/messages/search").status_code == 400


def test_another_tenant_does_not_find_a_message(
    alice: Caller, bob: Caller, charlie: Caller
) -> None:
    message = alice.say(alice.new_session()["id"])
    assert bob.get(f"/messages/{message['id']}").get_json() == message
    assert charlie.get(f"/messages/{message['id']}").status_code == 404
