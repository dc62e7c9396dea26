"""kombu's Redis transport, less one way to die.

What stands in the queue need not be a message: whoever can write to Redis can
push anything, and kombu lets the decoder's error end the worker.
"""

from queue import Empty
from typing import Any

from kombu.transport import redis

from core.telemetry import get_logger

log = get_logger(__name__)


class Channel(redis.Channel):
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("message_discarded", error=type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    Channel = Channel
