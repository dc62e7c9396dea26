"""The Celery application: its queue, limits and schedule, each with the reason for it."""

import contextlib
import logging
import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.schedules import schedule
from redis import Redis

from core.bootstrap import Services, bootstrap
from core.db import check_pooler
from core.queue import worker_heartbeats
from core.queue.broker import WORK_QUEUE, celery_config, create_redis
from core.settings import Settings, get_settings
from core.telemetry import configure_logging

SWEEP_TASK = "ingest.sweep"
MEMORY_TASK = "memory.embed_messages"
TIDY_TASK = "ingest.tidy_up"
STATISTICS_TASK = "ingest.count_terms"
VECTORS_TASK = "ingest.index_vectors"
ANSWERS_TASK = "chat.close_abandoned"
ERASURE_TASK = "users.erase"
QUEUES = (WORK_QUEUE,)

SOFT_LIMIT = 600  # s; a range that takes longer is aborted and tried again
HARD_LIMIT = 660
TIDY_SECONDS = 3600
VISIBILITY_TIMEOUT = 1800

# A task longer than the visibility timeout would be delivered twice.
assert SOFT_LIMIT < HARD_LIMIT < VISIBILITY_TIMEOUT

app = Celery("rag-chat-service", include=["worker.tasks"])


def _configuration() -> dict[str, Any]:
    settings = get_settings()
    return celery_config(settings, socket_timeout=30) | {
        "task_acks_late": True,  # if a worker dies, its message is delivered again
        # The lease brings lost work back and counts the attempts. With reject_on_worker_lost, a
        # document that kills its worker would be delivered for ever.
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,  # a worker must not hold messages that others could take
        "task_soft_time_limit": SOFT_LIMIT,
        "task_time_limit": HARD_LIMIT,
        # A lost connection to Redis must not abort the range in progress.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_max_tasks_per_child": 1000,
        # s; a new child loads the model first. On a busy machine Celery's default of 4 kills it.
        "worker_proc_alive_timeout": 60,
        "worker_soft_shutdown_timeout": 10,  # s; then a stopped worker returns its message
        # An idle worker would only sleep for the whole timeout.
        "worker_enable_soft_shutdown_on_idle": False,
        "broker_connection_max_retries": None,  # wait for Redis for ever
        "broker_connection_retry_on_startup": True,
        # A full Redis delivers a message and then refuses to record the delivery. This is no
        # connection error, and without this option the worker would exit.
        "broker_channel_error_retry": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": True,  # for Flower
        "beat_scheduler": "worker.schedule:LocalScheduler",
        "beat_schedule": _schedule(settings),
    }


def _schedule(settings: Settings) -> dict[str, Any]:
    tasks = {
        "sweep": (SWEEP_TASK, settings.sweep_seconds),
        "close-answers": (ANSWERS_TASK, settings.sweep_seconds),
        "embed-messages": (MEMORY_TASK, settings.sweep_seconds),
        "erase-users": (ERASURE_TASK, settings.sweep_seconds),
        "count-terms": (STATISTICS_TASK, 4 * settings.sweep_seconds),
        "index-vectors": (VECTORS_TASK, 4 * settings.sweep_seconds),
        "tidy-up": (TIDY_TASK, TIDY_SECONDS),
    }
    return {
        # `queue` is for other schedulers: `worker.schedule` sends no messages.
        name: {"task": task, "schedule": schedule(seconds), "options": {"queue": WORK_QUEUE}}
        for name, (task, seconds) in tasks.items()
    }


app.add_defaults(_configuration)  # read at first use: importing this needs no settings

_services: Services | None = None
_lock = threading.Lock()


def services() -> Services:
    """This process's services, built at the first use and so after the pool's fork."""
    global _services
    with _lock:
        if _services is None:
            # A pool process needs one for its range and one for the lease, beat one per task.
            _services = bootstrap(get_settings(), pool_size=5)
        return _services


@signals.setup_logging.connect
def _log_as_json(**_: object) -> None:
    configure_logging(level=get_settings().log_level)
    # Celery's "received" and "succeeded" repeat the task's own line.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)


@signals.worker_init.connect
@signals.beat_init.connect
def _check_database(**_: object) -> None:
    check_pooler(get_settings().database_url)


@signals.worker_init.connect
def yield_to_requests(**_: object) -> None:
    """Make the nice value work across sessions.

    Linux may divide the processors between sessions first; a nice value then works only
    within its session (sched(7), "The autogroup feature").
    """
    niceness, leads_session = os.nice(0), os.getsid(0) == os.getpid()
    if niceness > 0 and leads_session:
        with contextlib.suppress(OSError):  # the kernel lacks the feature, or refuses
            Path("/proc/self/autogroup").write_text(str(niceness))


@signals.worker_process_init.connect
def _warm_up(**_: object) -> None:
    """Load the model and start the parsing child, before a document needs them."""
    services().embedder  # noqa: B018
    services().pdf_parser.warm_up()


@signals.worker_process_shutdown.connect
def _close(**_: object) -> None:
    if _services is not None:
        _services.close()


@lru_cache(maxsize=1)
def _redis() -> Redis:
    return create_redis(get_settings().redis_url)


@signals.heartbeat_sent.connect
def _announce(sender: Any, **_: object) -> None:
    """Runs every two seconds in the main process, so a worker that hangs soon counts as gone."""
    worker_heartbeats.announce(_redis(), worker=_own_name(sender.eventer.hostname))


@signals.worker_shutdown.connect
def _withdraw(sender: Any, **_: object) -> None:
    """Runs after the last heartbeat. The announcement of a killed worker expires."""
    worker_heartbeats.withdraw(_redis(), worker=_own_name(sender.hostname))


def _own_name(node: str) -> str:
    return f"{node}:{os.getpid()}"  # by default, two workers of one host have the same name
