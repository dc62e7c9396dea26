"""The state of one request: one typed object that the layers share.

The outermost layer, `web.http.request_log`, creates it and puts it into the WSGI environ, as
WSGI middleware does (PEP 3333, "environ Variables"). All other code reads and writes it with
`request_state()`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

from flask import request
from uuid_utils.compat import uuid7

from core.access.keys import Principal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from web.http.idempotency import Ticket

_KEY = "rag.request_state"


class Window(NamedTuple):
    """The rate limit's window that counted this request.

    `used` is the window's sum including this request. `ends` is the window's end in seconds
    since 1970.
    """

    used: int
    ends: float


@dataclass(slots=True)
class RequestState:
    """What the service knows about a request, apart from the request itself."""

    request_id: str
    route: str | None = None  # the URL rule; None for a URL without a view
    needs_key: bool = False
    principal: Principal | None = None  # None without a valid key
    window: Window | None = None  # None if the request was not counted
    problem_code: str | None = None  # the `code` of the response, if it is a problem
    is_upload: bool = False
    # The request's Idempotency-Key: `atomic_ticket` while an atomic view runs, `held_ticket` in
    # any other view.
    atomic_ticket: "Ticket | None" = None
    held_ticket: "Ticket | None" = None


def attach(environ: "WSGIEnvironment", state: RequestState) -> RequestState:
    """Make `state` the state of the request that `environ` describes."""
    environ[_KEY] = state
    return state


def request_state() -> RequestState:
    """Return the state of the current request. Needs Flask's request context."""
    state = request.environ.get(_KEY)
    if state is None:  # in Flask's `test_request_context` and shell, which skip middleware
        state = attach(request.environ, RequestState(request_id=str(uuid7())))
    return cast(RequestState, state)
