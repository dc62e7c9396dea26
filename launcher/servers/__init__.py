"""PostgreSQL with pgvector and Redis from Python wheels, for `make run` and the tests.

Both listen on 127.0.0.1 only, with a password, and keep everything below one
directory. They use no sockets in the file system, because the path of such a socket
may have 107 bytes at most (unix(7)) and the path of a checkout may be longer. Each
server locks its directory as long as it runs: a second start waits for a server that is
ending, and fails if it goes on.
"""

from pathlib import Path

from launcher.servers.postgres import PostgresServer
from launcher.servers.redis import RedisServer
from launcher.servers.server import ServerError, free_port, last_line, port_is_free, try_port

__all__ = [
    "PostgresServer",
    "RedisServer",
    "ServerError",
    "free_port",
    "last_line",
    "port_is_free",
    "start_postgres",
    "start_redis",
    "try_port",
]


def start_postgres(
    data_dir: Path, *, port: int | None = None, durable: bool = True
) -> PostgresServer:
    """A running PostgreSQL with its data in `data_dir`, which the first start creates.

    `durable=False` is faster but not safe against a crash of the machine: for tests.
    Raises ServerError.
    """
    server = PostgresServer(data_dir, port=port, durable=durable)
    server.start()
    return server


def start_redis(data_dir: Path, *, port: int | None = None) -> RedisServer:
    """A running Redis with its data in `data_dir`: `redis-server` on PATH, else the wheel's.

    Raises ServerError.
    """
    server = RedisServer(data_dir, port=port)
    server.start()
    return server
