"""Idempotency-Key: a repeated request gets the first response and has no second effect."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from core.access import idempotency
from core.errors import StorageFull
from tests.integration.web.conftest import Caller
from web.http.idempotency import Ticket

KEY = "Idempotency-Key"


def post(caller: Caller, path: str, body: Any, key: str) -> Any:
    return caller.post(path, body, headers={KEY: key})


def test_a_replay_is_the_first_response_byte_for_byte(alice: Caller) -> None:
    first = post(alice, "/sessions", {"user_id": "a"}, "k")
    again = post(alice, "/sessions", {"user_id": "a"}, "k")
    assert first.status_code == again.status_code == 201
    assert first.data == again.data
    assert first.headers["Location"] == again.headers["Location"]
    assert first.headers["Content-Type"] == again.headers["Content-Type"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert alice.get("/sessions").get_json()["total"] == 1


def test_another_body_or_target_is_422(alice: Caller) -> None:
    session = post(alice, "/sessions", {"user_id": "a"}, "k").get_json()["id"]
    for path, body in (
        ("/sessions", {"user_id": "b"}),
        (f"/sessions/{session}/messages", {"sender": "user", "content": "x"}),
        ("/search", {"query": "x"}),
    ):
        response = post(alice, path, body, "k")
        assert response.status_code == 422
        assert response.get_json()["code"] == "idempotency_key_reused"
    assert alice.get("/sessions").get_json()["total"] == 1


def test_each_tenant_has_its_own_idempotency_keys(
    alice: Caller, bob: Caller, charlie: Caller
) -> None:
    first = post(alice, "/sessions", {"user_id": "a"}, "k")
    assert post(bob, "/sessions", {"user_id": "a"}, "k").data == first.data
    theirs = post(charlie, "/sessions", {"user_id": "b"}, "k")
    assert theirs.status_code == 201
    assert theirs.data != first.data


def test_twenty_concurrent_equal_posts_have_one_effect(alice: Caller) -> None:
    session = alice.new_session()["id"]
    path, body = f"/sessions/{session}/messages", {"sender": "user", "content": "once"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(alice, path, body, "k"), range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    done = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.data for answer in done}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in done) == 1
    assert alice.get(path).get_json()["total"] == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\t", "é"])
def test_a_bad_key_is_400(alice: Caller, key: str) -> None:
    response = post(alice, "/sessions", {"user_id": "a"}, key)
    assert response.status_code == 400
    assert list(response.get_json()["errors"]) == [KEY]


def test_the_longest_key_is_accepted(alice: Caller) -> None:
    assert post(alice, "/sessions", {"user_id": "a"}, "x" * 255).status_code == 201
    assert post(alice, "/sessions", {"user_id": "a"}, "with spaces ~!").status_code == 201


def test_a_4xx_is_stored(alice: Caller, unknown_id: str) -> None:
    for path, body, status in (
        ("/sessions", {"user_id": 1}, 400),
        (f"/sessions/{unknown_id}/messages", {"sender": "user", "content": "x"}, 404),
        (f"/jobs/{unknown_id}/cancel", {}, 404),
        (f"/documents/{unknown_id}/reingest", {}, 404),
    ):
        first = post(alice, path, body, path)
        again = post(alice, path, body, path)
        assert first.status_code == status
        assert (again.status_code, again.data) == (status, first.data)
        assert again.headers["Content-Type"] == "application/problem+json"
        assert again.headers["Idempotent-Replayed"] == "true"


def test_another_body_is_422_even_if_it_is_not_valid(alice: Caller) -> None:
    assert post(alice, "/sessions", {"user_id": "a"}, "k").status_code == 201
    assert post(alice, "/sessions", {"user_id": 5}, "k").status_code == 422


@pytest.mark.parametrize("error", [StorageFull("full"), RuntimeError("crash")])
def test_a_5xx_is_not_stored(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, error: Exception, unknown_id: str
) -> None:
    from core.conversations import sessions
    from core.documents import uploads

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "create_session", fail)
        patch.setattr(uploads, "cancel_job", fail)
        assert post(alice, "/sessions", {"user_id": "a"}, "k").status_code >= 500
        assert post(alice, f"/jobs/{unknown_id}/cancel", {}, "c").status_code >= 500
    assert post(alice, "/sessions", {"user_id": "a"}, "k").status_code == 201
    assert post(alice, f"/jobs/{unknown_id}/cancel", {}, "c").status_code == 404


def test_a_new_key_is_replayed_without_being_stored(app: Flask, alice: Caller) -> None:
    body = {"name": "k", "scopes": ["read"]}
    first, again = post(alice, "/keys", body, "k"), post(alice, "/keys", body, "k")
    assert first.data == again.data
    secret = first.get_json()["key"].encode()
    with app.extensions["services"].database.transaction(tenant_id=None) as db:
        bodies = db.execute(text("SELECT body FROM idempotency_keys")).scalars()
        assert all(secret not in bytes(stored or b"") for stored in bodies)


def test_the_operators_responses_are_replayed_only_to_the_operator(
    app: Flask, operator: Caller, tenant: str
) -> None:
    """Keys of the operator's tenant share its Idempotency-Keys, but not its rights."""
    admin = {"name": "k", "scopes": ["admin"]}
    colleague = Caller(app, operator.post("/keys", admin).get_json()["key"], "x")
    body, name = admin | {"tenant": tenant}, f"made for {tenant}"
    made = post(operator, "/keys", body, name)
    rotation = f"/keys/{made.get_json()['id']}/rotate"
    rotated = post(operator, rotation, {}, f"{name} again")
    assert (made.status_code, rotated.status_code) == (201, 201)
    for path, sent, used in (("/keys", body, name), (rotation, {}, f"{name} again")):
        refused = post(colleague, path, sent, used)
        assert (refused.status_code, refused.get_json().get("key")) == (422, None)
        assert post(operator, path, sent, used).headers["Idempotent-Replayed"] == "true"


