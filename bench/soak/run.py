"""Runs a soak and reports its result."""

import math
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.soak import checks
from bench.soak.checks import Violation
from bench.soak.documents import make_uploads
from bench.soak.faults import FAULTS, WORKERS, Ground, plan_faults
from bench.soak.uploads import Promise, Uploads
from core.settings import read_settings
from tests.harness.service import own_servers
from tests.harness.stack import ROOT, NotReady, Stack

# Seconds instead of minutes, so that interrupted work continues within the soak.
QUICK = {
    "LEASE_SECONDS": "4",
    "HEARTBEAT_SECONDS": "1",
    "SWEEP_SECONDS": "1",
    "RANGE_PAGES": "2",
}
SETTLE_SECONDS = 900.0


@dataclass(frozen=True)
class Plan:
    """`rate` is uploads a second; `kinds` names the faults to choose from.

    There are as many bursts of uploads as faults: one happens in the middle of each.
    """

    jobs: int
    faults: int
    seed: int
    rate: float = 5.0
    kinds: Sequence[str] = tuple(FAULTS)

    @property
    def burst(self) -> int:
        return max(1, math.ceil(self.jobs / max(1, self.faults)))


@dataclass
class Report:
    """The result of a soak. It is good if `violations` is empty.

    `sent_again` counts uploads that needed more than one request, `begun_again` jobs with
    a range that failed or whose lease expired, `exceptions` those failures by name.
    """

    uploads: int = 0
    jobs: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    sent_again: int = 0
    begun_again: int = 0
    exceptions: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, kind: str) -> int:
        return sum(violation.kind == kind for violation in self.violations)


@contextmanager
def whole_service() -> Iterator[Ground]:
    """Web, beat and two workers with their own PostgreSQL and Redis, ready for requests."""
    with own_servers() as (directory, postgres, redis):
        url = postgres.url.replace("postgresql://", "postgresql+psycopg2://")
        env = QUICK | {"MODEL_DIR": str(ROOT / "data" / "models")}
        stack = Stack(directory / "stack", database_url=url, redis=redis, env=env)
        stack.migrate()
        try:
            for name in ("web", "beat", *WORKERS):
                stack.start(name, kind="worker" if name in WORKERS else None)
            stack.wait_ready()
            yield Ground(stack, postgres, redis)
        finally:
            stack.close()


def soak(ground: Ground, plan: Plan) -> Report:
    """Upload, cause faults, wait, check."""
    started, report = time.monotonic(), Report()
    with ground.stack.client(timeout=10) as http:
        documents = list(make_uploads(count=plan.jobs, seed=plan.seed))
        uploads = Uploads(http, documents, rate=plan.rate, burst=plan.burst)
        uploads.start()
        report.violations += _break(ground, plan, uploads, report.faults)
        uploads.join()
        report.violations += _wait_until_settled(ground)
        report.seconds = time.monotonic() - started
        with ground.database() as cursor:
            stored = checks.read_stored(cursor)
        report.violations += checks.check(uploads.promises, stored)
        report.violations += checks.check_bytes(uploads.promises, http)
    values = {name.lower(): value for name, value in ground.stack.env.items()}
    report.violations += checks.check_files(uploads.promises, read_settings(**values))
    _tell(report, stored, uploads.promises)
    report.exceptions.update(_exceptions(ground.stack))
    return report


def _tell(report: Report, stored: checks.Stored, promises: Sequence[Promise]) -> None:
    report.uploads, report.jobs = len(promises), len(stored.jobs)
    for state, code, _, attempts in stored.jobs.values():
        report.states[f"{state} {code or ''}".strip()] += 1
        report.begun_again += attempts > 1
    report.sent_again = sum(promise.tries > 1 for promise in promises)


def _break(
    ground: Ground, plan: Plan, uploads: Uploads, happened: Counter[str]
) -> Iterator[Violation]:
    """Must run in the main thread: PostgreSQL and Redis end with the thread that started them."""
    chance = random.Random(plan.seed)
    names = plan_faults(chance, count=plan.faults, kinds=plan.kinds)
    for number, name in enumerate(names):
        after = round(plan.burst * (number + chance.uniform(0.2, 0.8)))
        while uploads.answered < after and uploads.is_under_way:
            time.sleep(0.05)
        # A separate random source, so that one fault's draws do not change the next fault.
        own = replace(ground, chance=random.Random(f"{plan.seed} {number}"))
        try:
            FAULTS[name](own)
        except NotReady as error:
            yield Violation(checks.STRANGE, f"{name}: {error}")
        happened[name] += 1


def _wait_until_settled(ground: Ground) -> Iterator[Violation]:
    """Wait until all jobs have ended, without help. Every process runs."""
    for name in ("web", "beat", *WORKERS):
        if not ground.stack.is_running(name):
            yield Violation(checks.STRANGE, f"{name} ended by itself")
    # The sweep removes the ranges of jobs that have ended.
    open_work = (
        "SELECT 1 FROM jobs WHERE state IN ('queued', 'running')"
        " UNION ALL SELECT 1 FROM page_ranges LIMIT 1"
    )

    def is_settled() -> bool:
        with ground.database() as cursor:
            cursor.execute(open_work)
            return cursor.fetchone() is None

    try:
        ground.stack.wait_until(is_settled, what="all jobs are over", seconds=SETTLE_SECONDS)
    except NotReady:
        return  # the checks report the open jobs


def _exceptions(stack: Stack) -> Iterator[str]:
    """Names of the exceptions that counted as a failure of a range."""
    for name in WORKERS:
        for line in stack.log(name).splitlines():
            if '"range_failed"' in line:
                found = re.findall(r'"exc_type": "(\w+)"', line)
                yield found[-1] if found else "unknown"


def logs(stack: Stack, directory: Path) -> None:
    """Keep the processes' logs."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("web", "beat", *WORKERS):
        (directory / f"{name}.log").write_text(stack.log(name))
