"""Transactions: `Database.transaction`, `plain_transaction`, and `autocommit`, its short form.

`transaction` gives SQLAlchemy's Session. `plain_transaction` has only SQL text and rows, and
`autocommit` is for a single such statement.

The entry point owns the transaction: this module is the only one in the project that
commits. A function that takes a db session never does.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import psycopg2
from psycopg2.extensions import TransactionRollbackError
from sqlalchemy import CursorResult, Engine, Result, TextClause
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    MultipleResultsFound,
    NoResultFound,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from core.db import connections
from core.errors import Conflict, StorageFull, Unavailable
from core.telemetry import get_logger, record_statement

log = get_logger(__name__)

APP_ROLE = "rag_app"  # every tenant's transaction runs as this role, which row-level security binds

_RETRY_SECONDS = (0.1, 0.3)
_TRIES = 3  # of a statement that PostgreSQL aborts because of another transaction
_DISK_FULL = {"53100"}
USER_UNDER_ERASURE = "RCS01"  # raised by the trigger `refuse_user_under_erasure`
# class 08 connection, 53 resources, 57 operator intervention, 40 rollback, 55P03 lock timeout
TRANSIENT_SQLSTATES = ("08", "53", "57", "40", "55P03")


class Database:
    """The process's access to PostgreSQL. Threads may share it, forked processes may not."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def transaction(self, *, tenant_id: str | None) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back on any exception.

        `tenant_id` binds it to one tenant's rows, by row-level security; None
        is for the service's own work across tenants (claims, sweeps, keys).

        Raises Unavailable while PostgreSQL cannot be reached or is out of
        connections, StorageFull when its disk is full, and Conflict (`user_being_erased`) for
        a new session or document of a user who is being erased.
        """
        try:
            with self._sessions.begin() as db:
                _connection_of(db).bind(settings=_settings_of(tenant_id))
                yield db
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise _translate(error) from error
        except DBAPIError as error:
            # psycopg2 reports a connection that is cut during a statement as DatabaseError.
            if error.connection_invalidated:
                raise _translate(error) from error
            if getattr(error.orig, "pgcode", None) == USER_UNDER_ERASURE:
                raise _user_being_erased() from error
            raise

    @contextmanager
    def plain_transaction(self, *, tenant_id: str | None) -> Iterator["PlainTransaction"]:
        """Like `transaction`, but for statements that are SQL text, without a Session.

        The statements are prepared once per connection. Each takes a fifth of the processor time.
        """
        with _translated(), _pooled(self.engine) as connection:
            connection.bind(settings=_settings_of(tenant_id))
            yield PlainTransaction(connection)
            connection.commit()

    def autocommit(self, *, tenant_id: str | None) -> "SingleStatement":
        """For a single statement, which becomes its own transaction in one round trip."""
        return SingleStatement(self.engine, _settings_of(tenant_id))

    def dispose(self) -> None:
        """Drop every pooled connection, as after a fork."""
        self.engine.dispose(close=False)


class Rows(list[tuple[Any, ...]]):
    """A statement's rows, with the methods of SQLAlchemy's results.

    `rowcount` is how many rows an INSERT, UPDATE or DELETE changed.
    """

    rowcount = -1

    def all(self) -> "Rows":
        return self

    def first(self) -> tuple[Any, ...] | None:
        return self[0] if self else None

    def one(self) -> tuple[Any, ...]:
        """The one row. Raises NoResultFound and MultipleResultsFound."""
        row = self.one_or_none()
        if row is None:
            raise NoResultFound
        return row

    def one_or_none(self) -> tuple[Any, ...] | None:
        """The one row, if there is one. Raises MultipleResultsFound."""
        if len(self) > 1:
            raise MultipleResultsFound
        return self.first()


class PlainTransaction:
    """An open transaction that runs SQL text, with the methods of Session that do so."""

    def __init__(self, connection: connections.Connection) -> None:
        self._connection = connection

    def execute(self, statement: TextClause, values: Mapping[str, Any]) -> Rows:
        """Run one statement. Raises psycopg2's errors."""
        started = time.perf_counter()
        try:
            found, rowcount = self._connection.run(connections.prepared(statement), dict(values))
        finally:
            record_statement(seconds=time.perf_counter() - started)
        rows = Rows(found)
        rows.rowcount = rowcount
        return rows

    def scalar(self, statement: TextClause, values: Mapping[str, Any]) -> Any:
        """Return the first column of the first row, or None."""
        row = self.execute(statement, values).first()
        return None if row is None else row[0]


