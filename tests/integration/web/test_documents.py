"""Uploads, downloads and jobs over HTTP."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask
from sqlalchemy import event

from core.bootstrap import Services
from core.documents import ingestion, uploads
from core.errors import StorageFull
from core.storage.staging import staging_directory
from tests.integration.web.conftest import Caller
from tests.pdfs import make_pdf

ORIGINAL_SHA256 = hashlib.sha256
PDF = make_pdf(["The walrus and the carpenter were walking close at hand."])


def form(content: bytes, name: str, fields: dict[str, str | bytes]) -> bytes:
    """A form like a browser's. The test client would leave the file of a large form open."""
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.encode()
        + b'"\r\nContent-Type: application/pdf\r\n\r\n'
        + content
    ]
    for field, value in fields.items():
        data = value if isinstance(value, bytes) else value.encode()
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n'
        parts.append(head.encode() + data)
    return b"\r\n".join(parts) + b"\r\n--x--\r\n"


def upload(
    caller: Caller,
    content: bytes = PDF,
    name: str = "w.pdf",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> Any:
    return caller.post(
        "/documents",
        data=form(content, name, fields),
        content_type="multipart/form-data; boundary=x",
        headers=headers or {},
    )


def left_behind(app: Flask) -> list[str]:
    directory = staging_directory(app.extensions["services"].settings)
    return os.listdir(directory) if directory.exists() else []


def test_an_upload_is_accepted_with_its_job(alice: Caller, app: Flask) -> None:
    response = upload(alice, user_id="alice", metadata='{"year": 2024}')
    body = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/api/v1/jobs/{body['job']['id']}"
    assert response.headers["Retry-After"] == "1"
    document, job = body["document"], body["job"]
    assert (document["user_id"], document["filename"]) == ("alice", "w.pdf")
    assert (document["size_bytes"], document["status"]) == (len(PDF), "queued")
    assert document["metadata"] == {"year": 2024}
    assert document["job_id"] == job["id"]
    assert (job["state"], job["document_id"]) == ("queued", document["id"])
    assert job["progress"]["percent"] == 0
    assert "duplicate" not in body
    assert alice.get(f"/documents/{document['id']}").get_json() == document
    assert alice.get(f"/jobs/{job['id']}").get_json()["id"] == job["id"]
    assert left_behind(app) == []


def test_the_same_bytes_are_one_document(alice: Caller) -> None:
    first = upload(alice).get_json()
    again = upload(alice, name="other.pdf")
    assert again.status_code == 200
    assert again.get_json()["duplicate"] is True
    assert again.get_json()["document"]["id"] == first["document"]["id"]
    other_scope = upload(alice, user_id="alice")
    assert other_scope.status_code == 202
    assert alice.get("/documents").get_json()["total"] == 2
    assert alice.get("/documents?user_id=alice").get_json()["total"] == 1


def test_a_replayed_upload_compares_the_file_not_the_boundary(alice: Caller) -> None:
    key = {"Idempotency-Key": "k"}
    first = upload(alice, headers=key)
    body = form(PDF, "w.pdf", {}).replace(b"--x", b"--other")
    again = alice.post(
        "/documents",
        data=body,
        content_type="multipart/form-data; boundary=other",
        headers=key,
    )
    assert (again.status_code, again.data) == (202, first.data)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = upload(alice, content=make_pdf(["other"]), headers=key)
    assert other.get_json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "file_empty"),
        (b"<html>%</html>", 415, "unsupported_media_type"),
        (b"MZ" + bytes(2000), 415, "unsupported_media_type"),
        (b"%PDF-1.7" + bytes(1024 * 1024), 413, "file_too_large"),
        (b"%PDF-1.7" + bytes(3 * 1024 * 1024), 413, "file_too_large"),
    ],
)
def test_unacceptable_files_are_refused(
    alice: Caller, app: Flask, content: bytes, status: int, code: str
) -> None:
    response = upload(alice, content)
    assert (response.status_code, response.get_json()["code"]) == (status, code)
    assert alice.get("/documents").get_json()["total"] == 0
    assert left_behind(app) == []


def test_a_file_of_exactly_the_limit_is_accepted(alice: Caller) -> None:
    content = b"%PDF-1.7".ljust(1024 * 1024, b"\n")
    assert upload(alice, content).status_code == 202


HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("", form(PDF, "a.pdf", {}), "names no boundary"),
        ('; boundary=""', form(PDF, "a.pdf", {}), "names no boundary"),
        ("; boundary=\xfc", form(PDF, "a.pdf", {}), "names no boundary"),
        ("; boundary=other", form(PDF, "a.pdf", {}), "nowhere in the body"),
        ("; boundary=x", b"%PDF-1.7", "nowhere in the body"),
        ("; boundary=x", HEAD, "within the header"),
        ("; boundary=x", HEAD + b"\r\n" + PDF, "before the boundary that closes it"),
        ("; boundary=x", form(PDF, "a.pdf", {})[:-6], "before the boundary that closes it"),
        ("; boundary=x", b"--x\r\nA: b\r\n\r\nc\r\n--x--\r\n", "Content-Disposition"),
        (
            "; boundary=x",
            b"--x\r\nContent-Disposition: form-data; filename=a.pdf\r\n\r\nc\r\n--x--\r\n",
            "no name",
        ),
    ],
)
def test_the_error_names_the_fault_of_a_malformed_form(
    alice: Caller, kind: str, body: bytes, reason: str
) -> None:
    response = alice.post("/documents", data=body, content_type=f"multipart/form-data{kind}")
    assert response.status_code == 400, response.text
    assert reason in response.get_json()["errors"]["body"][0]
    assert left_behind(alice.app) == []


def test_a_form_without_a_file_is_refused(alice: Caller) -> None:
    def code(**options: Any) -> tuple[int, str]:
        response = alice.post("/documents", **options)
        return response.status_code, response.get_json()["code"]

    kind = "multipart/form-data"
    assert code() == (400, "file_missing")
    assert code(data={"user_id": "a"}, content_type=kind) == (400, "file_missing")
    assert code(data={"file": "text, no file"}, content_type=kind) == (400, "file_missing")
    assert code(data=b"{}", content_type="application/json") == (415, "unsupported_media_type")
    assert code(data=b"nonsense", content_type=f"{kind}; boundary=x") == (400, "invalid_request")
    assert code(data=b"nonsense", content_type=kind) == (400, "invalid_request")
    cut = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%PDF-1.7'
    assert code(data=cut, content_type=f"{kind}; boundary=x") == (400, "invalid_request")
    many = {f"f{number}": "x" for number in range(1001)}
    assert code(data=many, content_type=kind) == (413, "payload_too_large")
    assert code(data={"user_id": "x" * 100_000}, content_type=kind) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": b"\xff"}, "user_id"),
        ({"user_id": "a\0"}, "user_id"),
        ({"session_id": "x"}, "session_id"),
        ({"metadata": "{"}, "metadata"),
        ({"metadata": "[]"}, "metadata"),
        ({"metadata": '{"a": "\\u0000"}'}, "metadata.a"),
        ({"metadata": '{"a": NaN}'}, "metadata.a"),
        ({"tenant_id": "x"}, "tenant_id"),
    ],
)
def test_wrong_fields_are_named(alice: Caller, fields: dict[str, Any], field: str) -> None:
    response = upload(alice, **fields)
    assert response.status_code == 400, response.text
    assert list(response.get_json()["errors"]) == [field]
    assert alice.get("/documents").get_json()["total"] == 0


