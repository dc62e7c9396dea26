"""Errors are problems, and hostile input is an error, never a crash."""

import gzip
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from tests.conftest import API_KEY, NOWHERE_POSTGRES
from tests.harness import SLOW_MACHINE_SECONDS
from tests.integration.web.conftest import Caller

JSON = "application/json"


def check_problem(response: Any, *, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.get_json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert {"type", "title", "detail"} <= set(problem)
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (JSON, '{"user_id": "a"}'.encode("utf-16"), "Must be UTF-8; byte 1 is not."),
        (f"{JSON}; charset=utf-16", '{"user_id": "a"}'.encode("utf-16-le"), "line 1, column 2"),
        (f"{JSON}; charset=latin-1", '{"user_id": "\xe9"}'.encode("latin-1"), "byte 14 is not"),
        (JSON, b'\xef\xbb\xbf{"user_id": "a"}', "without a byte order mark"),
        (JSON, gzip.compress(b'{"user_id": "a"}', mtime=0), "Must be UTF-8; byte 2 is not."),
        (JSON, b'{"user_id": "a"', "Expecting ',' delimiter, line 1, column 16"),
        (JSON, b'{\n"user_id": "a",}', "line 2, column"),
        (JSON, b"user_id=a", "Expecting value, line 1, column 1"),
    ],
)
def test_the_error_names_the_fault_of_a_malformed_body(
    alice: Caller, kind: str, body: bytes, reason: str
) -> None:
    response = alice.post("/sessions", data=body, content_type=kind)
    check_problem(response, status=400, code="invalid_request")
    assert reason in response.get_json()["errors"]["body"][0]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"[" * 50_000, None),
        (b'{"user_id":"a","metadata":{"x":' + b"[" * 990 + b"]" * 990 + b"}}", None),
        (b'{"user_id":"a","metadata":{"x":' + b"[" * 70 + b"]" * 70 + b"}}", "metadata.x"),
        (b'{"user_id":"a","metadata":{"n":' + b"9" * 5000 + b"}}", "metadata.n"),
        (b'{"user_id":"a","metadata":{"n":-' + b"9" * 5000 + b".5}}", "metadata.n"),
        (b'{"user_id":"a","metadata":{"n":1e999}}', "metadata.n"),
        (b'{"user_id":"a","metadata":{"n":NaN}}', "metadata.n"),
        (b'{"user_id":"a","metadata":{"n":-Infinity}}', "metadata.n"),
        (b'{"user_id":"a","metadata":{"t":"x\\u0000"}}', "metadata.t"),
        (b'{"user_id":"a","metadata":{"l":["\\ud800"]}}', "metadata.l.0"),
        (b'{"user_id":"a","metadata":{"\\udfff":1}}', "metadata"),
        (b'{"user_id":"a","metadata":{"k\\u0000":1}}', "metadata"),
        (b'{"user_id":"a\\u0000b"}', "user_id"),
        (b'{"user_id":"\\ud83d"}', "user_id"),
        (b'{"user_id":"\xed\xa0\x80"}', "body"),
        (b'{"user_id":"\xff"}', "body"),
        (b'{"user_id":"a","user_id":"b"}', "body"),
        (b'{"user_id":"a","metadata":{"x":1,"x":2}}', "metadata"),
        (b'{"user_id":"a"', "body"),
        (b"{'user_id':'a'}", "body"),
        (b'{"user_id":"a"}{}', "body"),
        (b"null", "body"),
        (b"\x00", "body"),
        (b"", "user_id"),
    ],
)
def test_hostile_json_is_400(alice: Caller, body: bytes, where: str | None) -> None:
    response = alice.call("POST", "/sessions", data=body, content_type=JSON)
    problem = check_problem(response, status=400, code="invalid_request")
    assert problem["errors"]
    if where is not None:
        assert list(problem["errors"]) == [where]


def test_input_that_only_looks_hostile_is_accepted(alice: Caller) -> None:
    body = (
        b'{"user_id":"\\ud83e\\udd8a","metadata":{"n":'
        + b"9" * 60
        + b',"deep":'
        + b"[" * 60
        + b"]" * 60
        + b"}}"
    )
    response = alice.call("POST", "/sessions", data=body, content_type=JSON)
    assert response.status_code == 201
    assert response.get_json()["user_id"] == "🦊"
    assert response.get_json()["metadata"]["n"] == int("9" * 60)


