"""/users: everything of one user, exported or erased.

A user is whoever `user_id` names in sessions and documents. A user id can be any text, with
slashes too.
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

blp = Blueprint("users", __name__, url_prefix="/api/v1", description="Everything of one user.")


class UserIdConverter(PathConverter):
    """A path's part of any characters, a slash at its beginning too."""

    regex = ".+?"
    part_isolating = False


@blp.route("/users/<user_id:user_id>/export", methods=["GET"])
@requires("read")
@blp.response(200, schemas.BINARY, content_type="application/zip")
def export_user(user_id: str) -> Response:
    """Export everything of a user as a zip archive.

    `sessions/ID.json` are conversations as `GET /sessions/{id}/export` gives them,
    `documents/ID.json` and `documents/ID.pdf` the user's documents and those attached to the
    user's sessions. `user.json` comes last and counts them: an archive without it broke off.
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
    """Erase a user: sessions, messages, documents, files, vectors, pictures, traces.

    A job does it; its `result` counts what is gone. Until it ends, new sessions and documents
    of the user are refused (409 `user_being_erased`). Asked again meanwhile: the same job.
    """
    refuse_query()
    with transaction() as db:
        job = erasure.accept_erasure(db, tenant_id=tenant_id(), user_id=user_id)
        body = job_body(job)
    headers = {"Location": f"/api/v1/jobs/{job.id}", "Retry-After": "1"}
    return json_response(body, status=202, headers=headers)
