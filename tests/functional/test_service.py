"""Tests that need all processes: workers in /health, and logs without secrets."""

import json
import secrets
from urllib.parse import urlsplit

import pytest

from tests.functional.conftest import MakeStack
from tests.harness.ports import free_port
from tests.harness.stack import Stack
from tests.pdfs import make_pdf


@pytest.fixture(scope="module")
def service(make_stack: MakeStack) -> Stack:
    stack = make_stack(env={"FLOWER_PORT": str(free_port()), "LOG_LEVEL": "DEBUG"})
    for name in ("web", "worker", "beat", "flower"):
        stack.start(name)
    stack.wait_ready()
    return stack


def test_logs_have_no_key_no_password_and_no_text_of_users(service: Stack) -> None:
    canary = f"canary{secrets.token_hex(8)}"
    api = service.client()
    made = api.post("/api/v1/keys", json={"name": "k", "scopes": ["read", "chat", "write"]}).json()
    user = {"user_id": canary}
    session = api.post("/api/v1/sessions", json={**user, "title": canary, "metadata": {canary: 1}})
    path = f"/api/v1/sessions/{session.json()['id']}"
    pdf = make_pdf([f"The lighthouse {canary} was built in 1847 by Albin Lind."])
    sent = api.post(
        "/api/v1/documents",
        files={"file": (f"{canary}.pdf", pdf, "application/pdf")},
        data=user | {"metadata": json.dumps({"note": canary})},
    ).json()
    job = f"/api/v1/jobs/{sent['job']['id']}"
    service.wait_until(lambda: api.get(job).json()["finished_at"], what="the job ends")
    assert api.get(job).json()["state"] == "succeeded"
    question = f"When was the lighthouse {canary} built?"
    said = {"sender": "user", "content": canary, "context_metadata": {"x": canary}}
    calls = [
        ("POST", f"{path}/messages", {"json": said, "headers": {"X-API-Key": made["key"]}}),
        ("POST", f"{path}/chat", {"json": {"message": question}}),
        ("POST", f"{path}/chat", {"json": {"message": question, "stream": True}}),
        ("POST", "/api/v1/search", {"json": {"query": question, **user}}),
        ("GET", f"/api/v1/messages/search?q={canary}", {}),
        ("GET", f"/api/v1/sessions?q={canary}&user_id={canary}", {}),
    ]
    for method, url, options in calls:
        assert api.request(method, url, **options).status_code < 300, url
    refused = [
        ("POST", f"{path}/messages", {"content": f'{{"sender": "{canary}"'.encode()}),
        ("POST", f"{path}/messages", {"json": {"sender": canary, "content": canary}}),
        ("GET", f"/api/v1/sessions?cursor={canary}&limit={canary}", {}),
        ("GET", "/api/v1/sessions", {"headers": {"X-API-Key": f"rcs_{canary}"}}),
        ("POST", f"{path}/messages", {"json": said, "headers": {"Idempotency-Key": "é".encode()}}),
        ("GET", "/health", {"headers": {"X-Long": canary * 1000}}),
    ]
    for method, url, options in refused:
        status = api.request(method, url, **options).status_code
        assert 400 <= status < 500, url
    assert api.delete(f"/api/v1/documents/{sent['document']['id']}").status_code == 204
    hidden = {
        "the first key": service.api_key,
        "a key": made["key"].split("_", 2)[2],
        "Redis' password": urlsplit(service.redis.url).password,
        "what users wrote": canary,
        "the document's text": "Albin Lind",
    }
    for name in ("web", "worker", "beat", "flower"):
        log = service.log(name)
        assert {what for what, text in hidden.items() if str(text) in log} == set(), name
    assert len(service.log("web").splitlines()) > len(calls)


def test_flower_requires_its_password(service: Stack) -> None:
    api = service.client()
    url = f"http://127.0.0.1:{service.env['FLOWER_PORT']}/workers"

    def status(**options: object) -> int:
        try:
            return api.get(url, **options).status_code  # type: ignore[arg-type]
        except OSError:
            return 0

    service.wait_until(lambda: status() == 401, what="Flower refuses")
    assert status(auth=("admin", "admin")) == 401
    assert status(auth=("admin", service.api_key)) == 200


def test_flower_shows_documents_and_their_failures_by_id(service: Stack) -> None:
    api = service.client()
    url = f"http://127.0.0.1:{service.env['FLOWER_PORT']}/api/tasks"

    def upload(name: str, content: bytes) -> str:
        file = (name, content, "application/pdf")
        sent = api.post("/api/v1/documents", files={"file": file}, data={"user_id": "flower"})
        return str(sent.json()["document"]["id"])

    def tasks(document: str) -> list[dict[str, str]]:
        try:
            found = api.get(url, auth=("admin", service.api_key)).json().values()
        except (OSError, ValueError):  # Flower starts
            return []
        return [task for task in found if document in str(task.get("args"))]

    good = upload("secret name.pdf", make_pdf(["A page about oats."]))
    broken = upload("another secret.pdf", b"%PDF-1.4 nothing else")

    def shown(document: str) -> list[tuple[str, str]]:
        return sorted((task["state"], task["args"]) for task in tasks(document))

    read = ("SUCCESS", f"document {good}, pages 1-1")
    failed = ("FAILURE", f"document {broken}, plan")
    service.wait_until(lambda: read in shown(good), what="the document and its pages")
    service.wait_until(lambda: shown(broken) == [failed], what="the failed document")
    (task,) = tasks(broken)
    assert task["exception"] == f"document {broken}, plan: pdf_malformed"
    assert "secret" not in str(tasks(good) + tasks(broken))


def test_health_counts_a_worker_and_notices_its_end(service: Stack) -> None:
    api = service.client()

    def workers() -> int:
        return int(api.get("/health").json()["workers"])

    service.wait_until(lambda: workers() == 1, what="the worker is counted")
    service.start("worker-2", kind="worker")
    service.wait_until(lambda: workers() == 2, what="the second one too")
    service.kill("worker-2")
    service.wait_until(lambda: workers() == 1, what="the killed one is forgotten")
    service.stop("worker")
    service.wait_until(lambda: workers() == 0, what="one that ends says so")
