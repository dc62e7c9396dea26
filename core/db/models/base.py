"""The base class, column types and constants of all tables."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import numpy as np
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import DeclarativeBase
from uuid_utils.compat import uuid7

DIMENSIONS = 384  # the default; migrations follow EMBEDDING_DIMENSIONS

SENDERS = ("user", "assistant", "system")
MESSAGE_STATUSES = ("in_progress", "complete", "interrupted", "failed")
DOCUMENT_STATUSES = ("queued", "processing", "ready", "failed", "cancelled")
JOB_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
TERMINAL_STATES = ("succeeded", "failed", "cancelled")
RANGE_STATES = ("queued", "running", "done")
# The source of a page's text. A page that is `scan` or `unreadable` has no usable text.
READINGS = ("text", "ocr", "scan", "unreadable")

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): ordered by creation, so that index pages stay warm."""
    return uuid7()


def write_vector(vector: Iterable[float]) -> str:
    """A vector in pgvector's text form, with four digits: a half has a precision of about three."""
    return f"[{','.join([f'{number:.4g}' for number in vector])}]"


class HalfVector(HALFVEC):
    """pgvector's type with a text form that is half as long and written three times as fast."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        """The function that turns an array of numbers into a parameter."""
        return lambda vector: None if vector is None else write_vector(np.asarray(vector).tolist())


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        UUID: PgUUID(as_uuid=True),
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(Integer),
        list[UUID]: ARRAY(PgUUID(as_uuid=True)),
        bytes: LargeBinary,
    }


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)
