"""/documents."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Response

from core.bootstrap import Services
from core.documents import records, uploads
from core.documents.uploads import Accepted
from core.documents.watching import Watch, jobs_of
from core.pdf import READER_VERSION
from web.http import schemas
from web.http.auth import requires
from web.http.context import services, tenant_id, transaction
from web.http.downloads import (
    REVALIDATE,
    content_disposition,
    is_known,
    not_modified,
    read_first_block,
    wanted_range,
)
from web.http.idempotency import held_claim, idempotent
from web.http.parsing import Blueprint, load, refuse_query, take_page
from web.http.presenters import (
    accepted_body,
    chunk_body,
    document_body,
    document_with_job_body,
    json_response,
    no_content,
    page_body,
)
from web.http.request_checks import invalid, parse_json
from web.http.streaming import EVENT_STREAM, Event, event_response
from web.http.uploads import accepts_upload, take_fields, take_file

blp = Blueprint("documents", __name__, url_prefix="/api/v1", description="PDFs and their chunks.")

POLL_SECONDS = 0.5


@blp.route("/documents", methods=["POST"])
@requires("documents")
@accepts_upload
@idempotent(atomic=False)
@blp.response(202, schemas.AcceptedUpload)
@blp.response(200, schemas.AcceptedUpload, description="The same bytes are here already.")
def upload_document() -> Response:
    """Upload a PDF; a job ingests it."""
    refuse_query()
    file = take_file()
    given: dict[str, Any] = take_fields()
    if "metadata" in given:
        given["metadata"] = _metadata(given["metadata"])
    form = load(schemas.UploadFields(), given)
    accepted = uploads.accept_upload(
        services(),
        tenant_id=tenant_id(),
        body=file.stream,  # type: ignore[arg-type]
        filename=file.filename or "",
        user_id=form.get("user_id"),
        session_id=form.get("session_id"),
        metadata=form.get("metadata", {}),
    )
    return _accepted(accepted)


def _metadata(text: str) -> dict[str, Any]:
    value = parse_json(text.encode(), root="metadata")
    if not isinstance(value, dict):
        raise invalid("metadata", "Must be a JSON object.")
    return value


def _accepted(accepted: Accepted) -> Response:
    if accepted.duplicate:
        return json_response(accepted_body(accepted) | {"duplicate": True})
    headers = {"Location": f"/api/v1/jobs/{accepted.job.id}", "Retry-After": "1"}
    return json_response(accepted_body(accepted), status=202, headers=headers)


@blp.route("/documents", methods=["GET"])
@requires("read", "documents")
@blp.arguments(schemas.DocumentQuery, location="query")
@blp.response(200, schemas.page_of(schemas.Document, "DocumentPage"))
def list_documents(query: dict[str, Any]) -> Response:
    """List documents, newest first."""
    page = take_page(query)
    with_jobs = query.pop("include", None) == "job"
    with transaction() as db:
        found = records.list_documents(db, tenant_id=tenant_id(), page=page, **query)
        body = page_body(found, document_body)
        if with_jobs:
            body["items"] = [document_with_job_body(item) for item in jobs_of(db, found.items)]
    return json_response(body)


@blp.route("/documents/events", methods=["GET"])
@requires("read", "documents")
@blp.arguments(schemas.DocumentFilter, location="query")
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def watch_documents(query: dict[str, Any]) -> Response:
    """Follow documents by server-sent events.

    Each `document` event is a Document with its `job`. First comes one event for each document
    that is being ingested, then one for each change of a document. The stream lasts until the
    client closes it.
    """
    watch = Watch(
        tenant_id=tenant_id(), user_id=query.get("user_id"), session_id=query.get("session_id")
    )
    return event_response(_document_events(services(), watch, tenant_id=tenant_id()))


def _document_events(services: Services, watch: Watch, *, tenant_id: str) -> Iterator[Event | None]:
    """Yield an event for each change, and None between them, so that the stream can stop."""
    while True:
        with services.database.transaction(tenant_id=tenant_id) as db:
            changed = [document_with_job_body(found) for found in watch.look(db)]
        for body in changed:
            yield Event("document", body)
        yield None
        time.sleep(POLL_SECONDS)


@blp.route("/documents/<uuid:document_id>", methods=["GET"])
@requires("read", "documents")
@blp.response(200, schemas.Document)
def get_document(document_id: UUID) -> Response:
    """Get a document."""
    with transaction() as db:
        document = records.get_document(db, tenant_id=tenant_id(), document_id=document_id)
    return json_response(document_body(document))


@blp.route("/documents/<uuid:document_id>", methods=["DELETE"])
@requires("documents")
@blp.response(204)
def delete_document(document_id: UUID) -> Response:
    """Delete a document with its file, chunks and vectors; a running job stops."""
    uploads.delete_document(services(), tenant_id=tenant_id(), document_id=document_id)
    return no_content()


@blp.route("/documents/<uuid:document_id>/reingest", methods=["POST"])
@requires("documents")
@idempotent(atomic=False)
@blp.response(202, schemas.AcceptedUpload)
def reingest_document(document_id: UUID) -> Response:
    """Ingest a document again; searches use its old chunks until the new ones are complete."""
    accepted = uploads.reingest(
        services(), tenant_id=tenant_id(), document_id=document_id, claim=held_claim()
    )
    return _accepted(accepted)


@blp.route("/documents/<uuid:document_id>/chunks", methods=["GET"])
@requires("read", "documents")
@blp.arguments(schemas.Paging, location="query")
@blp.response(200, schemas.page_of(schemas.Chunk, "ChunkPage"))
def list_chunks(query: dict[str, Any], document_id: UUID) -> Response:
    """List a document's chunks in reading order."""
    with transaction() as db:
        found = records.list_chunks(
            db, tenant_id=tenant_id(), document_id=document_id, page=take_page(query)
        )
    return json_response(page_body(found, chunk_body))