def test_a_body_of_3_mb_is_413(alice: Caller) -> None:
    body = b'{"user_id":"' + b"a" * 3_000_000 + b'"}'
    response = alice.call("POST", "/sessions", data=body, content_type=JSON)
    check_problem(response, status=413, code="payload_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/html"])
def test_a_body_that_is_not_json_is_415(alice: Caller, kind: str) -> None:
    response = alice.call("POST", "/sessions", data=b'{"user_id":"a"}', content_type=kind)
    check_problem(response, status=415, code="unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "identity, gzip", "unheard-of"])
def test_a_compressed_body_is_415_and_names_the_accepted_coding(alice: Caller, coding: str) -> None:
    body = gzip.compress(b'{"user_id":"a"}')
    for path, kind in (("/sessions", JSON), ("/documents", "multipart/form-data; boundary=x")):
        headers = {"Content-Encoding": coding}
        response = alice.post(path, data=body, content_type=kind, headers=headers)
        problem = check_problem(response, status=415, code="unsupported_media_type")
        assert "Content-Encoding" in problem["detail"]
        assert response.headers["Accept-Encoding"] == "identity"


def test_a_plain_body_after_a_compressed_one_is_accepted(alice: Caller) -> None:
    body, key = b'{"user_id":"a"}', {"Idempotency-Key": "k"}
    refused = alice.post(
        "/sessions",
        data=gzip.compress(body),
        content_type=JSON,
        headers={"Content-Encoding": "gzip", **key},
    )
    assert refused.status_code == 415
    for headers in ({"Content-Encoding": "identity"}, key):
        made = alice.post("/sessions", data=body, content_type=JSON, headers=headers)
        assert made.status_code == 201, made.text
    other = alice.post("/sessions", data=body, content_type="text/plain")
    assert (other.status_code, other.headers.get("Accept-Encoding")) == (415, None)


def test_unknown_urls_and_methods_are_404_and_405(alice: Caller, app: Flask) -> None:
    check_problem(alice.get("/nothing"), status=404, code="not_found")
    check_problem(alice.get("/sessions/not-a-uuid"), status=404, code="not_found")
    check_problem(alice.get("/sessions/1' OR '1'='1"), status=404, code="not_found")
    check_problem(alice.get("/sessions/%00"), status=400, code="invalid_request")
    response = alice.call("PUT", "/sessions", json={})
    check_problem(response, status=405, code="method_not_allowed")
    assert {"GET", "POST"} <= set(response.headers["Allow"].replace(" ", "").split(","))
    check_problem(app.test_client().get("/elsewhere"), status=404, code="not_found")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a.B-9_", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("é", False)],
)
def test_a_valid_request_id_is_kept(alice: Caller, given: str, kept: bool) -> None:
    response = alice.get("/nothing", headers={"X-Request-ID": given})
    assert (response.headers["X-Request-ID"] == given) is kept
    assert response.get_json()["request_id"] == response.headers["X-Request-ID"]


