"""The doorbell: Celery messages that say «there is work», and nothing more.

The `jobs` table is the truth. A message carries no job: whoever hears it claims
the unit of work that is due, so a message that is lost, doubled or late does no
harm. Nothing here ever raises.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from celery import Celery

from core.settings import Settings
from core.telemetry import get_logger

log = get_logger(__name__)

WORK_QUEUE = "ingest"
SWEEP_QUEUE = "sweep"
WORK_TASK = "ingest.work"
SWEEP_TASK = "ingest.sweep"
MEMORY_TASK = "memory.embed_messages"

MAX_LANES = 16  # messages rung at once: the most workers one document can occupy
MAX_PENDING = 8


def celery_config(settings: Settings, *, socket_timeout: float) -> dict[str, Any]:
    """What publisher and worker have in common."""
    return {
        "broker_url": broker_url(settings),
        # No result backend: with a Redis one, a publish takes 19 s to fail when Redis is gone.
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],  # a pickle pushed into Redis is never loaded
        "task_default_queue": WORK_QUEUE,
        "task_routes": {
            SWEEP_TASK: {"queue": SWEEP_QUEUE},
            MEMORY_TASK: {"queue": SWEEP_QUEUE},
        },
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        "broker_transport_options": {
            "socket_connect_timeout": 1,
            "socket_timeout": socket_timeout,  # a black-holed Redis never returns without
            "max_retries": 1,
            "visibility_timeout": 1800,
            # A killed worker's messages come back within seconds, not 100.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
    }


def broker_url(settings: Settings) -> str:
    """kombu's spelling of REDIS_URL: it calls a Unix socket `redis+socket://`."""
    parts = urlsplit(settings.redis_url)
    scheme = "redis+socket" if parts.scheme == "unix" else parts.scheme
    return urlunsplit(parts._replace(scheme=scheme))


class Doorbell:
    """Rings workers from a thread of its own, so that no caller ever waits for Redis.

    A message that could not be sent is forgotten: the sweep rings again.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = Celery("doorbell")
        self._app.conf.update(celery_config(settings, socket_timeout=2))
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pending = 0

    def ring(self, count: int = 1, *, countdown: float = 0) -> "Future[None] | None":
        """Ask for `count` workers (at most MAX_LANES), `countdown` seconds from now."""
        with self._lock:
            if self._pending >= MAX_PENDING:
                return None  # Redis is slow or away; the sweep will ring
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="doorbell")
            self._pending += 1
        return self._pool.submit(self._send, min(count, MAX_LANES), countdown)

    def waiting(self) -> int | None:
        """Messages in the work queue that no worker has fetched; None if Redis is away."""
        try:
            with self._app.connection_or_acquire() as connection:
                channel: Any = connection.default_channel
                return int(channel.queue_declare(WORK_QUEUE, passive=True).message_count)
        except Exception as error:
            if "NOT_FOUND" in str(error) or "no queue" in str(error):
                return 0
            log.warning("queue_unreachable", error=type(error).__name__)
            return None

    def _send(self, count: int, countdown: float) -> None:
        try:
            with self._app.producer_or_acquire() as producer:
                for _ in range(count):
                    self._app.send_task(
                        WORK_TASK,
                        queue=WORK_QUEUE,
                        producer=producer,
                        countdown=countdown or None,
                    )
        except Exception as error:  # whatever a publish raises, the job is safe in its table
            log.warning("doorbell_failed", error=type(error).__name__)
        finally:
            with self._lock:
                self._pending -= 1
