"""Health, limits, metrics, docs, CORS, and the statements of one request."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families
from referencing import Registry
from referencing.jsonschema import DRAFT4

from core.queue import worker_heartbeats
from core.queue.broker import WORK_QUEUE
from launcher.servers import start_redis
from tests.harness import SLOW_MACHINE_SECONDS
from tests.integration.web.conftest import Caller


def test_health_follows_the_contract(fresh_app: Flask) -> None:
    app = fresh_app
    response = app.test_client().get("/health")
    body = response.get_json()
    assert response.status_code == 200
    assert (body["status"], body["database"]) == ("healthy", "connected")
    assert body["service"] == "Chat Storage API"
    assert (body["redis"], body["limits"]) == ("connected", "shared")
    assert body["queue"] >= 0
    assert app.test_client().get("/health/live").get_json() == {"status": "alive"}
    assert app.test_client().get("/health/ready").get_json() == {"status": "ready"}


def test_an_old_schema_is_not_ready(
    make_app: Callable[..., Flask], new_database: Callable[[], str]
) -> None:
    app = make_app(database_url=new_database())
    database = app.extensions["services"].database
    with database.transaction(tenant_id=None) as db:
        db.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    response = app.test_client().get("/health/ready")
    assert (response.status_code, response.get_json()["reason"]) == (503, "schema_behind")


def test_health_counts_recently_announced_workers(
    make_app: Callable[..., Flask], new_database: Callable[[], str], tmp_path: Any
) -> None:
    """Uses its own database, because page ranges of other tests would be counted too."""
    server = start_redis(tmp_path / "redis")
    app = make_app(redis_url=server.url, database_url=new_database())
    client = app.extensions["redis"]

    def known() -> tuple[int, int]:
        body = app.test_client().get("/health").get_json()
        return body["workers"], body["queue"]

    try:
        assert known() == (0, 0)
        worker_heartbeats.announce(client, worker="one@a")
        worker_heartbeats.announce(client, worker="one@a")
        worker_heartbeats.announce(client, worker="two@b", seconds=1)
        client.rpush(WORK_QUEUE, "x", "y", "z")
        assert known() == (2, 3)
        deadline = time.monotonic() + 3 * SLOW_MACHINE_SECONDS
        while known()[0] == 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert known() == (1, 3)
        worker_heartbeats.withdraw(client, worker="one@a")
        assert known() == (0, 3)
    finally:
        server.stop()
    worker_heartbeats.announce(client, worker="quiet")
    worker_heartbeats.withdraw(client, worker="quiet")


def test_the_statements_of_a_request_stay_within_their_budget(
    operator: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """Uses the operator's key, which needs no statement."""
    caplog.set_level(logging.INFO)
    session = operator.new_session()["id"]
    for _ in range(5):
        message = operator.say(session)["id"]
    path = f"/sessions/{session}/messages"
    body = {"sender": "user", "content": "x"}
    budget: list[tuple[int, Callable[[], Any]]] = [
        (1, lambda: operator.post(path, body)),
        (4, lambda: operator.post(path, body, headers={"Idempotency-Key": session})),
        (1, lambda: operator.get(path)),
        (1, lambda: operator.get(f"{path}?sender=user")),
        (1, lambda: operator.get(f"/messages/{message}")),
        # Two of them cut the words of messages that are new since the last search.
        (3, lambda: operator.get("/messages/search?q=x")),
        (1, lambda: operator.get(f"/sessions/{session}")),
        (1, lambda: operator.post("/sessions", {"user_id": "a"})),
        (2, lambda: operator.get("/sessions")),
        (2, lambda: operator.get("/documents")),
        (2, lambda: operator.get("/jobs")),
        (2, lambda: operator.get("/keys")),
    ]
    for allowed, call in budget:
        caplog.clear()
        assert call().status_code < 300
        line = next(record.msg for record in caplog.records if record.name == "web.request")
        assert line["db_statements"] <= allowed, line


def test_each_request_has_one_log_line(
    alice: Caller, caplog: pytest.LogCaptureFixture, tenant: str
) -> None:
    session = alice.new_session()["id"]
    caplog.set_level(logging.INFO)
    caplog.clear()
    response = alice.get(f"/sessions/{session}", headers={"X-Request-ID": "my-id"})
    lines = [record.msg for record in caplog.records if record.name == "web.request"]
    assert len(lines) == 1
    line = lines[0]
    assert line["request_id"] == response.headers["X-Request-ID"] == "my-id"
    assert (line["method"], line["status"]) == ("GET", 200)
    assert line["path"] == f"/api/v1/sessions/{session}"
    assert line["route"] == "/api/v1/sessions/<uuid:session_id>"
    assert line["ms"] > line["db_ms"] > 0
    assert line["tenant"] == tenant
    assert alice.key.startswith(line["key"])
    assert line["bytes_sent"] == len(response.data)