def test_metadata_may_be_a_part_with_its_own_type(alice: Caller) -> None:
    body = form(PDF, "w.pdf", {"metadata": b'{"a": 1}'}).replace(
        b'name="metadata"\r\n',
        b'name="metadata"; filename="blob"\r\nContent-Type: application/json\r\n',
    )
    kind = "multipart/form-data; boundary=x"
    response = alice.post("/documents", data=body, content_type=kind)
    assert response.get_json()["document"]["metadata"] == {"a": 1}


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\windows\\x.pdf", "x.pdf"),
        ("x\r\nSet-Cookie: a=b.pdf", "xSet-Cookie: a=b.pdf"),
        ("gpj.\u202efdp.exe", "gpj.fdp.exe"),
        ("🦊 résumé.pdf", "🦊 résumé.pdf"),
        ('"quoted";x.pdf', '"quoted";x.pdf'),
        ("n" * 5000 + ".pdf", "n" * 150),
        ("...", "document.pdf"),
    ],
)
def test_a_files_name_is_shown_without_its_path(alice: Caller, name: str, suggested: str) -> None:
    from web.http.downloads import content_disposition

    header = content_disposition(name)
    assert header.isascii()
    assert "\r" not in header
    assert "\n" not in header
    from urllib.parse import unquote

    assert unquote(header.partition("UTF-8''")[2]) == suggested
    if set(name) & set('\r"\\'):
        return  # clients do not agree on how to send these
    response = upload(alice, name=name)
    assert response.status_code == 202, response.text
    made = response.get_json()["document"]
    assert made["filename"] == name
    got = alice.get(f"/documents/{made['id']}/content")
    assert got.headers["Content-Disposition"] == header
    assert got.data == PDF


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b'"C:\\windows\\x.pdf"', "C:\\windows\\x.pdf"),  # browsers, requests
        (b'"C:\\\\windows\\\\x.pdf"', "C:\\windows\\x.pdf"),  # curl, httpx
        (b'"a\\"b\\c.pdf"', 'a"b\\c.pdf'),
        (b'"a%22b\\c.pdf"', 'a"b\\c.pdf'),
        (b"\"x.pdf\"; filename*=UTF-8''C%3A%5C%E2%82%AC.pdf", "C:\\\u20ac.pdf"),
        # filename* wins, wherever it is and in whatever coding (RFC 6266)
        (b"x.pdf; filename*=iso-8859-1'de'%FCber.pdf; a=b", "\xfcber.pdf"),
        (b"\"x.pdf\"; filename*=windows-1252''%80.pdf", "\u20ac.pdf"),
        (b"\"x.pdf\"; filename*=no-such''%80.pdf", "x.pdf"),
        (b"\"x.pdf\"; filename*=UTF-8''%FF.pdf", "x.pdf"),
        (b"\"a; filename*=UTF-8''b.pdf\"", "a; filename*=UTF-8''b.pdf"),
        # raw bytes: UTF-8, or else Latin-1 as Windows has it
        ('"r\xe9sum\xe9.pdf"'.encode(), "r\xe9sum\xe9.pdf"),
        ('"r\xe9sum\xe9.pdf"'.encode("latin-1"), "r\xe9sum\xe9.pdf"),
        ('"\u201eF\xfc\u00df\u201d.pdf"'.encode("windows-1252"), "\u201eF\xfc\u00df\u201d.pdf"),
        (b'"a\x81.pdf"', "a\x81.pdf"),
        # encoded words (RFC 2047)
        (b'"=?utf-8?B?csOpc3Vtw6kucGRm?="', "r\xe9sum\xe9.pdf"),
        (b"=?UTF-8?Q?r=C3=A9sum=C3=A9_2.pdf?=", "r\xe9sum\xe9 2.pdf"),
        (b'"=?iso-8859-1?q?r=E9sum=E9?=.pdf"', "r\xe9sum\xe9.pdf"),
        (b'"=?utf-8?B?5rWL?= =?utf-8?B?6K+V?=.pdf"', "\u6d4b\u8bd5.pdf"),
        (b'"a =?utf-8?B?w7w=?= b.pdf"', "a \xfc b.pdf"),
        (b'"=?gb2312?B?suLK1A==?=.pdf"', "\u6d4b\u8bd5.pdf"),
        (b'"=?no-such?B?5rWL?=.pdf"', "=?no-such?B?5rWL?=.pdf"),
        (b'"=?utf-8?B?/////w==?=.pdf"', "=?utf-8?B?/////w==?=.pdf"),
        (b'"what=?.pdf"', "what=?.pdf"),
        # without quotes
        (b"my report (2).pdf", "my report (2).pdf"),
        ("r\xe9sum\xe9.pdf; size=9".encode("latin-1"), "r\xe9sum\xe9.pdf"),
    ],
)
def test_a_file_name_is_read_in_every_encoding_of_clients(
    alice: Caller, sent: bytes, name: str
) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename=' + sent + b"\r\n\r\n"
    ) + (PDF + b"\r\n--x--\r\n")
    kind = "multipart/form-data; boundary=x"
    response = alice.post("/documents", data=body, content_type=kind)
    assert response.get_json()["document"]["filename"] == name


