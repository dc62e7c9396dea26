"""Who is served next, and with how many pages. Pure functions; `python -m bench.queue` tries them.

Turns go round the tenants and, within a tenant, round its people, so nobody's pile of documents
delays another person's. A turn is one page range of about RANGE_SECONDS. A newcomer, that is a
person who was not served since the arrival of their oldest waiting document, goes first.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

RANGE_SECONDS = 3.0  # of work per page range: progress moves, and a lost range costs little
FIRST_PAGES = 5  # of a range before anybody knows how long this document's pages take
SHORT_PAGES = 6  # of a document that one worker does alone, since two would hardly be quicker
SMALLEST_RANGE = 4  # pages; below, the neighbours that each range reads cost more than it gains
# In the simulation, 10 makes a person's short documents wait a third as long as 1 does (p95),
# and the slowest large one 14 % longer.
PATIENCE = 10
PAGE_SECONDS = 0.25  # expected of a document of which no range is done
PAGE_BYTES = 50_000  # expected of a document that nobody has opened


@dataclass(frozen=True, slots=True)
class Candidate:
    """The job that a person's next turn would serve.

    `arrived_at` is when the person's oldest waiting document arrived. `tenant_arrived_at` is the
    same for the whole tenant. The times of the last turns are None before the first one.
    """

    job_id: UUID
    tenant_id: str
    person: str
    arrived_at: datetime
    tenant_arrived_at: datetime
    tenant_served_at: datetime | None
    person_served_at: datetime | None

    @property
    def is_newcomer(self) -> bool:
        return self.person_served_at is None or self.person_served_at < self.arrived_at


def in_order(candidates: Iterable[Candidate], *, after_newcomer: bool) -> list[Candidate]:
    """`candidates`, the one to be served first at the front.

    Newcomers go before all others. But if the last turn was a newcomer's (`after_newcomer`), the
    tenant that has waited longest comes first, and in it the person who has. Someone who was
    never served has waited since their arrival. So a stream of new people overtakes nobody for
    ever: every other turn counts only those who have waited longer.
    """
    turns = sorted(candidates, key=_waiting_since)
    if after_newcomer:
        return turns
    newcomers = [candidate for candidate in turns if candidate.is_newcomer]
    newcomers.sort(key=lambda candidate: candidate.arrived_at)
    return newcomers + [candidate for candidate in turns if not candidate.is_newcomer]


def _waiting_since(candidate: Candidate) -> tuple[datetime, datetime]:
    tenant, person = candidate.tenant_served_at, candidate.person_served_at
    return (
        max(tenant or candidate.tenant_arrived_at, candidate.tenant_arrived_at),
        max(person or candidate.arrived_at, candidate.arrived_at),
    )


def finish_by(arrived_at: datetime, *, pages_left: int, page_seconds: float | None) -> datetime:
    """When a document should be ready: PATIENCE times its own work after its arrival.

    Within one person's turns the earliest goes first. So small documents overtake large ones,
    but only those that arrive within PATIENCE times the large one's own work.
    """
    seconds = pages_left * (PAGE_SECONDS if page_seconds is None else page_seconds)
    return arrived_at + timedelta(seconds=PATIENCE * seconds)


def guess_pages(size_bytes: int) -> int:
    """The pages that a PDF of this size may have, before anybody has opened it."""
    return 1 + size_bytes // PAGE_BYTES


def next_range_pages(
    pages_left: int, *, page_seconds: float | None, most: int, workers: int
) -> int:
    """How many pages the next range takes off the front of `pages_left`.

    About RANGE_SECONDS of work by `page_seconds`, which earlier ranges of this document took
    per page (None: none is done), and at most `most` pages. Towards the end each range is half
    of a worker's share of the rest, so that all workers end together (guided self-scheduling,
    Polychronopoulos and Kuck, 1987). A short document is divided evenly.
    """
    timely = FIRST_PAGES if page_seconds is None else max(1, int(RANGE_SECONDS / page_seconds))
    timely = min(timely, most)
    smallest = min(SMALLEST_RANGE, timely)
    if page_seconds is None and pages_left <= min(SHORT_PAGES, most):
        return pages_left
    is_short = page_seconds is None and pages_left <= workers * timely
    share = math.ceil(pages_left / (workers if is_short else 2 * workers))
    return min(pages_left, timely, max(smallest, share))


def update_page_seconds(before: float | None, *, seconds: float, pages: int) -> float:
    """Seconds per page after a range of `pages` took `seconds`; the latest range counts half."""
    latest = seconds / pages
    return latest if before is None else (before + latest) / 2
