"""The header Idempotency-Key on POST: a repeat gets the first response and does no work.

An atomic view does all its work in one `web.http.context.transaction` and ends it with
`store_response`. So key, work and response are committed together or not at all.

Any other view (uploads, chat turns) claims its key with a lease, which a timer renews. If the
process dies, the key is free when the lease ends, and the view's commits so far stay. A view
that must not repeat them passes `held_claim` to core, which stores a checkpoint with each
commit.
"""

import base64
import hashlib
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from cryptography.fernet import Fernet
from flask import Response, request
from sqlalchemy.orm import Session

from core.access import idempotency
from core.access.idempotency import Claim, StoredResponse
from core.bootstrap import Services
from core.errors import RagError
from core.storage.staging import StagingFile
from core.telemetry import get_logger
from web.http import errors
from web.http.context import principal, services, tenant_id
from web.http.request_checks import invalid
from web.http.request_state import request_state
from web.http.view_policy import declare

log = get_logger(__name__)

HEADER = "Idempotency-Key"
HOLD_SECONDS = 30.0
MAX_BODY = 4 * 1024 * 1024  # a longer response is not stored

_KEPT_HEADERS = ("Content-Type", "Location", "Retry-After", "Cache-Control")
View = TypeVar("View", bound=Callable[..., Any])


class Replay(Exception):  # leaves a view and its transaction; it is not an error
    """The request was answered before, with `stored_response`."""

    def __init__(self, stored_response: StoredResponse) -> None:
        super().__init__("answered before")
        self.stored_response = stored_response


class Ticket:
    """One request's Idempotency-Key. If `sealed`, the stored response is encrypted."""

    def __init__(
        self, services: Services, *, tenant_id: str, key: str, fingerprint: bytes, sealed: bool
    ) -> None:
        self._services, self._tenant_id, self._key = services, tenant_id, key
        self._fingerprint = fingerprint
        self._lock = threading.Lock()
        self._claim: Claim | None = None
        self._timer: threading.Timer | None = None
        self._seal: Fernet | None = None
        if sealed:
            secret = services.settings.effective_key_pepper + b"\0seal\0" + key.encode()
            self._seal = Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret).digest()))

    def claim_within(self, db: Session) -> None:
        """Claim the key in the caller's transaction. Raises Replay, Conflict, Unprocessable."""
        found = idempotency.claim(
            db,
            tenant_id=self._tenant_id,
            key=self._key,
            fingerprint=self._fingerprint,
            hold_seconds=HOLD_SECONDS,
        )
        if isinstance(found, StoredResponse):
            raise Replay(self._decrypt(found))
        self._claim = found

    @property
    def claim(self) -> Claim | None:
        return self._claim

    def hold(self) -> None:
        """Claim the key in a separate transaction, and renew the lease until `settle`."""
        with self._services.database.transaction(tenant_id=self._tenant_id) as db:
            self.claim_within(db)
        self._schedule()

    def _schedule(self) -> None:
        self._timer = threading.Timer(HOLD_SECONDS / 3, self._renew)
        self._timer.daemon = True
        self._timer.start()

    def _renew(self) -> None:
        with self._lock:
            if self._claim is None:
                return
            try:
                with self._services.database.transaction(tenant_id=self._tenant_id) as db:
                    self._claim = idempotency.renew(db, self._claim, hold_seconds=HOLD_SECONDS)
            except Exception as error:
                log.warning("idempotency_not_renewed", error=type(error).__name__)
            if self._claim is not None:
                self._schedule()

    def store(self, db: Session, response: StoredResponse) -> None:
        """Store the response in the caller's transaction, which has claimed the key."""
        if self._claim is not None and len(response.body) <= MAX_BODY:
            idempotency.finish(db, self._claim, self._encrypt(response))

    def settle(self, response: StoredResponse | None) -> None:
        """Store the response, or free the key if it is None. Never raises."""
        with self._lock:
            claimed, self._claim = self._claim, None
            if self._timer is not None:
                self._timer.cancel()
        if claimed is None:
            return
        try:
            with self._services.database.transaction(tenant_id=self._tenant_id) as db:
                if response is None or len(response.body) > MAX_BODY:
                    idempotency.release(db, claimed)
                else:
                    idempotency.finish(db, claimed, self._encrypt(response))
        except Exception as error:
            log.warning("idempotency_not_settled", error=type(error).__name__)

    def forget_claim(self) -> None:
        """Drop the claim, because the transaction that made it was rolled back."""
        self._claim = None

    def _encrypt(self, response: StoredResponse) -> StoredResponse:
        if self._seal is None:
            return response
        return StoredResponse(
            response.status_code, response.headers, self._seal.encrypt(response.body)
        )

    def _decrypt(self, response: StoredResponse) -> StoredResponse:
        if self._seal is None:
            return response
        return StoredResponse(
            response.status_code, response.headers, self._seal.decrypt(response.body)
        )