def test_a_download_supports_ranges_and_etags(alice: Caller, charlie: Caller) -> None:
    document = upload(alice).get_json()["document"]
    path = f"/documents/{document['id']}/content"
    whole = alice.get(path)
    assert (whole.status_code, whole.data) == (200, PDF)
    assert whole.headers["Content-Length"] == str(len(PDF))
    assert whole.headers["Content-Type"] == "application/pdf"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Disposition"].startswith("attachment;")
    etag = whole.headers["ETag"]

    def ranged(value: str, **headers: str) -> Any:
        return alice.get(path, headers={"Range": value, **headers})

    part = ranged("bytes=5-9")
    assert (part.status_code, part.data) == (206, PDF[5:10])
    assert part.headers["Content-Range"] == f"bytes 5-9/{len(PDF)}"
    assert part.headers["Content-Length"] == "5"
    assert ranged("bytes=-4").data == PDF[-4:]
    assert ranged(f"bytes={len(PDF) - 3}-").data == PDF[-3:]
    assert ranged(f"bytes=0-{len(PDF) * 2}").data == PDF
    assert ranged("bytes=0-1,3-4").status_code == 200
    assert ranged("lines=0-1").status_code == 200
    assert ranged("bytes=nonsense").status_code == 200
    assert ranged(f"bytes=-{len(PDF) * 2}").headers["Content-Range"].startswith("bytes 0-")
    for nothing in (f"bytes={len(PDF)}-", "bytes=-0"):
        outside = ranged(nothing)
        assert outside.status_code == 416
        assert outside.headers["Content-Range"] == f"bytes */{len(PDF)}"
        assert outside.headers["Content-Type"] == "application/problem+json"
    assert ranged("bytes=0-1", **{"If-Range": etag}).status_code == 206
    for other in ('"other"', f"W/{etag}", etag.strip('"'), "Sun, 01 Mar 2026 12:00:00 GMT"):
        assert ranged("bytes=0-1", **{"If-Range": other}).status_code == 200
    known = alice.get(path, headers={"If-None-Match": etag})
    assert (known.status_code, known.data) == (304, b"")
    assert known.headers["ETag"] == etag
    assert known.headers["Cache-Control"] == whole.headers["Cache-Control"]
    assert alice.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    head = alice.call("HEAD", path, headers={"Range": "bytes=0-1"})  # ranges are for GET alone
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(PDF))
    assert charlie.get(path, headers={"If-None-Match": etag}).status_code == 404


def test_strangers_see_no_document_and_no_job(
    alice: Caller, bob: Caller, charlie: Caller, unknown_id: str
) -> None:
    made = upload(alice).get_json()
    document, job = made["document"]["id"], made["job"]["id"]
    assert bob.get(f"/documents/{document}").status_code == 200
    for method, path in (
        ("GET", "/documents/{}"),
        ("GET", "/documents/{}/content"),
        ("GET", "/documents/{}/chunks"),
        ("GET", "/documents/{}/pages/1/image"),
        ("POST", "/documents/{}/reingest"),
        ("DELETE", "/documents/{}"),
        ("GET", "/jobs/{}"),
        ("GET", "/jobs/{}/events"),
        ("POST", "/jobs/{}/cancel"),
    ):
        theirs = charlie.call(method, path.format(job if "jobs" in path else document))
        nobodys = charlie.call(method, path.format(unknown_id))
        assert theirs.status_code == nobodys.status_code == 404, path
        assert theirs.get_json()["detail"] == nobodys.get_json()["detail"]
    assert charlie.get("/documents").get_json()["total"] == 0
    assert charlie.get(f"/jobs?document_id={document}").get_json()["total"] == 0
    assert upload(charlie, session_id=alice.new_session()["id"]).status_code == 404


def test_jobs_are_listed_cancelled_and_followed(alice: Caller) -> None:
    made = upload(alice).get_json()
    job = made["job"]["id"]
    assert alice.get("/jobs?state=queued").get_json()["total"] == 1
    assert alice.get(f"/jobs?document_id={made['document']['id']}").get_json()["total"] == 1
    assert alice.get("/jobs?state=nonsense").status_code == 400
    cancelled = alice.post(f"/jobs/{job}/cancel")
    assert (cancelled.status_code, cancelled.get_json()["state"]) == (202, "cancelled")
    again = alice.post(f"/jobs/{job}/cancel")
    assert (again.status_code, again.get_json()["code"]) == (409, "job_finished")
    followed = alice.get(f"/jobs/{job}/events")
    assert followed.headers["Content-Type"].startswith("text/event-stream")
    assert followed.text.startswith("id: 1\nevent: progress\ndata: {")
    assert json.loads(followed.text.split("data: ")[1])["state"] == "cancelled"
    anew = alice.post(f"/documents/{made['document']['id']}/reingest")
    assert anew.status_code == 202
    assert anew.get_json()["job"]["id"] != job


def test_a_document_is_deleted_with_its_file(alice: Caller, app: Flask) -> None:
    document = upload(alice).get_json()["document"]["id"]
    root = Path(app.extensions["services"].settings.data_dir)
    assert [path for path in root.rglob("*.pdf") if document in path.name]
    assert alice.delete(f"/documents/{document}").status_code == 204
    assert alice.get(f"/documents/{document}/content").status_code == 404
    assert not [path for path in root.rglob("*.pdf") if document in path.name]


