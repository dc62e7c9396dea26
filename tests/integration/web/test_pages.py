"""Pages: limits, cursors, and walks while rows are added."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from core.db.paging import cursor_scope, encode_cursor
from tests.integration.web.conftest import Caller


def walk(
    caller: Caller, path: str, *, meanwhile: Callable[[], object] = lambda: None
) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    joiner, cursor = ("&" if "?" in path else "?"), None
    while True:
        tail = f"&cursor={cursor}" if cursor else ""
        page = caller.get(f"{path}{joiner}limit=3{tail}").get_json()
        assert page["skip"] == len(items)
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
        meanwhile()


def test_paging_returns_each_session_once_while_others_are_added(alice: Caller) -> None:
    made = {alice.new_session()["id"] for _ in range(10)}
    seen = [item["id"] for item in walk(alice, "/sessions", meanwhile=alice.new_session)]
    assert sorted(seen) == sorted(made)


def test_paging_over_ties_returns_each_session_once(alice: Caller) -> None:
    made = {alice.new_session()["id"] for _ in range(7)}
    services = alice.app.extensions["services"]
    with services.database.transaction(tenant_id=None) as db:
        db.connection().exec_driver_sql("UPDATE sessions SET active_at = now()")
    assert sorted(item["id"] for item in walk(alice, "/sessions")) == sorted(made)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_paging_returns_each_message_once_while_others_are_appended(
    alice: Caller, order: str
) -> None:
    session = alice.new_session()["id"]
    first = [alice.say(session)["id"] for _ in range(10)]
    left = iter(range(4))

    def append() -> None:
        if next(left, None) is not None:
            alice.say(session)

    path = f"/sessions/{session}/messages?order={order}"
    seen = [item["id"] for item in walk(alice, path, meanwhile=append)]
    assert len(set(seen)) == len(seen)
    assert set(first) <= set(seen)
    if order == "desc":
        assert seen == first[::-1]


def test_paging_over_search_results_returns_each_once(alice: Caller) -> None:
    session = alice.new_session()["id"]
    made = {alice.say(session, "walrus " * (number % 3 + 1))["id"] for number in range(10)}
    found = walk(
        alice, "/messages/search?q=walrus", meanwhile=lambda: alice.say(session, "walrus walrus")
    )
    seen = [item["message"]["id"] for item in found]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= made | set(seen)
    assert len(set(seen) & made) == 10


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=5.0",
        "limit=%205",
        "limit=1_0",
        "limit=",
        "skip=-1",
        "skip=99999999999",
        "skip=" + "9" * 5000,
        "limit=5&limit=6",
        "cursor=",
        "cursor=nonsense",
        "cursor=%00",
        "cursor=WzEsMl0",
        "cursor=' OR 1=1 --",
        "cursor=" + "A" * 5000,
        "nonsense=1",
        "tenant_id=elsewhere",
        "is_favorite=yes",
        "q=",
        "user_id=%ff",
        "user_id=%00",
        "user_id=%ed%a0%80",
    ],
)
def test_a_bad_query_is_400(alice: Caller, query: str) -> None:
    response = alice.get(f"/sessions?{query}")
    assert response.status_code == 400
    problem = response.get_json()
    assert problem["code"] in {"invalid_request", "invalid_cursor"}
    assert problem["errors"]


def test_a_cursor_belongs_to_its_listing(alice: Caller) -> None:
    for _ in range(3):
        alice.new_session()
    cursor = alice.get("/sessions?limit=1").get_json()["next_cursor"]
    assert alice.get(f"/sessions?limit=2&cursor={cursor}").status_code == 200
    for path in (
        f"/sessions?cursor={cursor}&user_id=alice",
        f"/documents?cursor={cursor}",
        f"/sessions?cursor={cursor}&skip=1",
        f"/sessions?cursor={cursor[:-2]}",
    ):
        assert alice.get(path).status_code == 400, path


@pytest.mark.parametrize(
    "keys",
    [
        ["x", "y"],
        [1, 2],
        ["2026-01-01T00:00:00", "x"],
        [],
        ["9999-12-31T23:59:59+00:00", "'"],
        ["0001-01-01T00:00:00+23:59", str(UUID(int=0))],
    ],
)
def test_a_forged_cursor_is_400(alice: Caller, keys: list[Any]) -> None:
    name = cursor_scope("sessions", user_id=None, is_favorite=None, q=None)
    cursor = encode_cursor(scope=name, keys=keys, rows_before=1)
    assert alice.get(f"/sessions?cursor={cursor}").get_json()["code"] == "invalid_cursor"


def test_a_forged_offset_does_not_crash(alice: Caller) -> None:
    """PostgreSQL refuses offsets of 16 hours and more, Python those of 24."""
    made = alice.new_session()["id"]
    name = cursor_scope("sessions", user_id=None, is_favorite=None, q=None)
    keys = ["9999-01-01T00:00:00-23:59", str(UUID(int=0))]
    cursor = encode_cursor(scope=name, keys=keys, rows_before=1)
    response = alice.get(f"/sessions?cursor={cursor}")
    assert [item["id"] for item in response.get_json()["items"]] == [made]


@pytest.mark.parametrize("position", [2**31, 10**30, 1.5, float("nan")])
def test_a_forged_position_is_400(alice: Caller, position: float) -> None:
    session = alice.new_session()["id"]
    name = cursor_scope("messages", session_id=UUID(session), order="asc", sender=None)
    cursor = encode_cursor(scope=name, keys=[position], rows_before=1)
    response = alice.get(f"/sessions/{session}/messages?cursor={cursor}")
    assert response.get_json()["code"] == "invalid_cursor"


@pytest.mark.parametrize("rank", [2.0**31, float("inf"), float("nan")])
def test_a_forged_rank_is_400(alice: Caller, rank: float) -> None:
    name = cursor_scope("message search", q="x", user_id=None)
    cursor = encode_cursor(scope=name, keys=[rank, UUID(int=0)], rows_before=1)
    response = alice.get(f"/messages/search?q=x&cursor={cursor}")
    assert response.get_json()["code"] == "invalid_cursor"
