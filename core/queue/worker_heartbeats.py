"""Who is at work: workers tell Redis that they live, and whoever asks reads it in one round trip.

Redis' own clock decides, so hosts whose clocks differ do no harm, and what a
FLUSHALL took is told anew within seconds. Nothing here is a truth that work
depends on: it is for monitoring.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.queue.doorbell import WORK_QUEUE

ALIVE_SECONDS = 10  # five of Celery's heartbeats

_KEY = "rag-workers"
_PATIENCE = 0.25  # s; a black-holed Redis would hold its caller for ever

_ANNOUNCE = "redis.call('ZADD', KEYS[1], redis.call('TIME')[1] + ARGV[2], ARGV[1])"
_LOOK = """
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return {redis.call('ZCARD', KEYS[1]), redis.call('LLEN', KEYS[2])}
"""


@dataclass(frozen=True, slots=True)
class Presence:
    """Workers that were heard of lately, and messages that none of them has fetched."""

    workers: int
    waiting: int


def create_redis(url: str) -> redis.Redis:
    """A client that gives up quickly: for asking, never for what must not be lost."""
    return redis.Redis.from_url(
        url.replace("redis+socket://", "unix://", 1),
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        # Once more on a connection that Redis closed; not after a timeout.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def announce(client: redis.Redis, *, worker: str, seconds: int = ALIVE_SECONDS) -> None:
    """Say that `worker` lives, good for `seconds`. Quiet while Redis is away."""
    with contextlib.suppress(redis.RedisError):
        client.eval(_ANNOUNCE, 1, _KEY, worker, str(seconds))


def withdraw(client: redis.Redis, *, worker: str) -> None:
    """Say that `worker` ends. Quiet while Redis is away."""
    with contextlib.suppress(redis.RedisError):
        client.zrem(_KEY, worker)


def look(client: redis.Redis) -> Presence | None:
    """What Redis knows, in one round trip of at most half a second; None if it is away."""
    try:
        found: Any = client.eval(_LOOK, 2, _KEY, WORK_QUEUE)
    except redis.RedisError:
        return None
    return Presence(workers=int(found[0]), waiting=int(found[1]))
