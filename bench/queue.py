"""Simulates waiting times for three orders of the queue.

    python -m bench.queue [--documents 4000] [--workers 2] [--load 0.9] [--seed 1]

The fair order is the service's own (`core.documents.fairness`). The others are first come, first
served, and the service's earlier order, which served the job whose last turn was longest ago and
divided documents by pages only. All three get the same documents at the same times.

Three tenants: one with a person who uploads piles of long documents, one whose ten people each
upload some long and some short ones, one with a stream of new people who upload one short
document each. Some documents have pages that take ten times as long as others'.
"""

import argparse
import heapq
import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.documents import fairness
from core.documents.fairness import Candidate

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN_SECONDS = 0.2
RANGE_OVERHEAD = 0.1  # seconds: claim, neighbouring pages, commit
MAX_PAGES = 32
KINDS = ("pile", "mixed, long", "mixed, short", "new people")


@dataclass
class Job:
    """A document in the simulation; times in seconds since START."""

    number: int
    tenant: str
    person: str
    kind: str
    arrived: float
    pages: int
    seconds_per_page: float
    left: int = 0  # pages that no worker has claimed
    running: int = 0
    planned: bool = False
    learned: float | None = None
    done_pages: int = 0
    served: float = -1.0
    finished: float = math.inf

    def __post_init__(self) -> None:
        self.left = self.pages

    @property
    def work(self) -> float:
        return PLAN_SECONDS + self.pages * self.seconds_per_page + RANGE_OVERHEAD

    @property
    def known_pages(self) -> int:
        """Before it is planned, a document of text looks smaller than it is, by its bytes."""
        return self.pages if self.planned else 1 + self.pages // 12

    @property
    def is_due(self) -> bool:
        return self.left > 0 and (self.planned or not self.running)


@dataclass
class Queue:
    """An order of the queue: `choose` gives the next job, `take` how many of its pages."""

    workers: int
    waiting: dict[int, Job] = field(default_factory=dict)

    def goes_on(self, job: Job) -> bool:
        """Whether the worker that has planned a job does its first range too."""
        return False

    def choose(self, now: float) -> Job | None:
        raise NotImplementedError

    def take(self, job: Job) -> int:
        """The earlier division: half of a worker's share of the pages left, at most MAX_PAGES."""
        share = max(fairness.SMALLEST_RANGE, math.ceil(job.left / (2 * self.workers)))
        return min(job.left, MAX_PAGES, share)

    def due(self) -> Iterator[Job]:
        return (job for job in self.waiting.values() if job.is_due)


class FirstCome(Queue):
    def choose(self, now: float) -> Job | None:
        return min(self.due(), key=lambda job: job.arrived, default=None)


class LongestWithoutTurn(Queue):
    """The earlier order: new jobs first, then the job that was served longest ago."""

    def choose(self, now: float) -> Job | None:
        job = min(self.due(), key=lambda job: (job.served, job.arrived), default=None)
        if job is not None:
            job.served = now
        return job


