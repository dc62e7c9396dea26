"""Requests that were seen before: claimed by their key, answered by their first response.

Two ways to use it. A request that is one transaction claims, works and stores
its response in that transaction: equal ones wait at the key's row and then find
the response, and a process that dies leaves nothing. A longer request claims in
a transaction of its own and holds the key by a lease it renews; a process that
dies frees it when the lease ends. What such a request has committed before its
end it can note as a checkpoint, in the same commit: the next attempt goes on from
there instead of doing it again.

The behaviour follows the IETF draft "The Idempotency-Key HTTP Header Field" and
Stripe's API.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg2.extras import Json
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db import count_changed
from core.errors import Conflict, Unprocessable

REMEMBER_HOURS = 24
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class Remembered:
    """The response to the first request with this key."""

    status_code: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer for a key, until somebody else may take it over at `locked_until`.

    `checkpoint` is what an earlier attempt noted that did not come to an answer.
    """

    tenant_id: str
    key: str
    locked_until: datetime
    checkpoint: bytes | None = None


# A row is taken over when it is older than a day, or when whoever held it went
# silent. clock_timestamp(): now() is from before we waited for an equal request.
# Until there is a status, `body` holds the checkpoint, which outlives its attempt.
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
_MINE = (
    "WHERE tenant_id = :tenant_id AND key = :key"
    " AND locked_until = :locked_until AND status_code IS NULL"
)
_FINISH = text(
    f"UPDATE idempotency_keys SET status_code = :status_code, headers = :headers, body = :body {_MINE}"  # noqa: S608, E501
)
_RELEASE = text(f"DELETE FROM idempotency_keys {_MINE} AND body IS NULL")  # noqa: S608
_LET_GO = text(f"UPDATE idempotency_keys SET locked_until = clock_timestamp() {_MINE}")  # noqa: S608
# Whoever held the key: the first to note is the one who goes on.
_NOTE = text(
    "UPDATE idempotency_keys SET body = :checkpoint"
    " WHERE tenant_id = :tenant_id AND key = :key AND status_code IS NULL AND body IS NULL"
)
_RENEW = text(
    "UPDATE idempotency_keys SET locked_until = clock_timestamp() +"  # noqa: S608
    f" make_interval(secs => :hold_seconds) {_MINE} RETURNING locked_until"
)
_PURGE = text(
    "DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(hours => :hours)"
)


def claim(
    db: Session, *, tenant_id: str, key: str, fingerprint: bytes, hold_seconds: float
) -> Claim | Remembered:
    """Take the key, or find what it was answered with.

    Raises Unprocessable if it was used for another request, Conflict
    (`idempotency_in_progress`) if the first one is still under way.
    """
    names: dict[str, Any] = {"tenant_id": tenant_id, "key": key}
    values = names | {"fingerprint": fingerprint, "hold_seconds": hold_seconds}
    for _ in range(3):  # the row we ran into may be gone when we look at it
        taken = _try_claim(db, values)
        if taken is not None:
            return Claim(tenant_id, key, taken.locked_until, taken.body and bytes(taken.body))
        found = db.execute(_FIND, names).one_or_none()
        if found is not None:
            return _judge(found, fingerprint=fingerprint)
    raise in_progress()


def _try_claim(db: Session, values: dict[str, Any]) -> Any:
    try:
        taken = db.execute(_CLAIM, values).one_or_none()
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) == _LOCK_NOT_AVAILABLE:
            raise in_progress() from None  # an equal request has held the row for lock_timeout
        raise
    return taken


def _judge(found: Any, *, fingerprint: bytes) -> Remembered:
    if bytes(found.fingerprint) != fingerprint:
        raise Unprocessable("This Idempotency-Key was used for another request.")
    if found.status_code is None:
        raise in_progress()
    return Remembered(found.status_code, found.headers, bytes(found.body))


def in_progress() -> Conflict:
    """An equal request is being worked on."""
    return Conflict(
        "A request with this Idempotency-Key is still under way.", code="idempotency_in_progress"
    )


def note(db: Session, claimed: Claim, checkpoint: bytes) -> None:
    """Keep `checkpoint` for the next attempt, should this one not come to an answer.

    Belongs in the transaction of what it tells of. Raises Conflict
    (`idempotency_in_progress`) if another attempt, which took the key over, was faster.
    """
    noted = db.execute(
        _NOTE, {"tenant_id": claimed.tenant_id, "key": claimed.key, "checkpoint": checkpoint}
    )
    if not count_changed(noted):
        raise in_progress()


def finish(db: Session, claimed: Claim, response: Remembered) -> bool:
    """Remember the response. False: the key is no longer ours, and nothing was stored."""
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
    """Let go of the key: the request may be sent again with it, and finds the checkpoint."""
    names = _names(claimed)
    released = count_changed(db.execute(_RELEASE, names))
    return bool(released or count_changed(db.execute(_LET_GO, names)))


def renew(db: Session, claimed: Claim, *, hold_seconds: float) -> Claim | None:
    """Hold the key for another `hold_seconds`; None if it is no longer ours."""
    held = db.execute(_RENEW, _names(claimed) | {"hold_seconds": hold_seconds}).scalar_one_or_none()
    return None if held is None else replace(claimed, locked_until=held)


def purge(db: Session) -> int:
    """Remove what is older than a day; how many rows those were."""
    gone = db.execute(_PURGE, {"hours": REMEMBER_HOURS})
    return count_changed(gone)


def _names(claimed: Claim) -> dict[str, Any]:
    return {
        "tenant_id": claimed.tenant_id,
        "key": claimed.key,
        "locked_until": claimed.locked_until,
    }
