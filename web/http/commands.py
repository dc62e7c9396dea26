"""Shared code of the commands of `flask --app web.app`."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import current_app

from core.bootstrap import Services
from core.errors import Invalid, RagError


def command_services() -> Services:
    """Return the application's services outside of a request."""
    found: Services = current_app.extensions["services"]
    return found


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Print errors as one line instead of a traceback."""
    try:
        yield
    except Invalid as error:
        wrong = (f"{name}: {' '.join(said)}" for name, said in (error.errors or {}).items())
        raise click.ClickException("; ".join(wrong) or error.detail) from None
    except RagError as error:
        raise click.ClickException(error.detail) from None
