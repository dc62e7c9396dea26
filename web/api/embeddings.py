"""`flask --app web.app embeddings`: commands for the operator who changed the embedding model."""

import click
from flask import current_app
from flask.cli import AppGroup

from core.bootstrap import Services
from core.documents.reembedding import renew_embeddings
from core.embedding import describe_model
from core.errors import RagError
from core.search.embedding_model import ModelChange, find_change
from core.telemetry import get_logger

log = get_logger(__name__)

cli = AppGroup("embeddings", help="Embed all documents again after a change of the model.")


def _services() -> Services:
    found: Services = current_app.extensions["services"]
    return found


@cli.command("renew")
def renew_command() -> None:
    """Queue every document whose vectors are not from the model in the settings.

    It can be repeated at any time: it skips documents that are done or in progress.
    """
    queued = 0
    try:
        for queued in renew_embeddings(_services()):
            click.echo(f"{queued} documents queued …")
    except RagError as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"{queued} documents queued; /health/ready is 200 once all are embedded.")


@cli.command("status")
def status_command() -> None:
    """Report whether the documents' vectors are from the model in the settings."""
    try:
        change = _find_change(_services())
    except RagError as error:
        raise click.ClickException(error.detail) from None
    click.echo(change.detail if change else "All vectors are of the model of the settings.")


def warn_of_change(services: Services) -> None:
    """Log one line at the start of a process if the model has changed."""
    try:
        change = _find_change(services)
    except RagError:
        return  # the database is unreachable; the readiness check reports it
    if change:
        log.warning("embedding_model_changed", detail=change.detail)


def _find_change(services: Services) -> ModelChange | None:
    model, dimensions = describe_model(services.settings)
    with services.database.transaction(tenant_id=None) as db:
        return find_change(db, model=model, dimensions=dimensions)