class Fair(Queue):
    """The service's own order and ranges."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._tenants: dict[str, float] = {}
        self._people: dict[tuple[str, str], float] = {}
        self._after_newcomer = False

    def choose(self, now: float) -> Job | None:
        jobs = list(self.due())
        if not jobs:
            return None
        chosen = fairness.in_order(self._candidates(jobs), after_newcomer=self._after_newcomer)[0]
        self._after_newcomer = chosen.is_newcomer
        self._tenants[chosen.tenant_id] = self._people[chosen.tenant_id, chosen.person] = now
        return self.waiting[chosen.job_id.int]

    def _candidates(self, jobs: list[Job]) -> list[Candidate]:
        people: dict[tuple[str, str], list[Job]] = {}
        tenants: dict[str, float] = {}
        for job in jobs:
            people.setdefault((job.tenant, job.person), []).append(job)
            tenants[job.tenant] = min(job.arrived, tenants.get(job.tenant, math.inf))
        return [
            Candidate(
                job_id=UUID(int=min(own, key=finish_by).number),
                tenant_id=tenant,
                person=person,
                arrived_at=moment(min(job.arrived for job in own)),
                tenant_arrived_at=moment(tenants[tenant]),
                tenant_served_at=maybe(self._tenants.get(tenant)),
                person_served_at=maybe(self._people.get((tenant, person))),
            )
            for (tenant, person), own in people.items()
        ]

    def goes_on(self, job: Job) -> bool:
        return all(
            finish_by(other) >= finish_by(job)
            for other in self.due()
            if (other.tenant, other.person) == (job.tenant, job.person)
        )

    def take(self, job: Job) -> int:
        return fairness.next_range_pages(
            job.left, page_seconds=job.learned, max_pages=MAX_PAGES, workers=self.workers
        )


def finish_by(job: Job) -> datetime:
    left = job.known_pages - job.done_pages
    return fairness.finish_by(moment(job.arrived), pages_left=left, page_seconds=job.learned)


def plan(job: Job) -> Job:
    job.planned = True
    return job


def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def simulate(queue: Queue, arrivals: list[Job]) -> list[Job]:
    """Simulate the workers until every document is ready; return the documents with their times."""
    events: list[tuple[float, int, Callable[[], None]]] = []
    count, free, now = 0, queue.workers, 0.0

    def at(when: float, act: Callable[[], None]) -> None:
        nonlocal count
        count += 1
        heapq.heappush(events, (when, count, act))

    def start(job: Job) -> None:
        nonlocal free
        free -= 1
        job.running += 1
        seconds, pages = 0.0, 0
        if not job.planned:
            seconds += PLAN_SECONDS
        if job.planned or queue.goes_on(plan(job)):
            pages = queue.take(job)
            job.left -= pages
            seconds += RANGE_OVERHEAD + pages * job.seconds_per_page
        at(now + seconds, lambda: end(job, pages))

    def end(job: Job, pages: int) -> None:
        nonlocal free
        free += 1
        job.running -= 1
        job.planned = True
        job.done_pages += pages
        if pages:
            took = RANGE_OVERHEAD + pages * job.seconds_per_page
            job.learned = fairness.update_page_seconds(job.learned, seconds=took, pages=pages)
        if job.done_pages == job.pages:
            job.finished = now
            del queue.waiting[job.number]

    for job in arrivals:
        at(job.arrived, lambda job=job: queue.waiting.__setitem__(job.number, job))  # type: ignore[misc]
    while events:
        now, _, act = heapq.heappop(events)
        act()
        while free and (chosen := queue.choose(now)) is not None:
            start(chosen)
    return arrivals


def make_documents(count: int, *, workers: int, load: float, seed: int) -> list[Job]:
    """`count` documents whose work fills the workers to `load` on average, in order of arrival."""
    chance = random.Random(seed)  # no secret
    jobs: list[Job] = []
    while len(jobs) < count:
        arrived = float(len(jobs))
        if chance.random() < 0.01:  # a pile of thirty at once
            jobs += [_job(chance, len(jobs) + n, "pile", arrived) for n in range(30)]
        else:
            jobs.append(_job(chance, len(jobs), chance.choice(KINDS[1:]), arrived))
    seconds = sum(job.work for job in jobs) / workers / load
    scale = seconds / jobs[-1].arrived
    for job in jobs:
        job.arrived *= scale
    return jobs


def _job(chance: random.Random, number: int, kind: str, arrived: float) -> Job:
    short = kind in ("mixed, short", "new people")
    pages = chance.randint(1, 8) if short else int(chance.lognormvariate(4, 0.8)) + 9
    if kind == "new people":
        tenant, person = "c", f"new {number}"
    elif kind == "pile":
        tenant, person = "a", "collector"
    else:
        tenant, person = "b", f"person {chance.randrange(10)}"
    seconds = 0.2 * (10 if chance.random() < 0.05 else 1) * chance.uniform(0.5, 1.5)
    return Job(number, tenant, person, kind, arrived, pages, seconds)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def table(name: str, jobs: list[Job]) -> Iterator[str]:
    for kind in KINDS:
        waits = [job.finished - job.arrived for job in jobs if job.kind == kind]
        slowdown = [(job.finished - job.arrived) / job.work for job in jobs if job.kind == kind]
        yield (
            f"| {name} | {kind} | {percentile(waits, 0.5):.1f} | {percentile(waits, 0.95):.1f} |"
            f" {max(waits):.0f} | {statistics.mean(slowdown):.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--load", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| order | documents | p50 s | p95 s | most s | times its own work |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    orders = {
        "first come": FirstCome(options.workers),
        "before": LongestWithoutTurn(options.workers),
        "fair": Fair(options.workers),
    }
    for name, queue in orders.items():
        jobs = make_documents(
            options.documents, workers=options.workers, load=options.load, seed=options.seed
        )
        for line in table(name, simulate(queue, jobs)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
