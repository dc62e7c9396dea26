"""The faults of a soak. Each repairs only what a supervisor would: it restarts ended processes."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil
import psycopg2
import redis

from launcher.servers import PostgresServer, RedisServer
from launcher.servers.postgres import StopMode
from tests.harness.stack import NotReady, Stack

WORKERS = ("worker", "worker-2")
PAUSE_SECONDS = (0.2, 3.0)  # how long a server is away
CATCH_SECONDS = 4.0
LONG_SECONDS = 0.25
RENEWED_SECONDS = 2.5  # a lease of 4 s that is renewed each second has at least this left
CUTS = 10  # of all connections to Redis


@dataclass(frozen=True)
class Ground:
    """The processes of the service; `chance` chooses the victim and the time of a fault."""

    stack: Stack
    postgres: PostgresServer
    redis: RedisServer
    chance: random.Random = field(default_factory=random.Random)

    def any_worker(self) -> str:
        return self.chance.choice(WORKERS)

    def wait_a_moment(self) -> None:
        time.sleep(self.chance.uniform(*PAUSE_SECONDS))

    @contextmanager
    def database(self) -> Iterator[psycopg2.extensions.cursor]:
        connection = psycopg2.connect(self.postgres.url)
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def wait_until_busy(self) -> None:
        """Wait until a worker holds a range, for a few seconds at most."""
        with self.database() as cursor, suppress(NotReady):
            self.stack.wait_until(lambda: _held(cursor), what="a range is held", seconds=3)


def catch_in_mid_range(ground: Ground) -> str:
    """Freeze a worker while it holds a range, or after CATCH_SECONDS in any state."""
    worker, deadline = ground.any_worker(), time.monotonic() + CATCH_SECONDS
    while True:
        ground.stack.signal(worker, signal.SIGSTOP, group=True)
        if _is_held_for_long(ground) or time.monotonic() > deadline:
            return worker
        ground.stack.signal(worker, signal.SIGCONT, group=True)
        time.sleep(ground.chance.uniform(0.01, 0.05))


def _is_held_for_long(ground: Ground) -> bool:
    """Whether one worker holds a range for longer than a range takes."""
    with ground.database() as cursor:
        before = _held(cursor)
        time.sleep(LONG_SECONDS if before else 0)
        return not before.isdisjoint(_held(cursor))


def _held(cursor: psycopg2.extensions.cursor) -> set[tuple[int, int]]:
    """Ranges that living workers hold. A dead worker's ranges are held too, but not renewed."""
    cursor.execute(
        "SELECT id, attempt FROM page_ranges WHERE state = 'running'"
        f" AND lease_expires_at > clock_timestamp() + interval '{RENEWED_SECONDS} seconds'"
    )
    return set(cursor.fetchall())


def kill_pool_process(ground: Ground) -> None:
    worker = catch_in_mid_range(ground)
    for child in psutil.Process(ground.stack.pid(worker)).children():
        child.kill()
    ground.stack.signal(worker, signal.SIGCONT, group=True)


def kill_worker(ground: Ground) -> None:
    worker = catch_in_mid_range(ground)
    ground.stack.kill(worker)
    ground.wait_a_moment()
    ground.stack.start(worker, kind="worker")


def stop_worker(ground: Ground) -> None:
    worker = catch_in_mid_range(ground)
    ground.stack.signal(worker, signal.SIGCONT, group=True)
    ground.stack.stop(worker)
    ground.stack.start(worker, kind="worker")


def freeze_worker(ground: Ground) -> None:
    """Freeze a worker past its lease: when it wakes up, another worker has its range."""
    worker = catch_in_mid_range(ground)
    time.sleep(float(ground.stack.env["LEASE_SECONDS"]) + 1.5)
    ground.stack.signal(worker, signal.SIGCONT, group=True)


def kill_beat(ground: Ground) -> None:
    ground.stack.kill("beat")
    ground.wait_a_moment()
    ground.stack.start("beat")


def kill_web(ground: Ground) -> None:
    ground.stack.kill("web")
    ground.wait_a_moment()
    ground.stack.start("web")


def kill_redis(ground: Ground) -> None:
    ground.wait_until_busy()
    ground.redis.kill()
    ground.wait_a_moment()
    ground.redis.start()


def freeze_redis(ground: Ground) -> None:
    """Redis' port stays open, but it does not answer."""
    ground.wait_until_busy()
    os.kill(ground.redis.pid, signal.SIGSTOP)
    ground.wait_a_moment()
    os.kill(ground.redis.pid, signal.SIGCONT)


def stop_redis(ground: Ground) -> None:
    ground.wait_until_busy()
    ground.redis.stop()
    ground.wait_a_moment()
    ground.redis.start()


def empty_redis(ground: Ground) -> None:
    ground.wait_until_busy()
    with redis.Redis.from_url(ground.redis.url) as server:
        server.flushall()


def cut_redis(ground: Ground) -> None:
    with redis.Redis.from_url(ground.redis.url) as server:
        for _ in range(CUTS):
            server.client_kill_filter(skipme=True)
            time.sleep(0.1)


def restart_postgres(ground: Ground) -> None:
    _restart_postgres(ground, "fast")


def crash_postgres(ground: Ground) -> None:
    _restart_postgres(ground, "immediate")


def _restart_postgres(ground: Ground, mode: StopMode) -> None:
    ground.wait_until_busy()
    port = ground.postgres.port
    ground.postgres.stop(mode)
    ground.wait_a_moment()
    ground.postgres.start()
    assert ground.postgres.port == port, "somebody took PostgreSQL's port; the soak is void"


FAULTS: dict[str, Callable[[Ground], None]] = {
    "pool process killed": kill_pool_process,
    "worker killed": kill_worker,
    "worker stopped": stop_worker,
    "worker frozen past its lease": freeze_worker,
    "beat killed": kill_beat,
    "web killed": kill_web,
    "Redis killed": kill_redis,
    "Redis frozen": freeze_redis,
    "Redis restarted": stop_redis,
    "Redis emptied": empty_redis,
    "Redis connections cut": cut_redis,
    "PostgreSQL restarted": restart_postgres,
    "PostgreSQL crashed": crash_postgres,
}


def plan_faults(chance: random.Random, *, count: int, kinds: Sequence[str]) -> list[str]:
    """The order of the faults, with all kinds equally often."""
    names: list[str] = []
    while len(names) < count:
        names += chance.sample(kinds, k=len(kinds))
    return names[:count]
