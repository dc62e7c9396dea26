"""The archive and the erasure of a user."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from core.bootstrap import Services
from core.conversations import archive, erasure, turns
from core.storage.page_cache import PageKey
from tests.integration.web.conftest import Caller
from tests.pdfs import make_pdf

ROOT = Path(__file__).resolve().parents[3]
# Every table with rows of a tenant, in which text of a user could remain.
TABLES = (
    "sessions", "messages", "answer_chunks", "answer_contexts", "message_vectors",
    "message_traces", "documents", "document_pages", "chunks", "chunk_vectors", "page_ranges",
    "idempotency_keys", "erasures", "erasure_items",
)  # fmt: skip


@pytest.fixture
def services(app: Flask) -> Services:
    found: Services = app.extensions["services"]
    return found


def upload(caller: Caller, data: bytes, **form: str) -> dict[str, Any]:
    file = (io.BytesIO(data), "report.pdf")
    response = caller.post(
        "/documents",
        data={"file": file, **form},
        content_type="multipart/form-data",
        headers={"Idempotency-Key": str(uuid4())},
    )
    assert response.status_code == 202, response.text
    document: dict[str, Any] = response.get_json()["document"]
    return document


def fill(
    caller: Caller, services: Services, tenant: str, *, count: int = 2
) -> list[dict[str, Any]]:
    """Sessions, messages and documents of the caller, with the rows of ingestion and memory."""
    documents = []
    for number in range(count):
        made = caller.post(
            "/sessions", {"user_id": caller.user_id}, headers={"Idempotency-Key": str(uuid4())}
        )
        session = made.get_json()["id"]
        said = caller.post(
            f"/sessions/{session}/messages",
            {"sender": "user", "content": f"canary of {caller.user_id}"},
            headers={"Idempotency-Key": str(uuid4())},
        ).get_json()["id"]
        mine = {"user_id": caller.user_id} if number % 2 else {"session_id": session}
        page = make_pdf([f"canary of {caller.user_id} {number}"])
        documents.append(upload(caller, page, **mine))
        _add_derived(services, tenant, message_id=said, document_id=documents[-1]["id"])
    return documents


def _add_derived(services: Services, tenant: str, *, message_id: str, document_id: str) -> None:
    names = {"t": tenant, "m": message_id, "d": document_id, "c": str(uuid4())}
    dimensions = services.settings.embedding_dimensions
    vector = json.dumps([1.0] + [0.0] * (dimensions - 1))
    with services.database.transaction(tenant_id=None) as db:
        for statement in (
            "INSERT INTO message_traces VALUES (:m, :t, '{}')",
            "INSERT INTO answer_contexts (message_id, attempt, tenant_id, data)"
            " VALUES (:m, 1, :t, '{\"passages\": []}')",
            "INSERT INTO message_vectors"
            " (message_id, tenant_id, user_id, session_id, model, embedding)"
            " SELECT id, tenant_id, 'x', session_id, 'e', CAST(:v AS vector)"
            " FROM messages WHERE id = :m",
            "INSERT INTO document_pages (document_id, generation, number, tenant_id, text)"
            " VALUES (:d, 1, 1, :t, 'canary')",
            "INSERT INTO chunks (id, tenant_id, document_id, generation, ordinal, page_start,"
            " page_end, context, text) VALUES (:c, :t, :d, 1, 1, 1, 1, '', 'canary')",
            "INSERT INTO chunk_vectors (chunk_id, tenant_id, document_id, generation, model,"
            " embedding) VALUES (:c, :t, :d, 1, 'e', CAST(:v AS halfvec))",
        ):
            db.execute(text(statement), names | {"v": vector})


def left_of(services: Services, tenant: str) -> dict[str, int]:
    """The number of the tenant's rows in each table."""
    with services.database.transaction(tenant_id=None) as db:
        counted = {
            table: db.scalar(
                text(f"SELECT count(*) FROM {table} WHERE tenant_id = :t"),
                {"t": tenant},
            )
            for table in TABLES
        }
    return {table: count for table, count in counted.items() if count}


def stored_files(services: Services, documents: list[dict[str, Any]]) -> list[str]:
    ids = {document["id"] for document in documents}
    return [one.key for one in services.storage.list_objects() if Path(one.key).stem in ids]


def erase(caller: Caller) -> dict[str, Any]:
    response = caller.delete(f"/users/{quote(caller.user_id, safe='')}")
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.get_json()
    assert response.headers["Location"] == f"/api/v1/jobs/{job['id']}"
    return job