@blp.route("/documents/<uuid:document_id>/content", methods=["GET"])
@requires("read", "documents")
@blp.response(200, schemas.BINARY, content_type="application/pdf")
@blp.response(206, schemas.BINARY, content_type="application/pdf")
@blp.response(304)
def download_document(document_id: UUID) -> Response:
    """Download the uploaded PDF, unchanged. Supports `Range` and `If-None-Match`."""
    with transaction() as db:
        document = records.get_document(db, tenant_id=tenant_id(), document_id=document_id)
    size, etag = document.size_bytes, document.sha256
    if is_known(etag):
        return not_modified(etag)
    part = wanted_range(size=size, etag=etag)
    start, end = part or (0, size)
    blocks = uploads.read_content(services(), document, start=start, end=end)
    response = Response(
        read_first_block(blocks), status=206 if part else 200, mimetype="application/pdf"
    )
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response.headers["Content-Length"] = str(end - start)
    response.headers["Content-Disposition"] = content_disposition(document.filename)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = REVALIDATE
    response.set_etag(etag)
    return response


@blp.route("/documents/<uuid:document_id>/pages/<int:number>/image", methods=["GET"])
@requires("read", "documents")
@blp.arguments(schemas.PageImageQuery, location="query")
@blp.response(200, schemas.BINARY, content_type="image/png")
@blp.response(304)
def show_page(query: dict[str, Any], document_id: UUID, number: int) -> Response:
    """Render a page as PNG, and mark a text on it."""
    highlight = query.get("highlight")
    with transaction() as db:
        document = records.get_document(db, tenant_id=tenant_id(), document_id=document_id)
    # Another ingestion, or another version of the reader, may draw the page differently.
    read = f"{document.generation} {READER_VERSION}"
    about = f"{document.sha256} {read} {number} {highlight}".encode()
    etag = hashlib.sha256(about).hexdigest()[:32]
    if is_known(etag):
        return not_modified(etag)
    image = uploads.render_page(services(), document, number=number, highlight=highlight)
    response = Response(image, mimetype="image/png", headers={"Cache-Control": REVALIDATE})
    response.set_etag(etag)
    return response
