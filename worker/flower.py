"""Events for Flower about the current task, whose message has no arguments."""

from collections.abc import Sequence
from contextlib import suppress

from celery import current_task
from celery.exceptions import Ignore

from core.documents.ingestion import Outcome
from core.documents.jobs import Claim


def show_claim(claim: Claim) -> None:
    """Show the claim as the task's arguments."""
    _send("task-started", args=str(claim))


def show_failures(outcomes: Sequence[Outcome]) -> None:
    """Show the task as failed if a document failed.

    Then it raises Ignore, so that Celery does not report success.
    """
    failures = [f"{outcome.claim}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    if failures:
        _send("task-failed", exception="; ".join(failures), traceback="")
        raise Ignore


def _send(event: str, **fields: str) -> None:
    """Without Redis the event is lost, and the work goes on."""
    with suppress(Exception):
        current_task.send_event(event, retry=False, **fields)  # type: ignore[arg-type]
