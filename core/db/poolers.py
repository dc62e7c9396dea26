"""Refuses a connection pooler that this service cannot work behind, when a process starts.

The service sets timeouts per connection, prepares statements and listens for notifications, so it
needs a connection of its own to the same PostgreSQL session. PgBouncer gives one in session mode
only. docs/adr/0009 has the details.
"""

import psycopg2

from core.db.engine import OPTIONS
from core.settings import SettingsError

_ROUNDS = 4  # a pooler may hand out its connections in turn
_CONNECT_SECONDS = 3
_NEEDED = "the service needs session pooling, see docs/deployment.md"


def check_pooler(url: str) -> None:
    """Raise SettingsError, one line, if `url` leads to a pooler in the wrong mode.

    Opens two connections. Does nothing while PostgreSQL cannot be reached.
    """
    problem = _find_problem(url.replace("postgresql+psycopg2://", "postgresql://", 1))
    if problem:
        raise SettingsError(f"DATABASE_URL: {problem}")


def _find_problem(url: str) -> str | None:
    connections = []
    try:
        for _ in range(2):
            made = psycopg2.connect(url, options=OPTIONS, connect_timeout=_CONNECT_SECONDS)
            made.autocommit = True
            connections.append(made)
        if _share_sessions(*connections):
            return f"leads to a pooler in transaction mode; {_NEEDED}"
        if _ask(connections[0], "SHOW statement_timeout") == "0":
            return f"leads to a pooler that drops the connection's options; {_NEEDED}"
    except psycopg2.OperationalError as error:
        if "unsupported startup parameter" in str(error):
            return f"leads to a pooler that refuses the connection's options; {_NEEDED}"
    finally:
        for made in connections:
            made.close()
    return None


def _share_sessions(
    first: psycopg2.extensions.connection, second: psycopg2.extensions.connection
) -> bool:
    """Whether two open connections reach the same PostgreSQL process, or one reaches several."""
    seen: tuple[set[object], set[object]] = (set(), set())
    for _ in range(_ROUNDS):
        seen[0].add(_ask(first, "SELECT pg_backend_pid()"))
        seen[1].add(_ask(second, "SELECT pg_backend_pid()"))
    return len(seen[0]) > 1 or len(seen[1]) > 1 or not seen[0].isdisjoint(seen[1])


def _ask(connection: psycopg2.extensions.connection, question: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
        return row[0] if row else None
