"""What a view works with: the services, the caller, and transactions of the caller's tenant."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import current_app
from sqlalchemy.orm import Session

from core.access.keys import Principal
from core.bootstrap import Services
from core.db import Executor
from web.http.request_state import request_state


def services() -> Services:
    """The services that `web.app` has built for this process."""
    return cast(Services, current_app.extensions["services"])


def principal() -> Principal:
    """The caller. Only for views that need a key (`web.http.auth.requires`)."""
    return cast(Principal, request_state().principal)


def tenant_id() -> str:
    return principal().tenant_id


@contextmanager
def transaction(*, across_tenants: bool = False) -> Iterator[Session]:
    """A transaction of the caller's tenant; with `across_tenants` (operator only) of all.

    In an atomic idempotent request it first claims the request's Idempotency-Key.
    """
    bound_to = None if across_tenants else tenant_id()
    with services().database.transaction(tenant_id=bound_to) as db:
        ticket = request_state().atomic_ticket
        if ticket is not None:
            ticket.claim_within(db)
        yield db


@contextmanager
def one_statement() -> Iterator[Executor]:
    """Autocommit for a view that sends a single statement.

    In an atomic idempotent request there are more statements, so it is a transaction.
    """
    if request_state().atomic_ticket is None:
        yield services().database.autocommit(tenant_id=tenant_id())
    else:
        with transaction() as db:
            yield db
