"""The doorbell: Celery messages that say "there is work", and nothing more.

The `jobs` table is the truth. A message names no job: the worker that receives it claims the
range that is due, so a lost, doubled or late message does no harm. Nothing here ever raises.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from celery import Celery

from core.queue.broker import WORK_QUEUE, WORK_TASK, celery_config, create_redis
from core.queue.worker_heartbeats import look
from core.settings import Settings
from core.telemetry import get_logger

log = get_logger(__name__)

MAX_LANES = 16  # messages rung at once: the most workers one document can occupy
MAX_PENDING = 8  # rings that wait for the thread; more would wait for a Redis that is away
TIMEOUT_SECONDS = 2


class Doorbell:
    """Rings for workers from a thread of its own, so that no caller ever waits for Redis.

    A ring that fails is dropped, because the sweep rings again.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = Celery("doorbell")
        self._app.conf.update(celery_config(settings, socket_timeout=TIMEOUT_SECONDS))
        self._redis = create_redis(settings.redis_url, timeout_seconds=TIMEOUT_SECONDS)
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
        presence = look(self._redis)
        if presence is None:
            log.warning("queue_unreachable")
            return None
        return presence.waiting

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
        except Exception as error:  # whatever publishing raises, the jobs table has the job
            log.warning("doorbell_failed", error=type(error).__name__)
        finally:
            with self._lock:
                self._pending -= 1
