"""What a view works with: the services, the caller, and a transaction in the caller's name."""

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
    return cast(Services, current_app.extensions["services"])


def principal() -> Principal:
    """The caller. Only behind the door that `web.http.auth` guards."""
    return cast(Principal, request_state().principal)


def tenant_id() -> str:
    return principal().tenant_id


@contextmanager
def transaction(*, across_tenants: bool = False) -> Iterator[Session]:
    """A transaction bound to the caller's tenant, unless `across_tenants` (the operator's).

    In an atomic idempotent request it begins by claiming the request's key.
    """
    bound_to = None if across_tenants else tenant_id()
    with services().database.transaction(tenant_id=bound_to) as db:
        ticket = request_state().atomic_ticket
        if ticket is not None:
            ticket.claim_within(db)
        yield db


@contextmanager
def one_statement() -> Iterator[Executor]:
    """For a view that sends one statement, which is then a transaction of its own.

    An atomic idempotent request sends more, and gets a whole transaction.
    """
    if request_state().atomic_ticket is None:
        yield services().database.autocommit(tenant_id=tenant_id())
    else:
        with transaction() as db:
            yield db
