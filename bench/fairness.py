"""Measures how long people wait while another person uploads a pile of documents.

    python -m bench.fairness [--pile 100] [--pages 12] [--short 20] [--every 3] [--workers 2]
        [--messages 0]

In a real service, one user uploads a pile of documents at once. Meanwhile a new person uploads a
short document of one or two pages every few seconds. The table has the times from each upload's
acceptance to its job's end, and the error of the job's ETA after a quarter of its pages.
`--messages` is the number of messages that wait to be embedded meanwhile, as background work.
"""

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from bench.pdfs import write_report
from tests.harness.service import ingest, running_service

POLL_SECONDS = 0.5


@dataclass
class Observations:
    """Observations of one job by polling, in seconds since its start."""

    first_move: float | None = None
    etas: list[tuple[datetime, float]] = field(default_factory=list)


def upload(client: httpx.Client, pdf: Path, *, user_id: str) -> str:
    """The id of the job."""
    answer = client.post(
        "/documents",
        files={"file": (pdf.name, pdf.read_bytes(), "application/pdf")},
        data={"user_id": user_id},
    )
    answer.raise_for_status()
    return str(answer.json()["job"]["id"])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def finish(client: httpx.Client, job_ids: list[str]) -> list[dict[str, Any]]:
    """Wait for the jobs; raises if one did not succeed."""
    done = []
    for job_id in job_ids:
        while (job := client.get(f"/jobs/{job_id}").json())["finished_at"] is None:
            time.sleep(POLL_SECONDS)
        assert job["state"] == "succeeded", job["error"]
        done.append(job)
    return done


def watch(
    client: httpx.Client, job_ids: list[str], seen: dict[str, Observations], end: Any
) -> None:
    """Record the first progress of each job, and its ETAs after a quarter of its pages."""
    while not end.wait(POLL_SECONDS):
        for job_id in job_ids:
            job = client.get(f"/jobs/{job_id}").json()
            progress = job["progress"]
            if job["started_at"] is None or job["finished_at"] is not None:
                continue
            now = at(job["updated_at"])
            if progress["percent"] and seen[job_id].first_move is None:
                seen[job_id].first_move = (now - at(job["started_at"])).total_seconds()
            if progress["percent"] >= 25 and progress["eta_seconds"]:
                seen[job_id].etas.append((datetime.now(now.tzinfo), progress["eta_seconds"]))


def say(client: httpx.Client, count: int) -> None:
    """Append messages, which then wait to be embedded."""
    session = client.post("/sessions", json={"user_id": "talker"}).json()["id"]
    for number in range(count):
        content = f"In the harbour of town {number} the keeper counted {number} sails at dawn."
        client.post(f"/sessions/{session}/messages", json={"sender": "user", "content": content})


def row(name: str, jobs: list[dict[str, Any]]) -> str:
    waits = sorted((at(job["finished_at"]) - at(job["created_at"])).total_seconds() for job in jobs)
    p95 = waits[min(len(waits) - 1, int(0.95 * len(waits)))]
    return (
        f"| {name} | {len(waits)} | {statistics.median(waits):.1f} | {p95:.1f} | {waits[-1]:.1f} |"
    )


def eta_row(seen: dict[str, Observations], jobs: list[dict[str, Any]]) -> str:
    """The share of ETAs within a factor of two of the time that was really left."""
    ends = {job["id"]: at(job["finished_at"]) for job in jobs}
    factors = [
        max(eta, left) / min(eta, left)
        for job_id, one in seen.items()
        for moment, eta in one.etas
        if (left := (ends[job_id] - moment).total_seconds()) > 1
    ]
    within = sum(factor <= 2 for factor in factors)
    moves = [one.first_move for one in seen.values() if one.first_move is not None]
    first = f"{statistics.median(moves):.1f}" if moves else "-"
    return f"ETA within a factor of 2: {within} of {len(factors)}; first move p50 {first} s"


def measure(client: httpx.Client, folder: Path, options: argparse.Namespace) -> None:
    """Upload the pile and the stream of short documents; print the tables."""
    short_pdfs, pile_pdfs = [], []
    for number in range(options.short):
        short_pdfs.append(folder / f"short-{number}.pdf")
        write_report(short_pdfs[-1], pages=1 + number % 2, seed=10_000 + number)
    for number in range(options.pile):
        pile_pdfs.append(folder / f"pile-{number}.pdf")
        write_report(pile_pdfs[-1], pages=options.pages, seed=number)
    say(client, options.messages)
    pile = [upload(client, pdf, user_id="collector") for pdf in pile_pdfs]
    seen, end = {job_id: Observations() for job_id in pile[:3]}, threading.Event()
    watcher = threading.Thread(target=watch, args=(client, pile[:3], seen, end))
    watcher.start()
    short = []
    for number, pdf in enumerate(short_pdfs):
        time.sleep(options.every)
        short.append(upload(client, pdf, user_id=f"person {number}"))
    short_jobs, pile_jobs = finish(client, short), finish(client, pile)
    end.set()
    watcher.join()
    print(row("short, each of a new person", short_jobs), flush=True)
    print(row(f"pile of {options.pages} pages each", pile_jobs), flush=True)
    print(eta_row(seen, pile_jobs), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pile", type=int, default=100)
    parser.add_argument("--pages", type=int, default=12)
    parser.add_argument("--short", type=int, default=20)
    parser.add_argument("--every", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--messages", type=int, default=0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        running_service(worker_concurrency=options.workers) as service,
        service.client(timeout=300) as client,
    ):
        warm = Path(name) / "warm.pdf"
        write_report(warm, pages=8, seed=99_999)
        ingest(client, [warm], user_id="warm-up")
        print("| documents | count | p50 s | p95 s | most s |\n| --- | ---: | ---: | ---: | ---: |")
        measure(client, Path(name), options)


if __name__ == "__main__":
    main()
