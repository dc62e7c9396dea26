"""A stack that notices faults quickly, and the checks after each fault."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from tests.harness.stack import Stack
from tests.pdfs import make_pdf


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make faults` runs all tests of this directory."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.faults)


# Seconds instead of minutes, so that a test sees the recovery.
QUICK = {
    "LEASE_SECONDS": "4",
    "HEARTBEAT_SECONDS": "1",
    "SWEEP_SECONDS": "1",
    "RANGE_PAGES": "2",
}
FINISH_SECONDS = 600  # far beyond the time of a slow and busy machine
TERMINAL = {"succeeded", "failed", "cancelled"}

SENTENCES = (
    "The survey of parcel {n} found clay above gravel and a spring at its northern edge.",
    "Its owner, family {n}, has grazed sheep there since the flood of the year 17{n:02}.",
    "A stone wall of {n} metres divides the meadow from the lane that leads to the mill.",
    "In dry summers the spring fails, and water is carted from the well of parcel 9{n}.",
)


def long_pdf(pages: int, *, label: str = "") -> bytes:
    """A PDF whose pages each make several chunks, so that embedding takes a while."""
    return make_pdf(
        [
            f"{label} " + " ".join(line.format(n=n) for _ in range(5) for line in SENTENCES)
            for n in range(1, pages + 1)
        ]
    )


@dataclass
class Client:
    """A client of the faulty service's API, and of its database."""

    stack: Stack
    http: httpx.Client

    def upload(self, data: bytes, *, user_id: str) -> dict[str, Any]:
        answer = self.http.post(
            "/api/v1/documents",
            files={"file": ("report.pdf", data, "application/pdf")},
            data={"user_id": user_id},
        )
        assert answer.status_code == 202, answer.text
        return answer.json()

    def job(self, job_id: str) -> dict[str, Any]:
        return self.http.get(f"/api/v1/jobs/{job_id}").json()

    def wait_for_pages(self, job_id: str, *, pages: int) -> None:
        self.stack.wait_until(
            lambda: self.job(job_id)["progress"]["pages_done"] >= pages,
            what=f"{pages} pages are done",
        )

    def wait_finished(self, *job_ids: str, seconds: float = FINISH_SECONDS) -> list[dict[str, Any]]:
        self.stack.wait_until(
            lambda: all(self.job(job_id)["state"] in TERMINAL for job_id in job_ids),
            what="every job is in a terminal state",
            seconds=seconds,
        )
        return [self.job(job_id) for job_id in job_ids]

    def query(self, sql: str) -> list[Any]:
        """Ask the database itself."""
        connection = psycopg2.connect(self.stack.env["DATABASE_URL"].replace("+psycopg2", ""))
        try:
            return query(connection, sql)
        finally:
            connection.close()

    def execute(self, sql: str) -> None:
        """Change the database itself."""
        url = self.stack.env["DATABASE_URL"].replace("+psycopg2", "")
        with closing(psycopg2.connect(url)) as connection, connection:
            connection.cursor().execute(sql)

    def texts(self, document_id: str) -> list[str]:
        texts: list[str] = []
        cursor = ""
        while True:
            page = self.http.get(
                f"/api/v1/documents/{document_id}/chunks", params={"limit": 100} | cursor_of(cursor)
            ).json()
            texts += [chunk["text"] for chunk in page["items"]]
            cursor = page["next_cursor"]
            if not cursor:
                return texts


def cursor_of(cursor: str) -> dict[str, str]:
    return {"cursor": cursor} if cursor else {}


@pytest.fixture
def faulty(make_stack: Callable[..., Stack]) -> Iterator[Callable[..., Client]]:
    """Start web, beat and a worker of a quick stack; `Client` over it."""
    made: list[Stack] = []

    def make(*, worker: bool = True, database_url: str | None = None, **env: str) -> Client:
        stack = make_stack(env=QUICK | env, database_url=database_url)
        made.append(stack)
        for name in ("web", "beat", *(["worker"] if worker else [])):
            stack.start(name)
        stack.wait_ready()
        return Client(stack, stack.client())

    yield make
    for stack in made:
        stack.close()


def assert_whole(client: Client, *, documents: int) -> None:
    """Check that every chunk of a clean run exists exactly once, and nothing else."""
    with psycopg2.connect(client.stack.env["DATABASE_URL"].replace("+psycopg2", "")) as connection:
        rows = query(connection, "SELECT id, status, chunk_count, generation FROM documents")
        assert len(rows) == documents
        for document_id, status, chunk_count, generation in rows:
            assert status == "ready"
            found = query(
                connection,
                "SELECT c.generation, count(*), count(v.chunk_id) FROM chunks c"
                " LEFT JOIN chunk_vectors v ON v.chunk_id = c.id"
                " WHERE c.document_id = %s GROUP BY c.generation",
                document_id,
            )
            assert found == [(generation, chunk_count, chunk_count)]
        assert query(connection, "SELECT 1 FROM jobs WHERE state IN ('queued', 'running')") == []
    connection.close()


def query(connection: Any, sql: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()
