"""kombu's Redis transport, with a limit on waiting messages and one way less to die."""

import json
from queue import Empty
from typing import Any

from kombu.transport import redis

from core.telemetry import get_logger

log = get_logger(__name__)

# The header of a message that is sent only while fewer messages than that wait in its queue.
MOST_WAITING = "most_waiting"

_PUSH = """
if redis.call('LLEN', KEYS[1]) < tonumber(ARGV[2]) then redis.call('LPUSH', KEYS[1], ARGV[1]) end
"""


class Channel(redis.Channel):
    """Honours MOST_WAITING, and survives a queue entry that is no message."""

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        most = message.get("headers", {}).get(MOST_WAITING)
        if most is None:
            super()._put(queue, message, **options)
            return
        with self.conn_or_acquire() as client:
            client.eval(_PUSH, 1, queue, json.dumps(message), most)

    def _brpop_read(self, **options: Any) -> Any:
        # Whoever can write to Redis can push anything, and kombu lets the decoder's error end
        # the worker.
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("message_discarded", error=type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    Channel = Channel
