"""Measures ingestion end to end and the embedder alone: pages/s, chunks/s, memory, latencies.

    python -m bench.ingestion [--pages 10,100,1000,5000] [--workers 2]

For each size a fresh, warmed-up service ingests one generated PDF; the time is from its
acceptance to its job's end, so a short document's includes the time until both workers have begun
and until the slower one has ended.

`raw` is the rate at which the chunks' texts could be embedded if nothing else had to be done:
before and after, as many processes as there are workers embed them side by side. Each has the
same embedder on one thread, the workers' priority, and all its texts at once. It tokenizes them,
but reads no PDF and no database. The texts are those of the document's own chunks (before: of the
previous document's), with the document's name and without headings, repeated up to 400: a rate
over seconds that has no start and no end. `ratio` is end to end over the mean of the two.

During the ingestion a client requests a session twice a second and uploads a small PDF every 5 s,
whose chunks are counted too.
`work` is the same ratio in processor time: that of the embedder alone for as many chunks, over that
of all processes of the service. Other load on the machine hardly changes it, and where it is
larger than `ratio`, processors were idle or busy with something else.
`read`, `embed` and `write` are a worker's mean milliseconds per page in each step.
Memory is the sum of the resident memory of Celery's processes and the parsing children; pages
that they share count several times.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.pdfs import write_report
from core.documents.ingestion import text_to_embed
from core.search.document_names import document_label
from tests.harness.service import ROOT, Service, ingest, running_service

# Rare enough that sampling takes hardly any processor time.
SAMPLE_SECONDS = 2.0
PROBE_SECONDS = 0.5
POLL_SECONDS = 0.5
RAW_CHUNKS = 400
HEADS = (
    "pages", "s", "pages/s", "chunks/s", "raw", "ratio", "work", "MiB", "req p99", "up p99",
    "read", "embed", "write",
)  # fmt: skip
PROBE_NAME = re.compile(r"probe-\d+\.pdf")

RAW = """
import json, os, sys, time
from pathlib import Path
from core.embedding import local
from worker.app import yield_to_requests
os.nice(10)
yield_to_requests()
texts = json.load(open(sys.argv[1]))
model = local.load(Path(sys.argv[2]))
model.embed(texts[:8])
print("ready", flush=True)
sys.stdin.readline()
started, spent = time.perf_counter(), time.process_time()
for start in range(0, len(texts), 32):
    model.embed(texts[start:start + 32])
rate = len(texts) / (time.perf_counter() - started)
print(rate, (time.process_time() - spent) / len(texts), flush=True)
"""


@dataclass
class Watch:
    """Samples while a document is ingested; times in seconds, memory in MiB."""

    peak_memory: float = 0.0
    processor_seconds: float = 0.0
    requests: list[float] = field(default_factory=list)
    uploads: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Raw:
    """The embedder alone: chunks/s of all processes together, and processor seconds per chunk."""

    rate: float
    processor_seconds: float


@dataclass(frozen=True)
class Ingestion:
    """One document's ingestion. `steps` are the milliseconds per page of each step."""

    seconds: float
    chunks: int
    watch: Watch
    texts: list[str]
    steps: dict[str, float]


def measure_raw(texts_file: Path, *, processes: int) -> Raw:
    """Embed the same texts in each of `processes` processes, at the same time."""
    command = [sys.executable, "-c", RAW, str(texts_file), str(ROOT / "data" / "models")]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Linux divides the processors between sessions
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [tuple(map(float, process.communicate()[0].split())) for process in started]
    return Raw(sum(rate for rate, _ in found), statistics.mean(spent for _, spent in found))


def worker_memory(service: Service) -> float:
    """Resident memory of the Celery worker, its pool and its parsing children, in MiB."""
    total = 0
    for process in psutil.Process(service.pid).children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            if "worker.app worker" in line or "core.pdf.child" in line:
                total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**20


def processor_seconds(service: Service) -> float:
    """Processor time of all processes of the service so far, those that have ended included."""
    root = psutil.Process(service.pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])  # user, system, and the same of ended children
    return total


@contextmanager
def watching(service: Service) -> Iterator[Watch]:
    watch, ended = Watch(), threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            watch.peak_memory = max(watch.peak_memory, worker_memory(service))

    def probe() -> None:
        with service.client() as client:
            body = client.post("/sessions", json={"user_id": "probe"}).json()
            number, small = 0, service.data_dir / "small.pdf"
            write_report(small, pages=1, seed=0)
            content = small.read_bytes()
            while not ended.wait(PROBE_SECONDS):
                watch.requests.append(timed(client, "GET", f"/sessions/{body['id']}"))
                number += 1
                if number % 10 == 0:
                    # The comment at the end makes each file different.
                    file = {
                        "file": (
                            f"probe-{number}.pdf",
                            content + b"%%%d" % number,
                            "application/pdf",
                        )
                    }
                    watch.uploads.append(timed(client, "POST", "/documents", files=file))

    threads = [threading.Thread(target=task) for task in (sample, probe)]
    before = processor_seconds(service)
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        watch.processor_seconds = processor_seconds(service) - before
        ended.set()
        for thread in threads:
            thread.join()


