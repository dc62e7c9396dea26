"""Takes a worker's next turn: claims a page range, and rings for the next worker."""

import random
import time
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.documents import jobs, page_ranges
from core.documents.jobs import Claim

CLAIM_TRIES = 5
CLAIM_PAUSE_SECONDS = 0.05  # longest pause between two tries; a claim takes some milliseconds


@dataclass(frozen=True, slots=True)
class Turn:
    """A claim, and whether more work was due when it was made."""

    claim: Claim
    more_is_due: bool


def take_turn(services: Services) -> Turn | None:
    """Claim the next range. Tries again while ranges are due that others are just claiming.

    A worker that claims a part of a range blocks the rest of it until its commit.
    """
    for _ in range(CLAIM_TRIES):
        with services.database.transaction(tenant_id=None) as db:
            turn = claim(services, db)
            if turn is not None or not page_ranges.is_any_due(db):
                return turn
        time.sleep(random.uniform(0, CLAIM_PAUSE_SECONDS))  # noqa: S311  # no secret
    return None


def claim(services: Services, db: Session, *, job_id: UUID | None = None) -> Turn | None:
    """Claim the next range, of `job_id` or of the person whose turn it is."""
    settings = services.settings
    found = jobs.claim_range(
        db,
        lease_seconds=settings.lease_seconds,
        max_pages=settings.range_pages,
        workers=settings.worker_concurrency,
        job_id=job_id,
        stopped_at=services.stopped_at if settings.worker_concurrency > 1 else None,
    )
    return None if found is None else Turn(found, found.leaves_pages or page_ranges.is_any_due(db))


def ring_if_due(services: Services) -> None:
    """Ring for another worker if a range is due."""
    if page_ranges.is_any_due(services.database.autocommit(tenant_id=None)):
        services.queue.ring()
