"""Decides who is served next, and with how many pages. Pure; `python -m bench.queue` simulates it.

Turns go round the tenants and, within a tenant, round its people, so one person's many documents
do not delay another person's. A turn is one page range of about RANGE_SECONDS. A newcomer, that
is a person who has not been served since their oldest waiting document arrived, goes first.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

RANGE_SECONDS = 3.0  # of work per range: short enough that progress moves and little can be lost
FIRST_PAGES = 5  # per range, until one range has shown how long this document's pages take
SHORT_PAGES = 6  # a document this short is one range, since two workers would not be faster
SMALLEST_RANGE = 4  # pages; for smaller ranges, reading the neighbouring pages costs too much
# A worker's own stretch may end in smaller ranges, as their neighbours are read already. But a
# range of less time is not worth its claim and commit.
SMALLEST_OF_STRETCH = 2
SMALLEST_SECONDS = 0.5
# In the simulation, 10 makes a person's short documents wait a third as long as 1 does (p95),
# and the slowest large one 18 % longer.
PATIENCE = 10
PAGE_SECONDS = 0.25  # estimate per page, until a range of the document is done
PAGE_BYTES = 50_000  # estimate per page, until the document has been opened


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
    """`candidates` in the order in which they should be served.

    Newcomers go before all others. But if the last turn was a newcomer's (`after_newcomer`), the
    tenant that has waited longest comes first, and within it the person who has waited longest.
    A person who was never served has waited since their arrival. So a steady stream of newcomers
    cannot delay the others for ever: only every second turn prefers newcomers.
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
    """The time when a document should be ready: PATIENCE times its own work after its arrival.

    A person's document with the earliest such time goes first. So a small document overtakes a
    large one, but only if it arrives within PATIENCE times the large one's own work.
    """
    seconds = pages_left * (PAGE_SECONDS if page_seconds is None else page_seconds)
    return arrived_at + timedelta(seconds=PATIENCE * seconds)


def guess_pages(size_bytes: int) -> int:
    """An estimate of the pages of a PDF that has not been opened yet."""
    return 1 + size_bytes // PAGE_BYTES


def first_of_stretch(first: int, last: int, *, stopped_at: int) -> int:
    """The page at which a worker begins, if the pages `first` to `last` are queued.

    Reading a range includes some pages before and after it. So each worker goes through a stretch
    of its own, whose pages it reads once. `stopped_at` is the last page that this worker has
    ingested of the document, 0 if none. Where another worker stopped before `first`, this one
    leaves it the first half.
    """
    pages = last - first + 1
    if first in (1, stopped_at + 1) or pages < 2 * SMALLEST_RANGE:
        return first
    return first + pages // 2


def next_range_pages(
    pages_left: int, *, page_seconds: float | None, max_pages: int, workers: int
) -> int:
    """How many pages the next range takes off the front of `pages_left`.

    The range is about RANGE_SECONDS of work, and at most `max_pages`. `page_seconds` is the time
    per page of this document's earlier ranges, None if none is done. `workers` share the pages.
    Towards the end each range is half of a worker's share of the rest, so that all workers finish
    together (guided self-scheduling, Polychronopoulos and Kuck, 1987). A short document is divided
    evenly.
    """
    timely = FIRST_PAGES if page_seconds is None else max(1, int(RANGE_SECONDS / page_seconds))
    timely = min(timely, max_pages)
    smallest = SMALLEST_RANGE
    if workers == 1 and page_seconds is not None:
        worthwhile = math.ceil(SMALLEST_SECONDS / page_seconds)
        smallest = min(SMALLEST_RANGE, max(SMALLEST_OF_STRETCH, worthwhile))
    smallest = min(smallest, timely)
    if page_seconds is None and pages_left <= min(SHORT_PAGES, max_pages):
        return pages_left
    is_short = page_seconds is None and pages_left <= workers * timely
    share = math.ceil(pages_left / (workers if is_short else 2 * workers))
    return min(pages_left, timely, max(smallest, share))


def update_page_seconds(before: float | None, *, seconds: float, pages: int) -> float:
    """The new estimate of seconds per page, of which the latest range makes up half."""
    latest = seconds / pages
    return latest if before is None else (before + latest) / 2
