"""Generated from the OpenAPI document: no route opens without a key, scope and tenant."""

import io
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from core.access.keys import SCOPES
from core.bootstrap import bootstrap
from core.settings import get_settings
from tests.integration.web.conftest import Caller
from tests.pdfs import make_pdf
from web.app import create_app


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    services = bootstrap(get_settings().model_copy())  # collected before any server runs
    document = create_app(services=services).test_client().get("/openapi.json").get_json()
    services.close()
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/api/v1/") and "operationId" in operation
    ]


@pytest.fixture(scope="module")
def operations() -> list[tuple[str, str, dict[str, Any]]]:
    found = _operations()
    assert len(found) >= 28
    return found


def filled(path: str, **ids: str) -> str:
    for name in ("session_id", "message_id", "document_id", "job_id", "key_id", "user_id"):
        path = path.replace(f"{{{name}}}", ids.get(name, str(uuid4())))
    return path.replace("{number}", "1").removeprefix("/api/v1")


def test_without_a_key_it_is_401(app: Flask, operations: list[Any]) -> None:
    for method, path, _ in operations:
        response = app.test_client().open(f"/api/v1{filled(path)}", method=method)
        assert response.status_code == 401, (method, path)
        assert response.get_json()["code"] == "unauthorized"


def test_with_a_key_that_lacks_the_scope_it_is_403(
    make_caller: Callable[..., Caller], tenant: str, operations: list[Any]
) -> None:
    for method, path, operation in operations:
        lacking = tuple(set(SCOPES) - set(operation["x-required-scopes"]))
        response = make_caller("x", tenant=tenant, scopes=lacking).call(method, filled(path))
        assert response.status_code == 403, (method, path)
        assert response.get_json()["code"] == "insufficient_scope"


BODIES: dict[str, dict[str, Any]] = {
    "append_message": {"sender": "user", "content": "x"},
    "chat": {"message": "x"},
    "edit_message": {"content": "x"},
    "rate_message": {"rating": "up"},
    "update_session": {"title": "x"},
}


def test_another_tenants_id_is_like_an_unknown_one(
    alice: Caller, charlie: Caller, operations: list[Any]
) -> None:
    ids = everything_of(alice)
    for method, path, operation in operations:
        if "{" not in path:
            continue
        options = {"json": body} if (body := BODIES.get(operation["operationId"])) else {}
        theirs = charlie.call(method, filled(path, **ids), **options)
        nobodys = charlie.call(method, filled(path), **options)
        assert theirs.status_code == nobodys.status_code == 404, (method, path)
        first, second = theirs.get_json(), nobodys.get_json()
        assert first.pop("request_id") != second.pop("request_id")
        assert first == second


def everything_of(caller: Caller) -> dict[str, str]:
    session = caller.new_session()["id"]
    form = {"file": (io.BytesIO(make_pdf(["secret"])), "a.pdf"), "session_id": session}
    made = caller.post("/documents", data=form, content_type="multipart/form-data").get_json()
    return {
        "session_id": session,
        "message_id": caller.say(session)["id"],
        "document_id": made["document"]["id"],
        "job_id": made["job"]["id"],
        "user_id": caller.user_id,
        "key_id": caller.get("/keys").get_json()["items"][0]["id"],
    }


def test_another_tenants_id_in_a_body_is_404(alice: Caller, charlie: Caller) -> None:
    ids = everything_of(alice)
    session = charlie.new_session()["id"]
    document, attached = ids["document_id"], ids["session_id"]
    for path, body in (
        ("/search", {"query": "x", "mode": "text", "session_id": attached}),
        ("/search", {"query": "x", "mode": "text", "document_ids": [document]}),
        (f"/sessions/{session}/chat", {"message": "x", "document_ids": [document]}),
    ):
        response = charlie.post(path, body)
        assert response.status_code == 404, response.text
    form = {"file": (io.BytesIO(make_pdf(["x"])), "a.pdf"), "session_id": attached}
    response = charlie.post("/documents", data=form, content_type="multipart/form-data")
    assert response.status_code == 404
    assert charlie.get(f"/documents?session_id={attached}").get_json()["total"] == 0