@pytest.fixture
def ticket(app: Flask, tenant: str) -> Callable[..., Ticket]:
    def make(fingerprint: bytes = b"f") -> Ticket:
        services = app.extensions["services"]
        return Ticket(services, tenant_id=tenant, key="k", fingerprint=fingerprint, sealed=False)

    return make


def test_a_request_in_progress_is_409_until_its_lease_expires(
    app: Flask, alice: Caller, monkeypatch: pytest.MonkeyPatch, unknown_id: str, tenant: str
) -> None:
    monkeypatch.setattr("web.http.idempotency.HOLD_SECONDS", 0.6)
    from web.http import idempotency as web_idempotency

    path = f"/jobs/{unknown_id}/cancel"
    # The state after a process dies during a request: a claim that is not renewed.
    with app.test_request_context(f"/api/v1{path}", method="POST", json={}):
        fingerprint = web_idempotency._fingerprint(sealed=False)
    with app.extensions["services"].database.transaction(tenant_id=tenant) as db:
        idempotency.claim(db, tenant_id=tenant, key="k", fingerprint=fingerprint, hold_seconds=0.6)
    busy = post(alice, path, {}, "k")
    assert (busy.status_code, busy.get_json()["code"]) == (409, "idempotency_in_progress")
    time.sleep(0.7)
    assert post(alice, path, {}, "k").status_code == 404


def test_a_key_is_renewed_while_its_request_runs(
    app: Flask, ticket: Callable[..., Ticket], monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.access.idempotency import StoredResponse
    from core.errors import Conflict
    from web.http.idempotency import Replay

    monkeypatch.setattr("web.http.idempotency.HOLD_SECONDS", 0.4)
    held = ticket()
    held.hold()
    time.sleep(1.0)
    with pytest.raises(Conflict):
        ticket().hold()
    held.settle(StoredResponse(200, {}, b"done"))
    with pytest.raises(Replay) as replay:
        ticket().hold()
    assert replay.value.stored_response.body == b"done"


def test_a_request_that_lost_its_key_stores_no_response(
    app: Flask, tenant: str, ticket: Callable[..., Ticket]
) -> None:
    database = app.extensions["services"].database
    names = {"tenant_id": tenant, "key": "k", "fingerprint": b"f"}
    response = idempotency.StoredResponse(200, {}, b"late")
    with database.transaction(tenant_id=tenant) as db:
        lost = idempotency.claim(db, **names, hold_seconds=0.05)
    time.sleep(0.1)
    with database.transaction(tenant_id=tenant) as db:
        mine = idempotency.claim(db, **names, hold_seconds=60)
    assert isinstance(lost, idempotency.Claim)
    assert isinstance(mine, idempotency.Claim)
    with database.transaction(tenant_id=tenant) as db:
        assert not idempotency.finish(db, lost, response)
        assert not idempotency.release(db, lost)
        assert idempotency.renew(db, lost, hold_seconds=60) is None
        assert idempotency.finish(db, mine, response)


def test_a_key_is_forgotten_after_a_day(app: Flask, alice: Caller, tenant: str) -> None:
    first = post(alice, "/sessions", {"user_id": "a"}, "k").get_json()
    with app.extensions["services"].database.transaction(tenant_id=tenant) as db:
        db.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
    second = post(alice, "/sessions", {"user_id": "b"}, "k")
    assert second.status_code == 201
    assert second.get_json()["id"] != first["id"]
    with app.extensions["services"].database.transaction(tenant_id=tenant) as db:
        db.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
        assert idempotency.purge(db) == 1
