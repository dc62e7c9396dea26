"""Connections that save round trips: BEGIN is sent together with the first statement.

psycopg2 sends BEGIN as a separate message, a pool that pings first sends another, and binding the
transaction to a tenant is a third. These three round trips often take as long as the request's
own statements. Here they are one message. A transaction of a single statement has its COMMIT in
the same message, and its statement is prepared, because parsing and planning often take longer
than the execution. See docs/adr/0009.
"""

import hashlib
import select
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, connection, cursor
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.psycopg2 import dialect
from sqlalchemy.exc import InvalidatePoolError

UNCHECKED_SECONDS = 30.0  # a connection that was used more recently is not tested
_USED_AT = "used_at"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement for `Connection.run_single`: the SQL that prepares it and that executes it."""

    name: str
    preparation: str
    execution: str


@lru_cache(maxsize=256)
def prepared(statement: TextClause) -> Prepared:
    """`statement` for PostgreSQL's PREPARE, which infers the types of the parameters."""
    numbered: Any = dialect
    compiled = statement.compile(dialect=numbered(paramstyle="numeric_dollar"))
    query, places = str(compiled), getattr(compiled, "positiontup", None) or ()
    name = f"s{hashlib.sha256(query.encode()).hexdigest()[:16]}"
    given = ", ".join(f"%({place})s" for place in places)
    return Prepared(name, f"PREPARE {name} AS {query}", f"EXECUTE {name}{given and f'({given})'}")


class Connection(connection):
    """A psycopg2 connection that sends BEGIN with the first statement. No server-side cursors."""

    opening = "BEGIN"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cursor_factory = Cursor
        self.autocommit = True  # keeps psycopg2 from sending BEGIN itself
        self._prepared: set[str] = set()

    def bind(self, *, settings: dict[str, str]) -> None:
        """Apply `settings` to the next transaction and to no later one.

        Rolls back a transaction that is still open, because it would run without them.
        """
        self.rollback()
        if settings:
            self.opening = f"BEGIN; {self._set_settings(settings)}"

    def run_single(
        self, statement: Prepared, values: dict[str, Any], *, settings: dict[str, str]
    ) -> list[tuple[Any, ...]]:
        """Run a statement as a whole transaction, in one round trip; return its rows.

        The statements of one message are one transaction (PostgreSQL manual, 53.2.2.1,
        "Multiple Statements in a Simple Query"): PostgreSQL commits it before it answers, and
        rolls all of it back if one of them fails. So `settings` end with the message.

        PostgreSQL keeps a plan until a table's definition or statistics change, and never
        uses it for another role (manual, PREPARE, "Notes").
        """
        opening = f"{self._set_settings(settings)}; " if settings else ""
        self.rollback()
        with self.cursor() as sender:
            if statement.name not in self._prepared:
                cursor.execute(sender, opening + statement.preparation)
                self._prepared.add(statement.name)
            cursor.execute(sender, opening.replace("%", "%%") + statement.execution, values)
            return sender.fetchall()

    def run(self, statement: Prepared, values: dict[str, Any]) -> tuple[list[tuple[Any, ...]], int]:
        """Run a statement in the transaction; return its rows, and how many it changed.

        The first statement of a transaction begins it, with the settings given to `bind`.
        """
        with self.cursor() as sender:
            if statement.name not in self._prepared:
                sender.execute(statement.preparation)
                self._prepared.add(statement.name)
            sender.execute(statement.execution, values)
            return (sender.fetchall() if sender.description else []), sender.rowcount

    def _set_settings(self, settings: dict[str, str]) -> str:
        chosen = ", ".join(
            f"set_config({_quoted(name, self)}, {_quoted(value, self)}, true)"
            for name, value in settings.items()
        )
        return f"SELECT {chosen}"

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def _end(self, statement: str) -> None:
        self.opening = "BEGIN"
        if not self.closed and self.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            with self.cursor() as sender:
                cursor.execute(sender, statement)


class Cursor(cursor):
    """Sends the connection's `opening` together with a transaction's first statement."""

    connection: Connection

    def execute(self, query: Any, vars: Any = None) -> None:  # psycopg2's name
        if self.connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            opening = self.connection.opening
            if vars is not None:
                opening = opening.replace("%", "%%")
            if not isinstance(query, str):
                query = query.decode() if isinstance(query, bytes) else query.as_string(self)
            query = f"{opening}; {query}"
        super().execute(query, vars)

    # These do not call `execute`, so they open the transaction themselves.

    def executemany(self, query: Any, vars_list: Any) -> None:
        self._open()
        super().executemany(query, vars_list)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        self._open()
        super().copy_expert(sql, file, size)

    def callproc(self, procname: Any, parameters: Any = None) -> None:
        self._open()
        super().callproc(procname, parameters)

    def _open(self) -> None:
        if self.connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            super().execute(self.connection.opening)


def _quoted(text: str, conn: Connection) -> str:
    literal: Any = psycopg2.extensions.QuotedString(text)
    literal.prepare(conn)
    found: bytes = literal.getquoted()
    return found.decode()


def record_use(conn: Connection, record: Any) -> None:
    """Handler of the pool's `checkin` event."""
    record.info[_USED_AT] = time.monotonic()


def check(conn: Connection, record: Any, _: object) -> None:
    """Handler of the pool's `checkout` event: test the connection if it may be dead.

    If the server ended or was restarted, the connection has something to read: the server's last
    message, or the end of the stream. Raises InvalidatePoolError; the pool then reconnects.
    """
    used_at = record.info.get(_USED_AT)
    if used_at is None:
        return  # just connected
    if not _has_input(conn) and time.monotonic() - used_at < UNCHECKED_SECONDS:
        return
    try:
        with conn.cursor() as asker:
            cursor.execute(asker, "SELECT 1")
    except psycopg2.Error as error:
        raise InvalidatePoolError from error


def _has_input(conn: Connection) -> bool:
    if conn.closed:
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))
