"""Uploads every PDF of a folder through the API and prints the outcomes by kind.

    python -m bench.pdf_collection ../shared/data/pdfs

A file's kind is its name up to the first `__`. Prints a table of outcomes
(`ready`, a job's error code, or an upload's), the slowest files, and whether
any worker was lost.
"""

import argparse
import time
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import httpx

from tests.harness.service import running_service

WAIT_SECONDS = 1800


def upload(client: httpx.Client, path: Path) -> tuple[str | None, str]:
    """(job id, "") of an accepted file, or (None, the refusal's code)."""
    answer = client.post(
        "/documents",
        files={"file": (path.name, path.read_bytes(), "application/pdf")},
        data={"user_id": path.name[:100]},
    )
    body = answer.json()
    if answer.is_success:
        return body["job"]["id"], ""
    return None, f"{answer.status_code} {body['code']}"


def outcome(client: httpx.Client, job_id: str, *, deadline: float) -> tuple[str, float]:
    """(`ready` or the error's code, seconds from start to end) of a finished job."""
    while True:
        job = client.get(f"/jobs/{job_id}").json()
        if job["finished_at"]:
            break
        if time.monotonic() > deadline:
            return f"stuck: {job['state']}", 0.0
        time.sleep(0.2)
    seconds = _seconds(job["started_at"], job["finished_at"])
    if job["state"] == "succeeded":
        return "ready", seconds
    return (job["error"] or {}).get("code", job["state"]), seconds


def _seconds(started: str | None, finished: str) -> float:
    if started is None:
        return 0.0
    return (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.pdf"))
    table: dict[str, Counter[str]] = defaultdict(Counter)
    slow: list[tuple[float, str, str]] = []
    with running_service() as service, service.client() as client:
        accepted = [(path, *upload(client, path)) for path in paths]
        deadline = time.monotonic() + WAIT_SECONDS
        for path, job_id, refusal in accepted:
            result, seconds = refusal, 0.0
            if job_id is not None:
                result, seconds = outcome(client, job_id, deadline=deadline)
            table[path.name.split("__")[0]][result] += 1
            slow.append((seconds, path.name, result))
        log = (service.data_dir / "service.log").read_text(errors="replace")
    print("| kind | files | outcomes |\n| --- | --- | --- |")
    for kind, outcomes in sorted(table.items()):
        listed = ", ".join(f"`{name}` {count}" for name, count in outcomes.most_common())
        print(f"| {kind} | {outcomes.total()} | {listed} |")
    print("\nworkers lost:", log.count("WorkerLostError") + log.count("exited with"))
    for seconds, name, result in sorted(slow, reverse=True)[:12]:
        print(f"{seconds:8.1f} s  {result:<24}{name}")
    for _, name, result in slow:
        if result not in {"ready"} and not result.startswith("pdf_"):
            print(f"{result:<30}{name}")


if __name__ == "__main__":
    main()
