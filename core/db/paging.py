"""Pages of rows, by `skip` or by a cursor. Rows that are added meanwhile do not shift a cursor."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_
from sqlalchemy.orm import Session

from core.errors import Invalid

T = TypeVar("T")
Key = datetime | UUID | int | float | str

MAX_LIMIT = 100
MAX_SKIP = 2**31 - 1


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The requested page. `cursor` is the previous page's `next_cursor` and overrides `skip`."""

    limit: int = 50
    skip: int = 0
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`items` of `total`; `skip` rows came before; `next_cursor` is None on the last page."""

    items: list[T]
    total: int
    skip: int
    limit: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """The start of the next page: after the row with these sort keys, row number `rows_before`."""

    keys: tuple[Any, ...]
    rows_before: int


def cursor_scope(kind: str, **filters: object) -> str:
    """An id of a list and its filters, so that a cursor of another list is refused."""
    text = json.dumps([kind, sorted(filters.items())], default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def encode_cursor(*, scope: str, keys: Sequence[Key], rows_before: int) -> str:
    """An opaque, URL-safe cursor. It contains only values that the client has seen."""
    plain = [key if isinstance(key, (int, float)) else _to_text(key) for key in keys]
    text = json.dumps([scope, rows_before, *plain], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _to_text(key: Key) -> str:
    return key.isoformat() if isinstance(key, datetime) else str(key)


def decode_cursor(cursor: str, *, scope: str, types: Sequence[type]) -> CursorPosition:
    """The inverse of `encode_cursor`. Raises Invalid for any other text."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found, rows_before, *plain = json.loads(
            base64.b64decode(padded, altchars=b"-_", validate=True)
        )
        keys = tuple(_parse(value, kind) for value, kind in zip(plain, types, strict=True))
        if found != scope or type(rows_before) is not int or not 0 <= rows_before <= MAX_SKIP:
            raise ValueError
    except (ValueError, TypeError, OverflowError, RecursionError):
        detail = "The cursor is not one that this listing gave out."
        raise Invalid(detail, code="invalid_cursor", errors={"cursor": [detail]}) from None
    return CursorPosition(keys=keys, rows_before=rows_before)


def _parse(value: object, kind: type) -> Any:
    if kind in (int, float):
        # `not … <` also refuses NaN. The limit is that of PostgreSQL's integer.
        if type(value) is not kind or not abs(value) < 2**31:
            raise ValueError
        return value
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)  # PostgreSQL knows offsets up to 15:59 only
    return kind(value)


def paginate(
    db: Session,
    *,
    statement: Select[Any],
    keys: Sequence[ColumnElement[Any]],
    page: PageRequest,
    scope: str,
) -> Page[Any]:
    """One page of `statement`'s first entity, in descending order of `keys`.

    `keys` are columns whose values are attributes of the entity, with the same names. Together
    they must be unique.
    Runs two statements: one for the rows, one for their total.
    """
    total = db.execute(select(func.count()).select_from(statement.subquery())).scalar_one()
    skip, rows = page.skip, statement
    if page.cursor is not None:
        types = [key.type.python_type for key in keys]
        position = decode_cursor(page.cursor, scope=scope, types=types)
        skip, rows = position.rows_before, statement.where(_beyond(keys, position.keys))
    else:
        rows = rows.offset(skip)
    order = [key.desc() for key in keys]
    found = list(db.scalars(rows.order_by(*order).limit(page.limit + 1)))
    items = found[: page.limit]
    next_cursor = None
    if len(found) > page.limit:
        last = [getattr(items[-1], str(key.key)) for key in keys]
        next_cursor = encode_cursor(scope=scope, keys=last, rows_before=skip + len(items))
    return Page(items=items, total=total, skip=skip, limit=page.limit, next_cursor=next_cursor)


def _beyond(keys: Sequence[ColumnElement[Any]], values: Sequence[Any]) -> ColumnElement[bool]:
    here = tuple_(*keys)
    there = tuple_(*(literal(value, key.type) for key, value in zip(keys, values, strict=True)))
    return here < there