def test_a_full_disk_is_507(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageFull("There is no room left to store the file.")

    monkeypatch.setattr(uploads, "accept_upload", full)
    response = upload(alice)
    assert (response.status_code, response.get_json()["code"]) == (507, "storage_full")


def events_of(stream: Any) -> Iterator[dict[str, Any]]:
    """The data of a stream's `document` events, as they arrive."""
    for block in stream.response:
        if block.startswith(b"id: "):
            assert b"event: document\n" in block
            yield json.loads(block.split(b"data: ")[1])


def test_a_list_of_documents_includes_jobs_on_request(alice: Caller, charlie: Caller) -> None:
    made = upload(alice).get_json()
    (listed,) = alice.get("/documents?include=job").get_json()["items"]
    assert (listed["id"], listed["job"]["id"]) == (made["document"]["id"], made["job"]["id"])
    assert listed["job"]["progress"]["percent"] == 0
    assert "job" not in alice.get("/documents").get_json()["items"][0]
    assert alice.get("/documents?include=chunks").status_code == 400
    assert charlie.get("/documents?include=job").get_json()["items"] == []


def test_changes_of_documents_are_streamed(alice: Caller, charlie: Caller) -> None:
    first = upload(alice, user_id="alice").get_json()
    upload(alice, make_pdf(["Another user's."]), user_id="bob")
    upload(charlie, make_pdf(["A stranger's."]), user_id="alice")
    stream = alice.app.test_client().get(
        "/api/v1/documents/events?user_id=alice", headers={"X-API-Key": alice.key}
    )
    events = events_of(stream)
    try:
        document = next(events)
        assert document["id"] == first["document"]["id"]
        assert (document["status"], document["job"]["state"]) == ("queued", "queued")
        second = upload(alice, make_pdf(["Later."]), user_id="alice").get_json()
        assert next(events)["id"] == second["document"]["id"]
        alice.post(f"/jobs/{first['job']['id']}/cancel")
        document = next(events)
        assert document["id"] == first["document"]["id"]
        assert (document["status"], document["job"]["state"]) == ("cancelled", "cancelled")
    finally:
        stream.close()
    for query in ("user_id=", "nonsense=1", "session_id=x"):
        assert alice.get(f"/documents/events?{query}").status_code == 400, query


class CountingHash:
    """SHA-256 that counts the bytes it is given, over all instances."""

    hashed = 0

    def __init__(self, data: bytes = b"") -> None:
        self._inner = ORIGINAL_SHA256()
        self.update(data)

    def update(self, data: bytes) -> None:
        CountingHash.hashed += len(data)
        self._inner.update(data)

    def digest(self) -> bytes:
        return self._inner.digest()

    def hexdigest(self) -> str:
        return self._inner.hexdigest()


def test_an_upload_is_written_once_and_hashed_once(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 700_000
    body = form(PDF + os.urandom(size), "w.pdf", {"user_id": "alice"})
    monkeypatch.setattr("hashlib.sha256", CountingHash)
    monkeypatch.setattr("hashlib.file_digest", None)  # reads a file again
    monkeypatch.setattr(CountingHash, "hashed", 0)
    written = psutil.Process().io_counters().write_chars
    answer = alice.post(
        "/documents",
        data=body,
        content_type="multipart/form-data; boundary=x",
        headers={"Idempotency-Key": "one pass"},
    )
    written = psutil.Process().io_counters().write_chars - written
    assert answer.status_code == 202
    assert size <= CountingHash.hashed < 1.5 * size
    assert size <= written < 1.5 * size
    digest = ORIGINAL_SHA256(PDF + body[body.index(PDF) + len(PDF) :][:size]).hexdigest()
    assert answer.get_json()["document"]["sha256"] == digest


@pytest.mark.parametrize("path", ["content", "pages/1/image"])
def test_a_document_is_read_once_for_a_download_or_a_page(
    alice: Caller, app: Flask, path: str
) -> None:
    services: Services = app.extensions["services"]
    document = upload(alice).get_json()["document"]["id"]
    while ingestion.process_next_range(services):
        pass
    alice.get(f"/documents/{document}/{path}")  # renders the page; the next call finds it
    statements: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(services.database.engine, "before_cursor_execute", note)
    try:
        assert alice.get(f"/documents/{document}/{path}").status_code == 200
    finally:
        event.remove(services.database.engine, "before_cursor_execute", note)
    assert len([text for text in statements if "FROM documents" in text]) == 1