def job_of(caller: Caller, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = caller.get(f"/jobs/{job['id']}").get_json()
    return found


def test_the_archive_has_conversations_documents_and_files(
    alice: Caller, bob: Caller, services: Services, tenant: str
) -> None:
    documents = fill(alice, services, tenant)
    fill(bob, services, tenant, count=1)
    session = documents[0]["session_id"]

    response = alice.get("/users/alice/export")

    assert response.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.data)) as found:
        assert found.testzip() is None
        about = json.loads(found.read("user.json"))
        assert (about["user_id"], about["sessions"], about["documents"]) == ("alice", 2, 2)
        names = set(found.namelist())
        for document in documents:
            content = alice.get(f"/documents/{document['id']}/content").data
            assert found.read(f"documents/{document['id']}.pdf") == content
            record = json.loads(found.read(f"documents/{document['id']}.json"))
            assert record["sha256"] == document["sha256"]
        conversation = json.loads(found.read(f"sessions/{session}.json"))
        assert len(names) == 7
    assert conversation["messages"][0]["content"] == "canary of alice"
    assert alice.post("/sessions/import", conversation).status_code == 201
    assert b"canary of bob" not in response.data


def test_no_transaction_is_open_while_the_archive_is_read(
    alice: Caller, services: Services, tenant: str
) -> None:
    fill(alice, services, tenant)
    blocks = archive.export_user(
        services, tenant_id=tenant, user_id="alice", now=services_now(services)
    )
    seen = 0
    for _ in blocks:
        seen += 1
        assert services.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert seen > 4


def services_now(services: Services) -> Any:
    with services.database.transaction(tenant_id=None) as db:
        return db.scalar(text("SELECT now()"))


def test_an_erasure_leaves_nothing_and_counts_deletions(
    alice: Caller, bob: Caller, services: Services, tenant: str
) -> None:
    documents = fill(alice, services, tenant)
    theirs = fill(bob, services, tenant, count=1)
    shown = PageKey(UUID(documents[0]["id"]), 1, 1, None)
    services.page_cache.put(shown, b"picture")

    job = erase(alice)
    assert (job["type"], job["state"], job["document_id"]) == ("erase_user", "queued", None)
    assert erasure.erase_pending(services) == 1

    done = job_of(alice, job)
    assert (done["state"], done["progress"]["percent"]) == ("succeeded", 100)
    assert done["result"] == {
        "sessions": 2, "messages": 2, "documents": 2, "files": 2, "pages": 2, "chunks": 2,
        "vectors": 4, "traces": 2, "contexts": 2, "jobs": 2, "responses": 6,
    }  # fmt: skip
    assert stored_files(services, documents) == []
    assert services.page_cache.find(shown) is None
    assert alice.get("/sessions?user_id=alice").get_json()["total"] == 0
    assert alice.get("/users/alice/export").status_code == 404
    # Bob has all of his, and the erasure itself has left no name.
    assert stored_files(services, theirs)
    assert left_of(services, tenant) == {
        "sessions": 1, "messages": 1, "answer_contexts": 1, "message_vectors": 1,
        "message_traces": 1, "documents": 1, "document_pages": 1, "chunks": 1,
        "chunk_vectors": 1, "page_ranges": 1, "idempotency_keys": 3,
    }  # fmt: skip
    assert alice.delete("/users/alice").status_code == 404
    assert alice.new_session()["user_id"] == "alice"  # who comes back is welcome


def test_an_erasure_refuses_new_data_of_the_user(
    alice: Caller, services: Services, tenant: str
) -> None:
    documents = fill(alice, services, tenant, count=1)
    job = erase(alice)
    assert erase(alice)["id"] == job["id"]
    refused = alice.post("/sessions", {"user_id": "alice"})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "user_being_erased")
    file = {"file": (io.BytesIO(make_pdf(["late"])), "a.pdf"), "user_id": "alice"}
    refused = alice.post("/documents", data=file, content_type="multipart/form-data")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "user_being_erased")
    body = {"session": {"user_id": "alice"}}
    assert alice.post("/sessions/import", body).status_code == 409
    assert alice.post("/sessions", {"user_id": "somebody else"}).status_code == 201
    refused = alice.post(f"/jobs/{job['id']}/cancel")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "job_not_cancellable")
    assert erasure.erase_pending(services) == 1
    assert job_of(alice, job)["result"]["documents"] == 1
    assert stored_files(services, documents) == []
    refused = alice.post(f"/jobs/{job['id']}/cancel")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "job_finished")


