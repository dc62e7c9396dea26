"""The workers that are alive: each announces itself to Redis every two seconds.

Redis' own clock decides when a worker counts as gone, so the hosts' clocks do not matter. After
a FLUSHALL the workers announce themselves again within seconds. No job depends on this: it
serves monitoring and the number of doorbell messages.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import redis

from core.queue.broker import WORK_QUEUE

ALIVE_SECONDS = 10  # five of Celery's heartbeats

_KEY = "rag-workers"

_ANNOUNCE = "redis.call('ZADD', KEYS[1], redis.call('TIME')[1] + ARGV[2], ARGV[1])"
_LOOK = """
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return {redis.call('ZCARD', KEYS[1]), redis.call('LLEN', KEYS[2])}
"""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Living workers, and messages in the work queue that no worker has fetched."""

    workers: int
    waiting: int


def announce(client: redis.Redis, *, worker: str, seconds: int = ALIVE_SECONDS) -> None:
    """Say that `worker` is alive for the next `seconds`. Does nothing while Redis is away."""
    with contextlib.suppress(redis.RedisError):
        client.eval(_ANNOUNCE, 1, _KEY, worker, str(seconds))


def withdraw(client: redis.Redis, *, worker: str) -> None:
    """Say that `worker` ends. Does nothing while Redis is away."""
    with contextlib.suppress(redis.RedisError):
        client.zrem(_KEY, worker)


def look(client: redis.Redis) -> QueueStatus | None:
    """Ask Redis in one round trip; None if it does not answer in the client's timeout."""
    try:
        found: Any = client.eval(_LOOK, 2, _KEY, WORK_QUEUE)
    except redis.RedisError:
        return None
    return QueueStatus(workers=int(found[0]), waiting=int(found[1]))
