"""The doorbell: Celery messages that say "there is work", and nothing more.

The `jobs` table is the truth. A message names no job: the worker that receives it claims the
range that is due, so a lost, doubled or late message does no harm. Nothing here ever raises.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from celery import Celery

from core.queue.broker import WORK_QUEUE, WORK_TASK, celery_config
from core.queue.transport import MAX_WAITING
from core.settings import Settings
from core.telemetry import get_logger

log = get_logger(__name__)

MAX_PENDING = 8  # rings that wait for the thread; further ones are dropped
TIMEOUT_SECONDS = 2


class Doorbell:
    """Rings for workers from a separate thread, so that no caller ever waits for Redis.

    A ring that fails is dropped, because the sweep rings again.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = Celery("doorbell")
        self._app.conf.update(celery_config(settings, socket_timeout=TIMEOUT_SECONDS))
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pending = 0

    def ring(self, count: int = 1, *, countdown: float = 0) -> "Future[None] | None":
        """Ensure that `count` messages wait in the queue, after `countdown` seconds.

        One is enough, however much is due: the worker that receives it rings again. Returns None
        if nothing is being sent now.
        """
        if countdown:
            timer = threading.Timer(countdown, self.ring, [count])
            timer.daemon = True
            timer.start()
            return None
        with self._lock:
            if self._pending >= MAX_PENDING:
                return None  # Redis is slow or away; the sweep will ring
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="doorbell")
            self._pending += 1
        return self._pool.submit(self._send, count)

    def _send(self, count: int) -> None:
        try:
            with self._app.producer_or_acquire() as producer:
                for _ in range(count):
                    self._app.send_task(
                        WORK_TASK,
                        queue=WORK_QUEUE,
                        producer=producer,
                        headers={MAX_WAITING: count},
                    )
        except Exception as error:  # no error matters: the jobs table has the job
            log.warning("doorbell_failed", error=type(error).__name__)
        finally:
            with self._lock:
                self._pending -= 1