def timed(client: httpx.Client, method: str, path: str, **options: Any) -> float:
    started = time.perf_counter()
    client.request(method, path, **options).raise_for_status()
    return time.perf_counter() - started


def ingest_and_watch(pdf: Path, *, workers: int) -> Ingestion:
    """Ingest one document in a fresh service."""
    settings = {"worker_concurrency": workers, "log_format": "json"}  # `steps_of` reads the log
    with running_service(**settings) as service, service.client() as client:
        warm_up(client, service)
        with watching(service) as watch:
            answer = client.post(
                "/documents", files={"file": (pdf.name, pdf.read_bytes(), "application/pdf")}
            ).json()
            while True:
                job = client.get(f"/jobs/{answer['job']['id']}").json()
                if job["finished_at"]:
                    break
                time.sleep(POLL_SECONDS)
        assert job["state"] == "succeeded", job["error"]
        seconds = (
            datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["created_at"])
        ).total_seconds()
        chunks = job["progress"]["chunks_done"] + chunks_of_probes(client)
        steps = steps_of(service, answer["document"]["id"])
        return Ingestion(seconds, chunks, watch, texts_of(client, answer), steps)


def steps_of(service: Service, document_id: str) -> dict[str, float]:
    """Milliseconds per page of each step, from the log lines of the document's ranges."""
    log = (service.data_dir / "service.log").read_text()
    found = [line[line.index("{") :] for line in log.splitlines() if '"range_done"' in line]
    lines = [json.loads(line) for line in found]
    ranges = [one for one in lines if one["document_id"] == document_id and "read_ms" in one]
    pages = sum(one["pages"] for one in ranges)
    steps = ("read_ms", "embed_ms", "write_ms")
    return {step: sum(one[step] for one in ranges) / pages for step in steps}


def chunks_of_probes(client: httpx.Client) -> int:
    """Chunks of the probes' small PDFs that are ready."""
    found = client.get("/documents", params={"status": "ready", "limit": 100}).json()["items"]
    return sum(item["chunk_count"] for item in found if PROBE_NAME.fullmatch(item["filename"]))


def warm_up(client: httpx.Client, service: Service) -> None:
    """Ingest small documents at once, so that every worker has done some work before."""
    files = [service.data_dir / f"warm-{number}.pdf" for number in range(8)]
    for number, file in enumerate(files):
        write_report(file, pages=2, seed=10**6 + number)
    ingest(client, files, user_id="warm-up")


def texts_of(client: httpx.Client, answer: dict[str, Any]) -> list[str]:
    """The embedded texts of chunks, without their headings."""
    document = answer["document"]
    label = document_label(document["filename"], document.get("title"))
    texts: list[str] = []
    params: dict[str, Any] = {"limit": 100}
    while len(texts) < RAW_CHUNKS:
        path = f"/documents/{document['id']}/chunks"
        page = client.get(path, params=params).json()
        texts += [
            text_to_embed(chunk["text"], label=label, heading=None) for chunk in page["items"]
        ]
        if not page["next_cursor"]:
            break
        params["cursor"] = page["next_cursor"]
    return texts


def p99(values: list[float]) -> str:
    if len(values) < 2:
        return "-"
    return f"{1000 * statistics.quantiles(values, n=100, method='inclusive')[98]:.0f}"


def row(pages: int, found: Ingestion, raws: list[Raw]) -> list[str]:
    """The cells of HEADS."""
    watch, rate = found.watch, found.chunks / found.seconds
    raw = statistics.mean(one.rate for one in raws)
    work = found.chunks * statistics.mean(one.processor_seconds for one in raws)
    return [
        f"{pages}", f"{found.seconds:.1f}", f"{pages / found.seconds:.1f}", f"{rate:.1f}",
        f"{raw:.1f}", f"{rate / raw:.2f}", f"{work / watch.processor_seconds:.2f}",
        f"{watch.peak_memory:.0f}", p99(watch.requests), p99(watch.uploads),
        *(f"{milliseconds:.0f}" for milliseconds in found.steps.values()),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", default="10,100,1000,5000")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("".join(f"{head:>9}" for head in HEADS), flush=True)
    with tempfile.TemporaryDirectory() as name:
        texts_file = Path(name) / "texts.json"
        for pages in map(int, options.pages.split(",")):
            pdf = Path(name) / f"{pages}.pdf"
            write_report(pdf, pages=pages, seed=pages)
            raws = []
            if texts_file.exists():
                raws.append(measure_raw(texts_file, processes=options.workers))
            found = ingest_and_watch(pdf, workers=options.workers)
            texts_file.write_text(json.dumps((found.texts * RAW_CHUNKS)[:RAW_CHUNKS]))
            raws.append(measure_raw(texts_file, processes=options.workers))
            print("".join(f"{cell:>9}" for cell in row(pages, found, raws)), flush=True)


if __name__ == "__main__":
    main()
