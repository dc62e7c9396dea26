"""/keys, and `flask --app web.app keys`."""

from datetime import datetime
from typing import Any
from uuid import UUID

import click
from flask import Response
from flask.cli import AppGroup

from core.access import keys
from core.access.keys import SCOPES
from core.db.paging import MAX_LIMIT, PageRequest
from core.errors import Forbidden
from web.http import schemas
from web.http.auth import requires
from web.http.commands import command_services, errors_as_messages
from web.http.context import principal, services, transaction
from web.http.idempotency import idempotent, store_response
from web.http.parsing import Blueprint, load, take_page
from web.http.presenters import json_response, key_body, new_key_body, no_content, page_body
from web.http.request_checks import check_text
from web.http.schemas import MAX_GRACE_SECONDS

blp = Blueprint("keys", __name__, url_prefix="/api/v1", description="API keys.")
cli = AppGroup("keys", help="Create, list, rotate and revoke API keys.")

# No cache may store a response that shows a key.
_NO_STORE = {"Cache-Control": "no-store"}


def _managed_tenant() -> str | None:
    """Return the tenant whose keys the caller manages; None, for all tenants, for the operator."""
    caller = principal()
    return None if caller.is_operator else caller.tenant_id


@blp.route("/keys", methods=["POST"])
@requires("admin")
@idempotent(atomic=True, sealed=True)
@blp.arguments(schemas.KeyCreate)
@blp.response(201, schemas.NewKey)
def create_key(body: dict[str, Any]) -> Response:
    """Create a key. Only this response contains it."""
    tenant = body.pop("tenant", None) or principal().tenant_id
    if tenant != principal().tenant_id and not principal().is_operator:
        raise Forbidden("Only the first key makes keys for other tenants.", code="other_tenant")
    with transaction(across_tenants=principal().is_operator) as db:
        made = keys.create_key(
            db, tenant_id=tenant, pepper=services().settings.effective_key_pepper, **body
        )
        return store_response(db, json_response(new_key_body(made), status=201, headers=_NO_STORE))


@blp.route("/keys", methods=["GET"])
@requires("admin")
@blp.arguments(schemas.Paging, location="query")
@blp.response(200, schemas.page_of(schemas.Key, "KeyPage"))
def list_keys(query: dict[str, Any]) -> Response:
    """List the keys that are not revoked, newest first."""
    with transaction(across_tenants=principal().is_operator) as db:
        found = keys.list_keys(db, tenant_id=_managed_tenant(), page=take_page(query))
    return json_response(page_body(found, key_body))


@blp.route("/keys/<uuid:key_id>/rotate", methods=["POST"])
@requires("admin")
@idempotent(atomic=True, sealed=True)
@blp.arguments(schemas.KeyRotate, required=False)
@blp.response(201, schemas.NewKey)
def rotate_key(body: dict[str, Any], key_id: UUID) -> Response:
    """Replace a key with a new one with the same rights. The old one expires in `grace_seconds`."""
    with transaction(across_tenants=principal().is_operator) as db:
        made = keys.rotate_key(
            db,
            tenant_id=_managed_tenant(),
            key_id=key_id,
            grace_seconds=body["grace_seconds"],
            pepper=services().settings.effective_key_pepper,
        )
        return store_response(db, json_response(new_key_body(made), status=201, headers=_NO_STORE))


@blp.route("/keys/<uuid:key_id>", methods=["DELETE"])
@requires("admin")
@blp.response(204)
def revoke_key(key_id: UUID) -> Response:
    """Revoke a key at once."""
    with transaction(across_tenants=principal().is_operator) as db:
        keys.revoke_key(db, tenant_id=_managed_tenant(), key_id=key_id)
    return no_content()


@cli.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES))
@click.option("--tenant", default=keys.DEFAULT_TENANT, show_default=True)
@click.option("--expires-at", type=click.DateTime(), help="In UTC.")
@click.option("--rate-limit", type=click.IntRange(min=1), help="Requests per minute.")
def create_command(
    name: str,
    scopes: tuple[str, ...],
    tenant: str,
    expires_at: datetime | None,
    rate_limit: int | None,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    given = {
        "scopes": list(scopes),
        "tenant": tenant,
        "expires_at": f"{expires_at.isoformat()}Z" if expires_at else None,
        "rate_limit_per_minute": rate_limit,
    }
    with errors_as_messages():
        body = load(schemas.KeyCreate(), given | {"name": check_text(name, field="name")})
        with command_services().database.transaction(tenant_id=None) as db:
            made = keys.create_key(
                db,
                tenant_id=body.pop("tenant"),
                pepper=command_services().settings.effective_key_pepper,
                **body,
            )
    click.echo(f"{made.key.id}  {made.secret}")


@cli.command("list")
def list_command() -> None:
    """List the keys of all tenants that are not revoked."""
    page = PageRequest(limit=MAX_LIMIT)
    while True:
        with errors_as_messages(), command_services().database.transaction(tenant_id=None) as db:
            found = keys.list_keys(db, tenant_id=None, page=page)
        for key in found.items:
            ends = key.expires_at.isoformat() if key.expires_at else "never"
            used = key.last_used_at.isoformat() if key.last_used_at else "never"
            scopes = ",".join(key.scopes)
            click.echo(
                f"{key.id}  {key.prefix}  tenant={key.tenant_id}  scopes={scopes}"
                f"  expires={ends}  used={used}  {key.name}"
            )
        if found.next_cursor is None:
            return
        page = PageRequest(limit=MAX_LIMIT, cursor=found.next_cursor)


@cli.command("rotate")
@click.argument("key_id", type=click.UUID)
@click.option(
    "--grace-seconds", default=3600, show_default=True, type=click.IntRange(0, MAX_GRACE_SECONDS)
)
def rotate_command(key_id: UUID, grace_seconds: int) -> None:
    """Replace a key. The old one expires in --grace-seconds."""
    with errors_as_messages(), command_services().database.transaction(tenant_id=None) as db:
        made = keys.rotate_key(
            db,
            tenant_id=None,
            key_id=key_id,
            grace_seconds=grace_seconds,
            pepper=command_services().settings.effective_key_pepper,
        )
    click.echo(f"{made.key.id}  {made.secret}")


@cli.command("revoke")
@click.argument("key_id", type=click.UUID)
def revoke_command(key_id: UUID) -> None:
    """Revoke a key at once."""
    with errors_as_messages(), command_services().database.transaction(tenant_id=None) as db:
        keys.revoke_key(db, tenant_id=None, key_id=key_id)
    click.echo("revoked")
