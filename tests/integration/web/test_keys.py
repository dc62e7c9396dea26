"""API keys: their scopes, tenants and lifetimes."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text

from core.access.keys import SCOPES
from tests.conftest import API_KEY, NOWHERE_POSTGRES
from tests.integration.web.conftest import Caller


def without_id(response: Any) -> dict[str, Any]:
    return {name: value for name, value in response.get_json().items() if name != "request_id"}


def test_missing_bad_expired_and_revoked_keys_get_the_same_response(
    app: Flask, operator: Caller, make_caller: Callable[..., Caller], tenant: str
) -> None:
    expired = make_caller("x", tenant=tenant, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    made = operator.post("/keys", {"name": "k", "scopes": ["read"]}).get_json()
    revoked = Caller(app, made["key"], "x")
    assert revoked.get("/sessions").status_code == 200
    assert operator.delete(f"/keys/{made['id']}").status_code == 204
    client = app.test_client()
    answers = [
        client.get("/api/v1/sessions"),
        client.get("/api/v1/sessions", headers={"X-API-Key": ""}),
        client.get("/api/v1/sessions", headers={"X-API-Key": "wrong"}),
        client.get("/api/v1/sessions", headers={"X-API-Key": API_KEY + "x"}),
        client.get("/api/v1/sessions", headers={"X-API-Key": "é" * 10}),
        client.get("/api/v1/sessions", headers={"Authorization": "Bearer "}),
        client.get("/api/v1/sessions", headers={"Authorization": f"Basic {API_KEY}"}),
        client.get("/api/v1/sessions", headers={"X-API-Key": made["key"][:-1] + "_"}),
        client.get("/api/v1/nothing"),
        expired.get("/sessions"),
        revoked.get("/sessions"),
    ]
    for answer in answers:
        assert answer.status_code == 401
        assert without_id(answer) == without_id(answers[0])
        challenges = answer.headers.getlist("WWW-Authenticate")
        assert [line.split()[0] for line in challenges] == ["Apikey", "Bearer"]
        assert answer.headers["X-RateLimit-Limit"]


def test_both_headers_are_accepted(app: Flask, alice: Caller) -> None:
    for headers in (
        {"X-API-Key": alice.key},
        {"Authorization": f"Bearer {alice.key}"},
        {"Authorization": f"bearer {alice.key}"},
        {"X-API-Key": API_KEY},
    ):
        assert app.test_client().get("/api/v1/sessions", headers=headers).status_code == 200


def test_public_urls_need_no_key(fresh_app: Flask) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/docs", "/openapi.json", "/metrics"):
        response = fresh_app.test_client().get(path)
        assert response.status_code == 200, (path, response.text)


def test_a_key_is_shown_once_and_stored_as_a_hash(app: Flask, operator: Caller) -> None:
    response = operator.post(
        "/keys", {"name": "app", "scopes": ["chat", "read"], "rate_limit_per_minute": 7}
    )
    made = response.get_json()
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    assert made["key"].startswith(made["prefix"] + "_")
    assert made["scopes"] == ["read", "chat"]
    listed = operator.get("/keys?limit=100").get_json()["items"]
    mine = next(item for item in listed if item["id"] == made["id"])
    assert mine == {name: value for name, value in made.items() if name != "key"}
    with app.extensions["services"].database.transaction(tenant_id=None) as db:
        rows = db.execute(text("SELECT a::text FROM api_keys a")).scalars()
        assert all(made["key"][len(made["prefix"]) + 1 :] not in row for row in rows)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"scopes": "read"}, "scopes"),
        ({"name": ""}, "name"),
        ({"tenant": "a b"}, "tenant"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+10:00"}, "expires_at"),
        ({"rate_limit_per_minute": 0}, "rate_limit_per_minute"),
        ({"role": "x"}, "role"),
    ],
)
def test_invalid_fields_are_named(operator: Caller, change: dict[str, Any], field: str) -> None:
    response = operator.post("/keys", {"name": "k", "scopes": ["read"]} | change)
    assert response.status_code == 400
    assert list(response.get_json()["errors"]) == [field]


def test_times_are_accepted_with_any_offset_and_returned_in_utc(operator: Caller) -> None:
    for given in ("2099-01-02T01:00:00+19:28", "2099-01-01T05:32:00Z"):
        made = operator.post("/keys", {"name": "k", "scopes": ["read"], "expires_at": given})
        assert made.get_json()["expires_at"] == "2099-01-01T05:32:00Z"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_allows_only_its_scopes(
    make_caller: Callable[..., Caller], alice: Caller, tenant: str, unknown_id: str, scope: str
) -> None:
    session = alice.new_session()["id"]
    key = make_caller("limited", tenant=tenant, scopes=(scope,))
    wanted: dict[tuple[str, str], set[str]] = {
        ("GET", "/sessions"): {"read"},
        ("GET", f"/sessions/{session}/messages"): {"read"},
        ("GET", "/messages/search?q=x"): {"read"},
        ("POST", "/sessions"): {"write"},
        ("POST", f"/sessions/{session}/messages"): {"write"},
        ("PUT", f"/sessions/{session}"): {"write"},
        ("DELETE", f"/sessions/{unknown_id}"): {"write"},
        ("POST", f"/sessions/{unknown_id}/chat"): {"chat"},
        ("POST", "/documents"): {"documents"},
        ("GET", "/documents"): {"read", "documents"},
        ("GET", f"/jobs/{unknown_id}"): {"read", "documents"},
        ("POST", f"/jobs/{unknown_id}/cancel"): {"documents"},
        ("POST", "/search"): {"read"},
        ("GET", "/keys"): {"admin"},
        ("POST", "/keys"): {"admin"},
        ("DELETE", f"/keys/{unknown_id}"): {"admin"},
    }
    for (method, path), scopes in wanted.items():
        response = key.call(method, path)
        if scope in scopes:
            assert response.status_code in {200, 204, 400, 404}, (method, path)
        else:
            assert response.status_code == 403, (method, path)
            assert response.get_json()["code"] == "insufficient_scope"


def test_the_old_key_works_for_the_grace_period_after_rotation(
    app: Flask, operator: Caller
) -> None:
    made = operator.post("/keys", {"name": "k", "scopes": ["read"]}).get_json()
    old = Caller(app, made["key"], "x")
    response = operator.post(f"/keys/{made['id']}/rotate", {"grace_seconds": 60})
    new = Caller(app, response.get_json()["key"], "x")
    assert response.status_code == 201
    assert (old.get("/sessions").status_code, new.get("/sessions").status_code) == (200, 200)
    again = operator.post(f"/keys/{made['id']}/rotate", {"grace_seconds": 0})
    assert again.status_code == 201
    assert (old.get("/sessions").status_code, new.get("/sessions").status_code) == (401, 200)
    assert operator.post(f"/keys/{made['id']}/rotate").status_code == 404
    assert operator.post(f"/keys/{response.get_json()['id']}/rotate").status_code == 201


def test_only_the_operator_creates_keys_for_other_tenants(
    app: Flask, alice: Caller, charlie: Caller, operator: Caller
) -> None:
    body = {"name": "k", "scopes": list(SCOPES)}
    refused = alice.post("/keys", body | {"tenant": "default"})
    assert refused.status_code == 403
    mine = alice.post("/keys", body).get_json()
    assert {item["id"] for item in alice.get("/keys").get_json()["items"]} >= {mine["id"]}
    assert mine["id"] not in str(charlie.get("/keys").data)
    assert charlie.delete(f"/keys/{mine['id']}").status_code == 404
    assert charlie.post(f"/keys/{mine['id']}/rotate").status_code == 404
    assert Caller(app, mine["key"], "x").get("/keys").status_code == 200
    theirs = operator.post("/keys", body | {"tenant": mine["tenant"]}).get_json()
    assert theirs["tenant"] == mine["tenant"]
    assert operator.delete(f"/keys/{mine['id']}").status_code == 204
    assert Caller(app, mine["key"], "x").get("/keys").status_code == 401


def test_the_last_use_is_recorded(alice: Caller) -> None:
    listed = alice.get("/keys").get_json()["items"]
    assert [item["last_used_at"] is not None for item in listed] == [True]


def test_recording_the_last_use_does_not_wait_for_locks(app: Flask, alice: Caller) -> None:
    """A transaction that locks the key's row, such as a rotation, delays no request."""
    with app.extensions["services"].database.transaction(tenant_id=None) as db:
        held = text("SELECT id FROM api_keys WHERE prefix = :prefix FOR UPDATE")
        assert db.execute(held, {"prefix": alice.key[:16]}).all()
        assert alice.get("/sessions").status_code == 200


