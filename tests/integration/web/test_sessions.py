"""/sessions, line by line of the contract."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.web.conftest import Caller

FIELDS = {
    "id",
    "user_id",
    "title",
    "is_favorite",
    "metadata",
    "message_count",
    "created_at",
    "updated_at",
    "last_message_at",
    "active_message_id",
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_a_created_session_can_be_read(alice: Caller) -> None:
    response = alice.post(
        "/sessions", {"user_id": "alice", "title": " Naïve 🦊 ", "metadata": {"a": [1, None]}}
    )
    made = response.get_json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"/api/v1/sessions/{made['id']}"
    assert set(made) == FIELDS
    assert made["title"] == " Naïve 🦊 "
    assert made["metadata"] == {"a": [1, None]}
    assert (made["is_favorite"], made["message_count"]) == (False, 0)
    assert made["last_message_at"] is None
    assert UUID7.fullmatch(made["id"])
    assert MOMENT.fullmatch(made["created_at"])
    assert alice.get(f"/sessions/{made['id']}").get_json() == made


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": 5}, "user_id"),
        ({"user_id": "x" * 256}, "user_id"),
        ({"user_id": "a", "title": 1}, "title"),
        ({"user_id": "a", "title": "x" * 1001}, "title"),
        ({"user_id": "a", "metadata": []}, "metadata"),
        ({"user_id": "a", "metadata": None}, "metadata"),
        ({"user_id": "a", "tenant_id": "b"}, "tenant_id"),
        ({"user_id": "a", "id": "b"}, "id"),
        ({"user_id": "a", "key": "b"}, "key"),
        ({"user_id": "a", "value": "b"}, "value"),
        ([], "body"),
        ("text", "body"),
    ],
)
def test_invalid_fields_are_named(alice: Caller, body: Any, field: str) -> None:
    response = alice.post("/sessions", body)
    assert response.status_code == 400
    assert list(response.get_json()["errors"]) == [field]


def test_sessions_are_listed_most_recently_active_first(alice: Caller) -> None:
    made = [alice.new_session(title=f"t{number}") for number in range(3)]
    alice.say(made[0]["id"])
    listed = alice.get("/sessions").get_json()
    assert [item["id"] for item in listed["items"]] == [made[i]["id"] for i in (0, 2, 1)]
    assert (listed["total"], listed["skip"], listed["limit"]) == (3, 0, 50)
    assert listed["next_cursor"] is None


def test_filters_narrow_the_list(alice: Caller) -> None:
    plain = alice.new_session(title="100% Rare_Title")
    liked = alice.new_session(title="other", user_id="dora")
    alice.patch(f"/sessions/{liked['id']}/favorite", {"is_favorite": True})

    def ids(query: str) -> list[str]:
        return [item["id"] for item in alice.get(f"/sessions?{query}").get_json()["items"]]

    assert ids("user_id=alice") == [plain["id"]]
    assert ids("is_favorite=true") == [liked["id"]]
    assert ids("is_favorite=false") == [plain["id"]]
    assert ids("q=rare_t") == [plain["id"]]
    assert ids("q=100%25") == [plain["id"]]
    assert ids("q=r%25t") == []  # a wildcard is a character here
    assert ids("user_id=nobody") == []


def test_titles_with_more_of_the_words_come_first(alice: Caller) -> None:
    titles = ("Lamp oil for Vinga", "Lamp reports", "Lamp ERR-4187 report", "The fog", "Other")
    made = {alice.new_session(title=title)["id"]: title for title in titles}

    def found(query: str, limit: int = 50) -> list[str]:
        listed: list[str] = []
        page = {"next_cursor": ""}
        while page["next_cursor"] is not None:
            values = {"q": query, "limit": str(limit)} | (
                {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
            )
            page = alice.get(f"/sessions?{urlencode(values)}").get_json()
            listed += [made[item["id"]] for item in page["items"]]
            assert page["total"] >= len(listed)
        return listed

    both = ["Lamp ERR-4187 report", "Lamp reports", "Lamp oil for Vinga"]
    assert found("lamp reports") == both
    assert found("lamp reports", limit=1) == both
    assert found("the reports") == both[:2]  # a little word is not sought
    assert found("the") == ["Other", "The fog"]
    assert found("oil lamp vin") == ["Lamp oil for Vinga", *both[:2]]
    assert found("err4187") == both[:1]
    assert found("nothing at all") == []


def test_title_and_metadata_can_be_changed_separately(alice: Caller) -> None:
    session = alice.new_session(title="old", metadata={"a": 1})
    path = f"/sessions/{session['id']}"
    renamed = alice.put(path, {"title": "new"}).get_json()
    assert (renamed["title"], renamed["metadata"]) == ("new", {"a": 1})
    assert renamed["updated_at"] > session["updated_at"]
    changed = alice.put(path, {"metadata": {"b": 2}}).get_json()
    assert (changed["title"], changed["metadata"]) == ("new", {"b": 2})
    assert alice.put(path, {"title": None}).get_json()["title"] is None
    assert alice.put(path, {"user_id": "bob"}).status_code == 400
    assert alice.call("PUT", path).status_code == 400
    assert alice.put(path, {}).status_code == 200


def test_the_favourite_mark_toggles_and_is_set(alice: Caller) -> None:
    path = f"/sessions/{alice.new_session()['id']}/favorite"
    assert [alice.patch(path).get_json()["is_favorite"] for _ in range(3)] == [True, False, True]
    assert alice.patch(path, {"is_favorite": True}).get_json()["is_favorite"] is True
    assert alice.patch(path, {"is_favorite": False}).get_json()["is_favorite"] is False
    assert alice.patch(path, {"is_favorite": "true"}).status_code == 400
    assert alice.patch(path, {"is_favorite": 1}).status_code == 400


def test_a_session_is_deleted_with_its_messages(alice: Caller) -> None:
    session = alice.new_session()
    message = alice.say(session["id"])
    response = alice.delete(f"/sessions/{session['id']}")
    assert (response.status_code, response.data) == (204, b"")
    gone = alice.get(f"/sessions/{session['id']}")
    assert (gone.status_code, gone.get_json()["code"]) == (404, "session_not_found")
    gone = alice.get(f"/messages/{message['id']}")
    assert (gone.status_code, gone.get_json()["code"]) == (404, "message_not_found")
    assert alice.delete(f"/sessions/{session['id']}").status_code == 404


def test_keys_of_a_tenant_share_sessions_and_other_tenants_see_none(
    alice: Caller, bob: Caller, charlie: Caller, unknown_id: str
) -> None:
    session = alice.new_session()
    path = f"/sessions/{session['id']}"
    assert bob.get(path).get_json() == session
    assert charlie.get("/sessions").get_json()["total"] == 0
    for method, tail, body in (
        ("GET", "", None),
        ("PUT", "", {"title": "mine"}),
        ("PATCH", "/favorite", {"is_favorite": True}),
        ("DELETE", "", None),
        ("GET", "/messages", None),
        ("POST", "/messages", {"sender": "user", "content": "x"}),
    ):
        options = {"json": body} if body else {}
        theirs = charlie.call(method, f"{path}{tail}", **options)
        nobodys = charlie.call(method, f"/sessions/{unknown_id}{tail}", **options)
        assert theirs.status_code == 404, (method, tail)
        assert _without_id(theirs.get_json()) == _without_id(nobodys.get_json())
    assert alice.get(path).get_json() == session


def _without_id(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}
