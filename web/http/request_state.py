"""What the layers of one request tell each other: a single typed object.

`web.http.request_log`, the outermost layer, creates it and puts it into the WSGI
environ, which is how WSGI middleware passes data on (PEP 3333, "environ Variables").
All other code reads and writes it by `request_state()`.
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
    """The minute in which this request was counted.

    `used` is the sum of its requests up to this one. It ends at `ends`, in seconds since 1970.
    """

    used: int
    ends: float


@dataclass(slots=True)
class RequestState:
    """Everything that is known of a request beside what the client sent."""

    request_id: str
    route: str | None = None  # the URL rule; None for an address without a view
    needs_key: bool = False
    principal: Principal | None = None  # None without a valid key
    window: Window | None = None  # None if the request was not counted
    problem_code: str | None = None  # the `code` of the problem that answers the request
    is_upload: bool = False
    # The request's Idempotency-Key: of an atomic view, while it runs, and of any other.
    atomic_ticket: "Ticket | None" = None
    held_ticket: "Ticket | None" = None


def attach(environ: "WSGIEnvironment", state: RequestState) -> RequestState:
    """Make `state` the state of the request that `environ` describes."""
    environ[_KEY] = state
    return state


def request_state() -> RequestState:
    """The state of the request that this thread works on. Needs Flask's request context."""
    state = request.environ.get(_KEY)
    if state is None:  # Flask's `test_request_context` and shell come without middleware
        state = attach(request.environ, RequestState(request_id=str(uuid7())))
    return cast(RequestState, state)