def idempotent(*, atomic: bool, sealed: bool = False) -> Callable[[View], View]:
    """Support Idempotency-Key on a POST view. Put it above decorators that parse arguments.

    `sealed` is for responses that contain a secret: they are stored encrypted.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            ticket = _ticket(sealed=sealed)
            if ticket is None:
                return view(*args, **kwargs)
            run = _run_atomic if atomic else _run_held
            try:
                return run(ticket, lambda: view(*args, **kwargs))
            except Replay as replay:
                return _replay(replay.stored_response)

        declare(wrapper, is_idempotent=True)
        return wrapper  # type: ignore[return-value]

    return decorate


def _ticket(*, sealed: bool) -> Ticket | None:
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise invalid(HEADER, "Must be 1 to 255 printable ASCII characters.")
    return Ticket(
        services(),
        tenant_id=tenant_id(),
        key=key,
        fingerprint=_fingerprint(sealed=sealed),
        sealed=sealed,
    )


def _fingerprint(*, sealed: bool) -> bytes:
    """Return a hash of method, URL and body, which is the same for equal requests."""
    digest = hashlib.sha256(f"{request.method} {request.full_path}\n".encode())
    if sealed and principal().is_operator:
        # The operator can create keys for other tenants. Only the operator gets them replayed.
        digest.update(b"operator\n")
    if not request_state().is_upload:
        digest.update(request.get_data())
        return digest.digest()
    # Not the raw body, because a client chooses a new boundary for each attempt.
    for name, value in sorted(request.form.items(multi=True)):
        digest.update(f"{name}={len(value)}:{value}\n".encode(errors="surrogatepass"))
    for name, file in sorted(request.files.items(multi=True), key=lambda item: item[0]):
        digest.update(f"{name}={file.filename!r}:".encode(errors="surrogatepass"))
        digest.update(cast(StagingFile, file.stream).digest())
    return digest.digest()


def _run_atomic(ticket: Ticket, view: Callable[[], Any]) -> Any:
    state = request_state()
    state.atomic_ticket = ticket
    try:
        return view()
    except Replay:
        raise
    except Exception as error:
        ticket.forget_claim()
        return _refuse(ticket, error, held=False)
    finally:
        state.atomic_ticket = None


def _run_held(ticket: Ticket, view: Callable[[], Any]) -> Any:
    ticket.hold()
    request_state().held_ticket = ticket
    try:
        response = view()
    except Exception as error:
        return _refuse(ticket, error, held=True)
    if not response.is_streamed:
        ticket.settle(stored_response(response))
    return response  # a stream settles when it ends


def _refuse(ticket: Ticket, error: Exception, *, held: bool) -> Response:
    """Return the error's response, and store it under the key unless its status is 5xx."""
    response = errors.respond(error)
    if isinstance(error, RagError) and error.code.startswith("idempotency_"):
        ticket.settle(None)  # the key belongs to another request
        return response
    keep = stored_response(response) if response.status_code < 500 else None
    if not held and keep is not None:
        try:
            ticket.hold()  # raises Replay if an equal request was refused before
        except RagError as refused:
            about_key = refused.code.startswith("idempotency_")
            return errors.respond(refused) if about_key else response
    ticket.settle(keep)
    return response


def refuse(ticket: Ticket, error: Exception) -> Response:
    """Return the response to a held request that failed after its view returned."""
    return _refuse(ticket, error, held=True)


def held_claim() -> Claim | None:
    """Return the claim on this request's key, or None. For views that are not atomic."""
    ticket = request_state().held_ticket
    return None if ticket is None else ticket.claim


def store_response(db: Session, response: Response) -> Response:
    """Store `response` in the transaction of the work, and return it. For atomic views."""
    ticket = request_state().atomic_ticket
    if ticket is not None:
        ticket.store(db, stored_response(response))
    return response


def stored_response(response: Response) -> StoredResponse:
    """Return the parts of `response` to store: status, some headers, body."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return StoredResponse(response.status_code, headers, response.get_data())


def _replay(found: StoredResponse) -> Response:
    response = Response(found.body, status=found.status_code, headers=found.headers)
    response.headers["Idempotent-Replayed"] = "true"
    return response
