"""Each route checks keys, scopes and limits, is idempotent, and is in the OpenAPI document."""

import inspect
import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule

from core.access.keys import SCOPES
from core.bootstrap import bootstrap
from core.settings import get_settings
from web.app import create_app
from web.http.auth import needs_key
from web.http.view_policy import policy_of

OPEN = {
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/docs",
    "/docs/start.js",
    "/docs/<name>",
    "/openapi.json",
}
LIST = re.compile(r"/(sessions|messages|documents|jobs|keys|chunks|messages/search)$")


@pytest.fixture(scope="module")
def app() -> Any:
    services = bootstrap(get_settings())  # nothing connects, so its servers need not exist
    yield create_app(services=services)
    services.close()


@pytest.fixture(scope="module")
def rules(app: Flask) -> list[Rule]:
    return list(app.url_map.iter_rules())


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    return app.test_client().get("/openapi.json").get_json()


def test_open_routes_are_listed_here(rules: list[Rule]) -> None:
    assert {rule.rule for rule in rules if not needs_key(rule.rule)} == OPEN


def test_each_guarded_route_names_its_scopes(app: Flask, rules: list[Rule]) -> None:
    for rule in rules:
        if needs_key(rule.rule):
            scopes = policy_of(app.view_functions[rule.endpoint]).scopes
            assert scopes, rule.rule
            assert set(scopes) <= set(SCOPES)


def test_each_guarded_route_is_limited(app: Flask, rules: list[Rule]) -> None:
    limiter = app.extensions["rate_limiter"]
    for rule in rules:
        blueprint = rule.endpoint.rpartition(".")[0] or None
        scope = limiter.limit_manager.exemption_scope(app, rule.endpoint, blueprint)
        assert not scope, rule.rule


def test_each_post_honours_the_idempotency_key(app: Flask, rules: list[Rule]) -> None:
    posts = [rule for rule in rules if "POST" in (rule.methods or ())]
    assert len(posts) >= 9
    for rule in posts:
        assert policy_of(app.view_functions[rule.endpoint]).is_idempotent, rule.rule


def test_each_list_is_a_page(app: Flask, rules: list[Rule], document: dict[str, Any]) -> None:
    for rule in rules:
        if needs_key(rule.rule) and "GET" in (rule.methods or ()) and LIST.search(rule.rule):
            operation = document["paths"][template(rule)]["get"]
            names = {parameter["name"] for parameter in operation["parameters"]}
            assert {"skip", "limit", "cursor"} <= names, rule.rule


def template(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def test_each_route_is_in_the_document(rules: list[Rule], document: dict[str, Any]) -> None:
    for rule in rules:
        if rule.rule.startswith("/docs") or rule.rule in {"/", "/openapi.json"}:
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = document["paths"][template(rule)][method.lower()]
            assert operation["summary"], rule.rule
            assert operation["operationId"]
            if needs_key(rule.rule):
                assert {"400", "401", "403", "429", "500", "503"} <= set(operation["responses"])
                assert operation["security"]
                assert operation["x-required-scopes"]
            if "<" in rule.rule and needs_key(rule.rule):
                assert "404" in operation["responses"]


def test_operations_have_unique_names(document: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    assert len(set(names)) == len(names)


def test_errors_have_the_problem_media_type(document: dict[str, Any]) -> None:
    for response in document["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]
    assert "Error" not in document["components"]["schemas"]


def test_views_are_thin(app: Flask) -> None:
    for view in app.view_functions.values():
        lines = inspect.getsource(inspect.unwrap(view)).splitlines()
        assert len(lines) <= 40, view.__name__


def test_each_view_that_answers_a_question_costs_a_chat_turn(
    app: Flask, rules: list[Rule], document: dict[str, Any]
) -> None:
    answering = [
        rule.endpoint
        for rule in rules
        if needs_key(rule.rule)
        for method in (rule.methods or set()) & {"POST", "PUT"}
        if "event-stream" in str(document["paths"][template(rule)][method.lower()]["responses"])
    ]
    assert answering
    for endpoint in answering:
        assert policy_of(app.view_functions[endpoint]).cost == "chat", endpoint


def test_the_worker_knows_the_requests_that_begin_a_turn(app: Flask, rules: list[Rule]) -> None:
    pattern = app.extensions["turn_requests"]
    for rule in rules:
        for method in rule.methods or ():
            costs_turn = policy_of(app.view_functions[rule.endpoint]).cost == "chat"
            line = f"{method} {re.sub('<[^>]+>', '0', rule.rule)} HTTP/1.1"
            begins = costs_turn and method in {"POST", "PUT"}
            assert bool(pattern.match(line.encode())) == begins, line


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    ]


def test_each_operation_has_a_summary_and_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        for status, response in operation["responses"].items():
            for media_type, media in response.get("content", {}).items():
                binary = media["schema"].get("format") == "binary"
                assert binary or "example" in media, (name, status, media_type)


def test_each_turn_documents_errors_of_providers_and_of_other_turns(
    app: Flask, document: dict[str, Any]
) -> None:
    costs = {
        rule.endpoint.rpartition(".")[2]: policy_of(app.view_functions[rule.endpoint]).cost
        for rule in app.url_map.iter_rules()
    }
    turns = {
        name: operation
        for name, operation in operations(document)
        if costs[operation["operationId"]] == "chat"
    }
    assert len(turns) >= 4
    for name, operation in turns.items():
        assert {"404", "409", "502", "504"} <= set(operation["responses"]), name


def test_examples_of_messages_are_questions_and_answers_in_their_places(
    document: dict[str, Any],
) -> None:
    def example(path: str, method: str, status: str) -> dict[str, Any]:
        responses = document["paths"][f"/api/v1{path}"][method]["responses"]
        return responses[status]["content"]["application/json"]["example"]

    turn = example("/messages/{message_id}/regenerate", "post", "200")
    senders = (turn["user_message"]["sender"], turn["assistant_message"]["sender"])
    assert senders == ("user", "assistant")
    assert turn["assistant_message"]["status"] == "complete"
    assert example("/sessions/{session_id}/messages", "post", "201")["sender"] == "user"
    cancelled = example("/messages/{message_id}/cancel", "post", "202")
    assert (cancelled["status"], cancelled["finish_reason"]) == ("interrupted", "cancelled")


def test_a_stream_can_be_resumed_by_its_header(document: dict[str, Any]) -> None:
    stream = document["paths"]["/api/v1/messages/{message_id}/stream"]["get"]
    assert {"Last-Event-ID", "starting_after"} <= {one.get("name") for one in stream["parameters"]}
