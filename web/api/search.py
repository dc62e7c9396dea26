"""/search."""

from typing import Any

from flask import Response

from core.search import retrieval
from web.http import schemas
from web.http.auth import requires
from web.http.context import services, tenant_id
from web.http.idempotency import idempotent
from web.http.parsing import Blueprint
from web.http.presenters import json_response

blp = Blueprint("search", __name__, url_prefix="/api/v1", description="Passages.")


@blp.route("/search", methods=["POST"])
@requires("read")
@idempotent(atomic=False)
@blp.arguments(schemas.SearchRequest)
@blp.response(200, schemas.SearchResult)
def search(body: dict[str, Any]) -> Response:
    """Find the passages that match a question, best first."""
    found = retrieval.search(services(), tenant_id=tenant_id(), **body)
    return json_response({"items": [passage.as_dict() for passage in found]})