def test_no_key_and_no_text_is_logged(alice: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    session = alice.new_session(title="canary-title", metadata={"a": "canary-meta"})
    alice.say(session["id"], "canary-text")
    alice.get("/messages/search?q=canary-query")
    alice.post("/sessions", {"user_id": "canary-user", "x": "canary-x"})
    alice.get("/sessions", headers={"Idempotency-Key": "canary-key"})
    logged = str([record.msg for record in caplog.records])
    assert "/api/v1/messages/search" in logged
    assert "canary" not in logged
    assert alice.key not in logged
    assert alice.key[:16] in logged  # its prefix, which is no secret


def test_the_command_line_manages_keys(app: Flask) -> None:
    run = app.test_cli_runner().invoke
    made = run(args=["keys", "create", "cli key", "--scope", "read", "--tenant", "cli"])
    assert made.exit_code == 0, made.output
    key_id, key = made.output.split()
    assert Caller(app, key, "x").get("/sessions").status_code == 200
    assert key_id in run(args=["keys", "list"]).output
    assert key not in run(args=["keys", "list"]).output
    rotated = run(args=["keys", "rotate", key_id, "--grace-seconds", "0"])
    new_id, new_key = rotated.output.split()
    assert Caller(app, key, "x").get("/sessions").status_code == 401
    assert Caller(app, new_key, "x").get("/sessions").status_code == 200
    assert run(args=["keys", "revoke", new_id]).exit_code == 0
    assert Caller(app, new_key, "x").get("/sessions").status_code == 401
    again = run(args=["keys", "revoke", new_id])
    assert again.exit_code == 1
    assert again.output == "Error: There is no such key.\n"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ([""], "name"),
        (["x" * 256], "name"),
        (["half a character: \udcff"], "name"),
        (["k", "--tenant", ""], "tenant"),
        (["k", "--tenant", "a b"], "tenant"),
        (["k", "--rate-limit", "99999999999"], "rate_limit_per_minute"),
    ],
)
def test_the_command_line_accepts_the_same_values_as_the_api(
    app: Flask, arguments: list[str], field: str
) -> None:
    made = app.test_cli_runner().invoke(args=["keys", "create", "--scope", "read", *arguments])
    assert made.exit_code == 1
    assert made.output.startswith(f"Error: {field}: ")
    assert made.output.count("\n") == 1


def test_the_command_line_reports_an_unreachable_database_in_one_line(
    make_app: Callable[..., Flask],
) -> None:
    run = (
        make_app(database_url=NOWHERE_POSTGRES.replace(":", "+psycopg2:", 1))
        .test_cli_runner()
        .invoke
    )
    listed = run(args=["keys", "list"])
    assert (listed.exit_code, listed.output.count("\n")) == (1, 1), listed.output
    long = run(args=["keys", "rotate", str(UUID(int=0)), "--grace-seconds", "9" * 20])
    assert (long.exit_code, type(long.exception)) == (2, SystemExit)


def test_row_level_security_holds_without_the_where_condition(
    app: Flask, alice: Caller, charlie: Caller
) -> None:
    alice.say(alice.new_session(title="canary")["id"], "canary")
    database = app.extensions["services"].database
    tenant = charlie.get("/keys").get_json()["items"][0]["tenant"]
    for table in ("sessions", "messages", "api_keys", "idempotency_keys", "documents", "jobs"):
        with database.transaction(tenant_id=tenant) as db:
            tenants = set(db.execute(text(f"SELECT tenant_id FROM {table}")).scalars())
            assert tenants <= {tenant}, table
        with database.transaction(tenant_id="") as db:
            assert db.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0, table
