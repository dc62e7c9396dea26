"""The tasks. Each has no arguments, makes one call of core, and logs the outcome.

Workers run `work`, beat runs the others (see `worker.schedule`).
"""

import time
from typing import Any

from celery import Task
from celery.exceptions import Ignore

from core.conversations import erasure, memory, message_index
from core.conversations.sweeping import close_abandoned
from core.documents import ingestion, sweeping
from core.errors import Unavailable
from core.queue.broker import WORK_TASK
from core.search import term_statistics, vector_index, word_index
from core.telemetry import get_logger, log_context, measure_database
from worker import flower
from worker.app import (
    ANSWERS_TASK,
    ERASURE_TASK,
    MEMORY_TASK,
    STATISTICS_TASK,
    SWEEP_TASK,
    TIDY_TASK,
    VECTORS_TASK,
    app,
    services,
)

log = get_logger(__name__)


class LoggedTask(Task):  # type: ignore[type-arg]  # not generic at run time
    """Adds a log context to each run, and logs its outcome, time and database statements."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started, outcome = time.perf_counter(), "failed"
        with log_context(task=self.name, task_id=self.request.id), measure_database() as database:
            try:
                result = self.run(*args, **kwargs)
                outcome = "done"
                return result
            except Ignore:
                outcome = "document_failed"
                raise
            except Unavailable as error:
                outcome = error.code  # the sweep rings again once PostgreSQL is back
            finally:
                log.info(
                    "task",
                    outcome=outcome,
                    ms=round(1000 * (time.perf_counter() - started), 1),
                    db_statements=database.statements,
                    db_ms=round(1000 * database.seconds, 1),
                )


@app.task(base=LoggedTask, name=WORK_TASK)
def work() -> None:
    outcomes = ingestion.process_next_range(services(), go_on=True, on_claim=flower.show_claim)
    flower.show_failures(outcomes)


# Periodic tasks send no events, so that Flower shows only page ranges.
@app.task(base=LoggedTask, name=SWEEP_TASK, send_events=False)
def sweep() -> None:
    sweeping.ring_for_due_work(services())


@app.task(base=LoggedTask, name=ANSWERS_TASK, send_events=False)
def close_abandoned_answers() -> None:
    close_abandoned(services())


@app.task(base=LoggedTask, name=MEMORY_TASK, send_events=False)
def embed_messages() -> None:
    memory.embed_pending(services())


@app.task(base=LoggedTask, name=ERASURE_TASK, send_events=False)
def erase_users() -> None:
    erasure.erase_pending(services())


@app.task(base=LoggedTask, name=STATISTICS_TASK, send_events=False)
def count_terms() -> None:
    term_statistics.refresh(services())


@app.task(base=LoggedTask, name=VECTORS_TASK, send_events=False)
def index_vectors() -> None:
    vector_index.catch_up(services())
    word_index.catch_up(services())
    message_index.index_pending(services())


@app.task(base=LoggedTask, name=TIDY_TASK, send_events=False)
def tidy_up() -> None:
    sweeping.tidy_up(services())
