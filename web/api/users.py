"""/users: export or erase all data of one user.

A user exists only as the `user_id` of sessions and documents. A user id can be any text, also
with slashes.
"""

from datetime import UTC, datetime

from flask import Response
from werkzeug.routing import PathConverter

from core.conversations import archive, erasure
from web.http import schemas
from web.http.auth import requires
from web.http.context import services, tenant_id, transaction
from web.http.parsing import Blueprint, refuse_query
from web.http.presenters import job_body, json_response
from web.http.streaming import download_response

blp = Blueprint("users", __name__, url_prefix="/api/v1", description="All data of one user.")


class UserIdConverter(PathConverter):
    """Matches any characters in a path, also a leading slash."""

    regex = ".+?"
    part_isolating = False


@blp.route("/users/<user_id:user_id>/export", methods=["GET"])
@requires("read")
@blp.response(200, schemas.BINARY, content_type="application/zip")
def export_user(user_id: str) -> Response:
    """Export all data of a user as a zip archive.

    `sessions/ID.json` is a conversation in the format of `GET /sessions/{id}/export`.
    `documents/ID.json` and `documents/ID.pdf` are the user's documents and those attached to
    the user's sessions. `user.json` comes last and counts the others: an archive without it is
    incomplete.
    """
    refuse_query()
    blocks = archive.export_user(
        services(), tenant_id=tenant_id(), user_id=user_id, now=datetime.now(UTC)
    )
    return download_response(blocks, content_type="application/zip", filename="user.zip")


@blp.route("/users/<user_id:user_id>", methods=["DELETE"])
@requires("admin")
@blp.response(202, schemas.Job)
def erase_user(user_id: str) -> Response:
    """Erase a user: sessions, messages, documents, files, vectors, page images, traces.

    A job does the work; its `result` counts the deleted items. Until it ends, new sessions and
    documents of the user are refused (409 `user_being_erased`), and a repeated request returns
    the same job.
    """
    refuse_query()
    with transaction() as db:
        job = erasure.accept_erasure(db, tenant_id=tenant_id(), user_id=user_id)
        body = job_body(job)
    headers = {"Location": f"/api/v1/jobs/{job.id}", "Retry-After": "1"}
    return json_response(body, status=202, headers=headers)
