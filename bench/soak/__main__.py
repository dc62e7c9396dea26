"""Soak test: uploads many small PDFs while processes are killed, frozen and restarted.

    python -m bench.soak [--jobs 1000] [--faults 16] [--seed N] [--rate 5] [--logs DIR]

A whole service (web, beat, two workers, its own PostgreSQL and Redis) gets PDFs of one to
six pages. One in twenty each is broken, encrypted, without text, deleted, cancelled, ingested
again or sent twice. Meanwhile random faults happen; the seed chooses times and processes. A
client whose request breaks off repeats it with the same key. In the end all jobs must be over
without help, and each document with its chunks, vectors, pages and bytes must exist once and
equal its upload. The exit status is 1 if a check fails.
"""

import argparse
import random
import signal
import sys
from pathlib import Path

from bench.soak.checks import KINDS
from bench.soak.run import Plan, Report, logs, soak, whole_service
from core.telemetry import configure_logging


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rate", type=float, default=5.0, help="uploads a second, in bursts")
    parser.add_argument("--logs", type=Path, help="where to leave the processes' logs")
    options = parser.parse_args()
    plan = Plan(options.jobs, options.faults, options.seed, options.rate)
    configure_logging(level="WARNING")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the service's processes too
    print(f"seed {plan.seed}", flush=True)
    with whole_service() as ground:
        try:
            report = soak(ground, plan)
        finally:
            if options.logs:
                logs(ground.stack, options.logs)
    show(report)
    sys.exit(1 if report.violations else 0)


def show(report: Report) -> None:
    rows = [
        ("uploads", report.uploads),
        ("jobs", report.jobs),
        *((f"  {state}", count) for state, count in report.states.most_common()),
        ("faults", report.faults.total()),
        *((f"  {name}", count) for name, count in sorted(report.faults.items())),
        ("uploads sent again", report.sent_again),
        ("jobs begun again", report.begun_again),
        *((f"ranges failed by {name}", count) for name, count in report.exceptions.items()),
        *((kind, report.count(kind)) for kind in KINDS),
        ("seconds", round(report.seconds)),
    ]
    for name, value in rows:
        print(f"{name:<40}{value:>8}")
    for violation in report.violations:
        print(f"{violation.kind}: {violation.text}")


if __name__ == "__main__":
    main()
