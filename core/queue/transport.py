"""kombu's Redis transport with a limit on waiting messages, which survives invalid messages."""

import json
from queue import Empty
from typing import Any

from kombu.transport import redis

from core.telemetry import get_logger

log = get_logger(__name__)

# A message with this header is sent only if fewer messages than its value wait in the queue.
MAX_WAITING = "max_waiting"

_PUSH = """
if redis.call('LLEN', KEYS[1]) < tonumber(ARGV[2]) then redis.call('LPUSH', KEYS[1], ARGV[1]) end
"""


class Channel(redis.Channel):
    """Respects MAX_WAITING, and discards a queue entry that is no message."""

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        most = message.get("headers", {}).get(MAX_WAITING)
        if most is None:
            super()._put(queue, message, **options)
            return
        with self.conn_or_acquire() as client:
            client.eval(_PUSH, 1, queue, json.dumps(message), most)

    def _brpop_read(self, **options: Any) -> Any:
        # Any client of Redis can push anything, and in kombu an error of the decoder ends the
        # worker.
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("message_discarded", error=type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    Channel = Channel