def test_metrics_are_prometheus_text_without_personal_data(
    alice: Caller, app: Flask, tenant: str
) -> None:
    session = alice.new_session()["id"]
    alice.get(f"/sessions/{session}")
    text = app.test_client().get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {"rag_http_requests", "rag_http_request_duration_seconds", "rag_jobs"} <= set(families)
    states = {sample.labels["state"] for sample in families["rag_jobs"].samples}
    assert states == {"queued", "running", "succeeded", "failed", "cancelled"}
    assert tenant not in text
    assert session not in text
    assert alice.key[:16] not in text


def test_the_document_is_valid_openapi(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    validate(document)
    assert document["info"]["title"] == "Chat Storage API"


def test_examples_match_their_schemas(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    described = Registry().with_resource(
        "urn:openapi", DRAFT4.create_resource({"components": document["components"]})
    )
    shown = 0
    for media in _media(document):
        if "example" not in media or "schema" not in media:
            continue
        at_home = json.loads(json.dumps(media["schema"]).replace('"#/', '"urn:openapi#/'))
        OAS30Validator(at_home, registry=described).validate(media["example"])
        shown += 1
    assert shown > 40
    lacking = [media for media in _media(document, "application/json") if "example" not in media]
    assert lacking == []


def _media(node: Any, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """All values under a `content`; only of media type `kind` if it is given."""
    if isinstance(node, list):
        for item in node:
            yield from _media(item, kind)
    elif isinstance(node, dict):
        for name, inner in node.items():
            if name == "content" and isinstance(inner, dict):
                for found, media in inner.items():
                    if kind in (None, found) and isinstance(media, dict):
                        yield media
            yield from _media(inner, kind)


def test_headers_and_statuses_of_responses_are_described(app: Flask, alice: Caller) -> None:
    document = app.test_client().get("/openapi.json").get_json()

    def described(method: str, path: str, status: int) -> set[str]:
        answer = document["paths"][path][method]["responses"][str(status)]
        name = answer.get("$ref", "").rpartition("/")[2]
        answer = document["components"]["responses"][name] if name else answer
        return set(answer["headers"])

    made = alice.post("/sessions", {"user_id": "a"})
    key = alice.post("/keys", {"name": "k", "scopes": ["read"]})
    stranger = app.test_client().get("/api/v1/sessions")
    for answer, method, path in (
        (made, "post", "/api/v1/sessions"),
        (key, "post", "/api/v1/keys"),
        (stranger, "get", "/api/v1/sessions"),
    ):
        told = described(method, path, answer.status_code)
        assert told - {"Idempotent-Replayed"} <= set(answer.headers.keys()) - {""}
        for name in ("Location", "Cache-Control", "WWW-Authenticate"):
            assert (name in answer.headers) == (name in told), (path, name)
    content = document["paths"]["/api/v1/documents/{document_id}/content"]["get"]
    sent = {parameter.get("name") for parameter in content["parameters"]}
    assert {"Range", "If-Range", "If-None-Match"} <= sent
    assert {"ETag", "Content-Range", "Content-Disposition"} <= set(
        content["responses"]["206"]["headers"]
    )
    for path in document["paths"].values():
        for method in {"post", "put", "patch", "delete"} & set(path):
            assert "507" in path[method]["responses"]


def test_the_docs_page_needs_no_other_server(app: Flask) -> None:
    page = app.test_client().get("/docs")
    assert page.status_code == 200
    assert "http" not in re.sub(r"http-equiv", "", page.text)
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        with app.test_client().get(path) as response:
            assert response.status_code == 200, path
    assert app.test_client().get("/docs/index.html").status_code == 404
    assert app.test_client().get("/docs/../app.py").status_code == 404


def test_browsers_may_call_from_allowed_origins(app: Flask, alice: Caller) -> None:
    preflight = app.test_client().options(
        "/api/v1/sessions",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key,idempotency-key",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "x-api-key" in preflight.headers["Access-Control-Allow-Headers"].lower()
    response = alice.get("/sessions", headers={"Origin": "https://app.example"})
    exposed = response.headers["Access-Control-Expose-Headers"]
    for name in ("X-Request-ID", "X-RateLimit-Limit", "Retry-After", "Idempotent-Replayed"):
        assert name in exposed
    for name in ("Accept-Ranges", "Content-Range", "ETag"):  # what a PDF viewer reads by ranges
        assert name in exposed
    refused = app.test_client().get("/api/v1/sessions", headers={"Origin": "https://app.example"})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example"
    stranger = alice.get("/sessions", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_every_response_has_security_headers(app: Flask, alice: Caller) -> None:
    for response in (alice.get("/sessions"), app.test_client().get("/health"), alice.get("/x")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Request-ID"]
