"""Gives views the services, the caller, and transactions of the caller's tenant."""

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
    """Return the services that `web.app` built for this process."""
    return cast(Services, current_app.extensions["services"])


def principal() -> Principal:
    """Return the caller. Only for views that need a key (`web.http.auth.requires`)."""
    return cast(Principal, request_state().principal)


def tenant_id() -> str:
    return principal().tenant_id


@contextmanager
def transaction(*, across_tenants: bool = False) -> Iterator[Session]:
    """Open a transaction of the caller's tenant, or of all tenants (`across_tenants`).

    Only the operator may use `across_tenants`. In an atomic idempotent request, the transaction
    first claims the request's Idempotency-Key.
    """
    bound_to = None if across_tenants else tenant_id()
    with services().database.transaction(tenant_id=bound_to) as db:
        ticket = request_state().atomic_ticket
        if ticket is not None:
            ticket.claim_within(db)
        yield db


@contextmanager
def autocommit() -> Iterator[Executor]:
    """Open an autocommit executor for a view that sends a single statement.

    In an atomic idempotent request it is a transaction, because the key needs more statements.
    """
    if request_state().atomic_ticket is None:
        yield services().database.autocommit(tenant_id=tenant_id())
    else:
        with transaction() as db:
            yield db
