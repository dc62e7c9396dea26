"""Idempotency keys: a repeated request gets the response to the first one.

A request uses its key in one of two ways:

- An atomic request is one transaction. It claims the key, works and stores its response in
  that transaction. Equal requests wait for the key's row and then read the response. A
  process that dies leaves nothing behind.
- A longer request claims the key in a transaction of its own and holds it by a lease, which
  it renews. If the process dies, the key is free when the lease ends. The request can store
  a checkpoint in the same commit as its work; the next attempt goes on from the checkpoint.

The behaviour follows the IETF draft "The Idempotency-Key HTTP Header Field"
(draft-ietf-httpapi-idempotency-key-header) and Stripe's API.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg2.extras import Json
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db import Transaction, count_changed
from core.errors import Conflict, Unprocessable

REMEMBER_HOURS = 24
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The stored response to the first request with a key."""

    status_code: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer for a key. Another request may take the key over at `locked_until`.

    `checkpoint` is the one that an earlier, unfinished attempt stored, if any.
    """

    tenant_id: str
    key: str
    locked_until: datetime
    checkpoint: bytes | None = None


# - An existing row is taken over when it is older than a day, or when its lease has ended.
# - clock_timestamp(), because now() is the transaction's start, before it waited for the row.
# - While status_code is NULL, `body` holds the checkpoint. It survives its attempt.
_CLAIM = text(
    f"""
    INSERT INTO idempotency_keys AS old (tenant_id, key, fingerprint, locked_until)
    VALUES (:tenant_id, :key, :fingerprint,
            clock_timestamp() + make_interval(secs => :hold_seconds))
    ON CONFLICT (tenant_id, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, locked_until = excluded.locked_until,
        status_code = NULL, headers = NULL, created_at = now(),
        body = CASE WHEN old.status_code IS NULL AND old.fingerprint = excluded.fingerprint
                    THEN old.body END
    WHERE old.created_at < now() - interval '{REMEMBER_HOURS} hours'
       OR (old.status_code IS NULL AND old.locked_until < clock_timestamp()
           AND old.fingerprint = excluded.fingerprint)
    RETURNING locked_until, body
    """  # noqa: S608  # a constant
)
_FIND = text(
    "SELECT fingerprint, status_code, headers, body FROM idempotency_keys"
    " WHERE tenant_id = :tenant_id AND key = :key"
)
_CLAIM_IS_CURRENT = (
    "WHERE tenant_id = :tenant_id AND key = :key"
    " AND locked_until = :locked_until AND status_code IS NULL"
)
_FINISH = text(
    f"UPDATE idempotency_keys SET status_code = :status_code, headers = :headers, body = :body {_CLAIM_IS_CURRENT}"  # noqa: S608, E501
)
_RELEASE = text(f"DELETE FROM idempotency_keys {_CLAIM_IS_CURRENT} AND body IS NULL")  # noqa: S608
_EXPIRE = text(f"UPDATE idempotency_keys SET locked_until = clock_timestamp() {_CLAIM_IS_CURRENT}")  # noqa: S608
# Of two attempts, the first that stores a checkpoint goes on, whichever holds the lease.
_STORE_CHECKPOINT = text(
    "UPDATE idempotency_keys SET body = :checkpoint"
    " WHERE tenant_id = :tenant_id AND key = :key AND status_code IS NULL AND body IS NULL"
)
_RENEW = text(
    "UPDATE idempotency_keys SET locked_until = clock_timestamp() +"  # noqa: S608
    f" make_interval(secs => :hold_seconds) {_CLAIM_IS_CURRENT} RETURNING locked_until"
)
_PURGE = text(
    "DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(hours => :hours)"
)


def claim(
    db: Session, *, tenant_id: str, key: str, fingerprint: bytes, hold_seconds: float
) -> Claim | StoredResponse:
    """Claim the key for `hold_seconds`, or return the response that is stored for it.

    `fingerprint` is a hash of the request. Raises Unprocessable (`idempotency_key_reused`) if
    the key belongs to a request with another one, and Conflict (`idempotency_in_progress`) if
    the first request is still being processed.
    """
    names: dict[str, Any] = {"tenant_id": tenant_id, "key": key}
    values = names | {"fingerprint": fingerprint, "hold_seconds": hold_seconds}
    for _ in range(3):  # the row that blocked the INSERT may be deleted before the SELECT
        taken = _try_claim(db, values)
        if taken is not None:
            return Claim(tenant_id, key, taken.locked_until, taken.body and bytes(taken.body))
        found = db.execute(_FIND, names).one_or_none()
        if found is not None:
            return _read(found, fingerprint=fingerprint)
    raise in_progress()


def _try_claim(db: Session, values: dict[str, Any]) -> Any:
    try:
        taken = db.execute(_CLAIM, values).one_or_none()
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) == _LOCK_NOT_AVAILABLE:
            raise in_progress() from None  # an equal request held the row for lock_timeout
        raise
    return taken


def _read(found: Any, *, fingerprint: bytes) -> StoredResponse:
    if bytes(found.fingerprint) != fingerprint:
        raise Unprocessable("This Idempotency-Key was used for another request.")
    if found.status_code is None:
        raise in_progress()
    return StoredResponse(found.status_code, found.headers, bytes(found.body))


def in_progress() -> Conflict:
    """The error for a request whose equal is still being processed."""
    return Conflict(
        "A request with this Idempotency-Key is still under way.", code="idempotency_in_progress"
    )


def note(db: Transaction, claimed: Claim, checkpoint: bytes) -> None:
    """Store `checkpoint` for the next attempt, in case this one does not finish.

    Call it in the transaction of the work that the checkpoint describes. Raises Conflict
    (`idempotency_in_progress`) if another attempt has stored one first.
    """
    noted = db.execute(
        _STORE_CHECKPOINT,
        {"tenant_id": claimed.tenant_id, "key": claimed.key, "checkpoint": checkpoint},
    )
    if not count_changed(noted):
        raise in_progress()


def finish(db: Session, claimed: Claim, response: StoredResponse) -> bool:
    """Store the response. Returns False, and stores nothing, if the claim is no longer valid."""
    stored = db.execute(
        _FINISH,
        _names(claimed)
        | {
            "status_code": response.status_code,
            "headers": Json(response.headers),
            "body": response.body,
        },
    )
    return count_changed(stored) > 0


def release(db: Session, claimed: Claim) -> bool:
    """Free the key for another attempt, which finds the checkpoint if there is one."""
    names = _names(claimed)
    released = count_changed(db.execute(_RELEASE, names))
    return bool(released or count_changed(db.execute(_EXPIRE, names)))


def renew(db: Session, claimed: Claim, *, hold_seconds: float) -> Claim | None:
    """Extend the lease to `hold_seconds` from now. Returns None if the claim is no longer valid."""
    held = db.execute(_RENEW, _names(claimed) | {"hold_seconds": hold_seconds}).scalar_one_or_none()
    return None if held is None else replace(claimed, locked_until=held)


def purge(db: Session) -> int:
    """Delete the keys that are older than REMEMBER_HOURS; return how many."""
    gone = db.execute(_PURGE, {"hours": REMEMBER_HOURS})
    return count_changed(gone)


def _names(claimed: Claim) -> dict[str, Any]:
    return {
        "tenant_id": claimed.tenant_id,
        "key": claimed.key,
        "locked_until": claimed.locked_until,
    }