class SingleStatement:
    """Drop-in for Session when the transaction is a single statement.

    It costs a third of the processor time and half the round trips. The statement is
    committed when `execute` returns; a later exception does not roll it back.
    """

    def __init__(self, engine: Engine, settings: dict[str, str]) -> None:
        self._engine, self._settings = engine, settings

    def execute(self, statement: TextClause, values: Mapping[str, Any]) -> Rows:
        """Run and commit; `statement` must return rows. Raises like `Database.transaction`.

        A statement that PostgreSQL aborts because of another transaction, for example in
        a deadlock, is run again.
        """
        started = time.perf_counter()
        try:
            with _translated():
                return self._execute_with_retry(connections.prepared(statement), dict(values))
        finally:
            record_statement(seconds=time.perf_counter() - started)

    def _execute_with_retry(self, statement: connections.Prepared, values: dict[str, Any]) -> Rows:
        for _ in range(_TRIES - 1):
            try:
                return self._execute(statement, values)
            except TransactionRollbackError as error:
                log.info("statement_repeated", pgcode=error.pgcode)
            # Let the other transaction take the lock that it waits for; a statement that is
            # repeated at once may take it away again. The jitter parts two losers.
            time.sleep(random.uniform(*_RETRY_SECONDS))  # noqa: S311
        return self._execute(statement, values)

    def _execute(self, statement: connections.Prepared, values: dict[str, Any]) -> Rows:
        with _pooled(self._engine) as connection:
            return Rows(connection.run_single(statement, values, settings=self._settings))


Transaction = Session | PlainTransaction  # of a function that sends several statements of SQL text
Executor = Transaction | SingleStatement  # of a function that sends one statement


def count_changed(result: Result[Any] | Rows) -> int:
    """How many rows an INSERT, UPDATE or DELETE changed."""
    assert isinstance(result, CursorResult | Rows)
    return result.rowcount


@contextmanager
def _pooled(engine: Engine) -> Iterator[connections.Connection]:
    """A connection of the pool, which rolls back what is not committed at the end."""
    pooled = engine.raw_connection()
    connection = cast(connections.Connection, pooled.dbapi_connection)
    try:
        yield connection
    except psycopg2.Error as error:
        if connection.closed:  # psycopg2 may report a cut connection as a plain DatabaseError
            pooled.invalidate(error)
            raise psycopg2.OperationalError(*error.args) from error
        raise
    finally:
        pooled.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors of `Database.transaction` for those of psycopg2 and of the pool."""
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise _translate(error) from error
    except (OperationalError, PoolTimeout) as error:
        raise _translate(error) from error
    except psycopg2.Error as error:
        if error.pgcode == USER_UNDER_ERASURE:
            raise _user_being_erased() from error
        raise


def _connection_of(db: Session) -> connections.Connection:
    return cast(connections.Connection, db.connection().connection.dbapi_connection)


def _settings_of(tenant_id: str | None) -> dict[str, str]:
    # Local to the transaction: a plain SET would leak through the pool.
    return {} if tenant_id is None else {"role": APP_ROLE, "app.tenant_id": tenant_id}


def _user_being_erased() -> Conflict:
    detail = "The user is being erased; nothing new is accepted meanwhile."
    return Conflict(detail, code="user_being_erased")


def _translate(error: Exception) -> Exception:
    cause = getattr(error, "orig", error)
    pgcode = getattr(cause, "pgcode", None)
    if pgcode in _DISK_FULL:
        return StorageFull("The database has no room left.")
    if isinstance(cause, psycopg2.Error) and pgcode and not pgcode.startswith(TRANSIENT_SQLSTATES):
        return error
    log.warning("database_unavailable", error=type(cause or error).__name__, pgcode=pgcode)
    return Unavailable("The database cannot be reached right now; try again shortly.")
