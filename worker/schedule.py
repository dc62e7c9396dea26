"""Runs the periodic tasks in threads of beat's own process.

As messages in the queue, they would wait behind page ranges of several seconds each, and pile up
in Redis while no worker runs. Here at most one task of each kind runs, and none waits. Sweeps
continue while Redis is away.
"""

import os
import threading
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from core.telemetry import get_logger
from worker.app import ANSWERS_TASK, SWEEP_TASK

log = get_logger(__name__)

URGENT = frozenset({SWEEP_TASK, ANSWERS_TASK})  # short tasks that a user may wait for
BACKGROUND_NICENESS = 15  # of the other tasks; requests have 0, page ranges 10


class LocalScheduler(PersistentScheduler):
    """Runs a due task in a thread, unless its previous run is not over."""

    producer = None  # type: ignore[assignment]  # nothing is sent, so there is no connection to wait for

    def __init__(self, *args: Any, **options: Any) -> None:
        self._running: dict[str, threading.Thread] = {}
        super().__init__(*args, **options)

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Start a due entry's task and return at once."""
        name = str(entry.task)
        before = self._running.get(name)
        if before is not None and before.is_alive():
            return
        task = self.app.tasks[name]
        self._running[name] = threading.Thread(target=_run, args=[task], name=name, daemon=True)
        self._running[name].start()


def _run(task: Any) -> None:
    if task.name not in URGENT:
        _lower_priority()
    try:
        task()
    except Exception:
        log.exception("tick_failed", task=task.name)


def _lower_priority() -> None:
    """Set the nice value of this thread and the threads it starts; Linux has one per thread."""
    if os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < BACKGROUND_NICENESS:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)