def test_a_crash_is_a_problem_and_only_the_log_has_the_traceback(
    app: Flask,
    alice: Caller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def crash(**_: Any) -> None:
        secret = "the canary in a local variable"
        raise RuntimeError(f"internal detail\n{secret}")

    session = alice.new_session()
    view = app.view_functions["sessions.get_session"]
    crash.__dict__.update(view.__dict__)
    monkeypatch.setitem(app.view_functions, "sessions.get_session", crash)
    response = alice.get(f"/sessions/{session['id']}")
    check_problem(response, status=500, code="internal_error")
    assert "internal detail" not in response.text
    log = str([record.msg for record in caplog.records])
    assert "internal detail" in log
    assert "'frames'" in log
    assert "canary" not in log
    assert response.headers["X-Request-ID"] in log


def test_a_lost_database_is_503(make_app: Callable[..., Flask]) -> None:
    app = make_app(database_url=NOWHERE_POSTGRES.replace("postgresql:", "postgresql+psycopg2:"))
    response = Caller(app, API_KEY, "operator").get("/sessions")
    check_problem(response, status=503, code="database_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    health = app.test_client().get("/health")
    assert health.status_code == 503
    assert health.get_json()["status"] == "unhealthy"
    assert health.get_json()["database"] == "disconnected"
    assert app.test_client().get("/health/live").status_code == 200
    assert app.test_client().get("/health/ready").status_code == 503


def test_an_exhausted_pool_is_503_after_a_short_wait(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app()
    database = app.extensions["services"].database
    caller = Caller(app, API_KEY, "operator")
    with ExitStack() as held:
        for _ in range(database.engine.pool.size() + 2):
            held.enter_context(database.transaction(tenant_id="default"))
        started = time.monotonic()
        response = caller.get("/sessions")
        assert time.monotonic() - started < 3 + SLOW_MACHINE_SECONDS  # pool_timeout is 3 s of 30
        check_problem(response, status=503, code="database_unavailable")
        assert int(response.headers["Retry-After"]) >= 1
    assert caller.get("/sessions").status_code == 200


def test_a_row_that_stays_locked_is_503_and_nothing_is_stored(app: Flask, alice: Caller) -> None:
    session = alice.new_session()["id"]
    with app.extensions["services"].database.transaction(tenant_id=None) as db:
        db.execute(text("SELECT 1 FROM sessions WHERE id = :id FOR UPDATE"), {"id": session})
        body = {"sender": "user", "content": "x"}
        started = time.monotonic()
        response = alice.post(f"/sessions/{session}/messages", body)
        assert time.monotonic() - started < 3 + SLOW_MACHINE_SECONDS  # lock_timeout is 3 s
        check_problem(response, status=503, code="database_unavailable")
    assert alice.get(f"/sessions/{session}/messages").get_json()["total"] == 0


INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE sessions; --",
    "\\'; SELECT pg_sleep(60); --",
    "%27",
    "$1",
]


@pytest.mark.parametrize("sql", INJECTIONS)
def test_sql_is_plain_text_in_every_field(alice: Caller, sql: str) -> None:
    alice.say(alice.new_session(title="kept")["id"], "kept")
    for path in ("/sessions", "/documents", "/messages/search"):
        found = alice.get(
            path, query_string={"user_id": sql, **({"q": "x"} if "s/s" in path else {})}
        )
        assert (found.status_code, found.get_json()["total"]) == (200, 0)
    assert alice.get("/sessions", query_string={"q": sql}).get_json()["total"] == 0
    assert alice.get("/messages/search", query_string={"q": sql}).status_code == 200
    for path in ("/sessions", "/documents", "/jobs", "/keys"):
        bad = alice.get(path, query_string={"cursor": sql})
        check_problem(bad, status=400, code="invalid_cursor")
    for path in (f"/sessions/{sql}", f"/messages/{sql}", f"/documents/{sql}", f"/jobs/{sql}"):
        assert alice.get(path).status_code == 404
    assert alice.get("/jobs", query_string={"document_id": sql}).status_code == 400
    made = alice.new_session(title=sql, metadata={sql: sql})
    assert (made["title"], made["metadata"]) == (sql, {sql: sql})
    assert alice.get("/sessions").get_json()["total"] == 2


@pytest.mark.parametrize("field", ["tenant_id", "tenant", "id", "role", "is_admin", "created_at"])
def test_read_only_fields_are_refused(alice: Caller, unknown_id: str, field: str) -> None:
    session = alice.new_session()["id"]
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/sessions", {"user_id": "a"}),
        ("PUT", f"/sessions/{session}", {"title": "a"}),
        ("PATCH", f"/sessions/{session}/favorite", {"is_favorite": True}),
        ("POST", f"/sessions/{session}/messages", {"sender": "user", "content": "a"}),
        ("POST", f"/sessions/{session}/chat", {"message": "a"}),
        ("POST", "/search", {"query": "a"}),
        ("POST", f"/keys/{unknown_id}/rotate", {"grace_seconds": 1}),
    ]
    for method, path, body in bodies:
        response = alice.call(method, path, json={**body, field: "x"})
        problem = check_problem(response, status=400, code="invalid_request")
        assert list(problem["errors"]) == [field], path