def test_an_erasure_first_stops_live_answers(
    alice: Caller, services: Services, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = alice.new_session()["id"]
    with services.database.transaction(tenant_id=tenant) as db:
        rows = turns.open_turn(
            db, tenant_id=tenant, session_id=UUID(session), message="Hello?", options={}
        )
    stopped: list[str] = []

    def look(*_: object) -> bool:
        with services.database.transaction(tenant_id=tenant) as db:
            query = text("SELECT status, finish_reason FROM messages WHERE id = :id")
            stopped.extend("/".join(row) for row in db.execute(query, {"id": rows.answer.id}))
        return False

    first, *others = erasure._STEPS
    monkeypatch.setattr(erasure, "_STEPS", (first, look, *others))
    erase(alice)
    assert erasure.erase_pending(services) == 1
    assert stopped == ["interrupted/cancelled"]
    assert left_of(services, tenant) == {}


KILLED = """
import os, signal, sys
from core.bootstrap import bootstrap
from core.conversations import erasure
from core.settings import get_settings
services = bootstrap(get_settings())
place, left = sys.argv[1], int(sys.argv[2])
def dying(function):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
if place == "storage":
    services.storage.delete = dying(services.storage.delete)
else:
    erasure._renew_lease = dying(erasure._renew_lease)
erasure.erase_pending(services)
"""


@pytest.mark.parametrize(("place", "calls"), [("storage", 0), ("storage", 1), ("hold", 9)])
def test_a_killed_worker_loses_no_count(
    alice: Caller, services: Services, tenant: str, place: str, calls: int
) -> None:
    documents = fill(alice, services, tenant)
    job = erase(alice)
    settings = services.settings
    environment = {
        "API_KEY": settings.api_key.get_secret_value(),
        "APP_ENV": "test",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "DATA_DIR": str(settings.data_dir),
        "PATH": "/usr/bin:/bin",
    }
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, place, str(calls)], env=environment, cwd=ROOT, check=False
    )
    assert killed.returncode == -9
    assert job_of(alice, job)["state"] == "running"
    assert erasure.erase_pending(services) == 0  # the lease still holds
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE erasures SET lease_expires_at = now() - interval '1 second'"))

    assert erasure.erase_pending(services) == 1

    done = job_of(alice, job)
    assert (done["state"], done["attempts"]) == ("succeeded", 2)
    counts = done["result"]
    assert [counts[name] for name in ("sessions", "documents", "files", "jobs")] == [2, 2, 2, 2]
    assert (counts["messages"], counts["vectors"], counts["responses"]) == (2, 4, 6)
    assert stored_files(services, documents) == []
    assert left_of(services, tenant) == {}


def test_an_erasure_waits_for_a_response_that_may_still_be_stored(
    alice: Caller, services: Services, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(alice, services, tenant, count=1)
    monkeypatch.setattr(erasure, "RUN_SECONDS", 3.0)
    with services.database.transaction(tenant_id=tenant) as db:
        db.execute(
            text(
                "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, locked_until)"
                " VALUES (:t, 'under way', '', now() + interval '1 hour')"
            ),
            {"t": tenant},
        )
    job = erase(alice)
    assert erasure.erase_pending(services) == 0
    assert job_of(alice, job)["state"] == "running"
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("DELETE FROM idempotency_keys WHERE key = 'under way'"))
        db.execute(text("UPDATE erasures SET lease_expires_at = NULL"))
    monkeypatch.setattr(erasure, "RUN_SECONDS", 300.0)
    assert erasure.erase_pending(services) == 1
    assert job_of(alice, job)["state"] == "succeeded"


@pytest.mark.parametrize("user_id", ["a/b", "/a", "ü ñ?#%", "export", "x/export"])
def test_a_user_id_may_have_any_character(
    make_caller: Callable[..., Caller], tenant: str, services: Services, user_id: str
) -> None:
    caller = make_caller(user_id, tenant=tenant)
    caller.new_session()
    path = f"/users/{quote(user_id, safe='')}"
    response = caller.get(f"{path}/export")
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.data)) as found:
        assert json.loads(found.read("user.json"))["user_id"] == user_id
    erase(caller)
    assert erasure.erase_pending(services) == 1


def test_another_tenant_erases_and_exports_nothing(
    alice: Caller, charlie: Caller, services: Services
) -> None:
    alice.new_session()
    for response in (charlie.delete("/users/alice"), charlie.get("/users/alice/export")):
        assert (response.status_code, response.get_json()["code"]) == (404, "user_not_found")
    assert erasure.erase_pending(services) == 0
    assert alice.get("/sessions").get_json()["total"] == 1


@pytest.mark.parametrize("scope", ["read", "write", "chat", "documents"])
def test_only_an_admin_key_can_erase(
    make_caller: Callable[..., Caller], alice: Caller, tenant: str, scope: str
) -> None:
    alice.new_session()
    helper = make_caller("helper", tenant=tenant, scopes=(scope,))
    assert helper.delete("/users/alice").status_code == 403
