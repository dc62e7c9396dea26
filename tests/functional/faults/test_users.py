"""A user's large archive with a slow reader, and an erasure whose process is killed."""

import random
import time
import zipfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from tests.functional.conftest import MakeStack
from tests.functional.faults.conftest import QUICK, Client, long_pdf
from tests.functional.faults.listening import new_session
from tests.pdfs import make_pdf

MIB = 2**20
SESSIONS = "FROM sessions s WHERE s.user_id = 'alice'"
DOCUMENTS = "FROM documents d WHERE d.user_id = 'alice'"
OF_MESSAGES = (
    "FROM {} x JOIN messages m ON m.id = x.message_id"
    f" WHERE m.session_id IN (SELECT s.id {SESSIONS})"
)
OF_DOCUMENTS = f"FROM {{}} x WHERE x.document_id IN (SELECT d.id {DOCUMENTS})"
COUNTED = {
    "sessions": SESSIONS,
    "messages": f"FROM messages WHERE session_id IN (SELECT id {SESSIONS})",
    "documents": DOCUMENTS,
    "pages": OF_DOCUMENTS.format("document_pages"),
    "chunks": OF_DOCUMENTS.format("chunks"),
    "traces": OF_MESSAGES.format("message_traces"),
    "contexts": OF_MESSAGES.format("answer_contexts"),
    "jobs": OF_DOCUMENTS.format("jobs"),
}
CHUNK_VECTORS = OF_DOCUMENTS.format("chunk_vectors")
MESSAGE_VECTORS = OF_MESSAGES.format("message_vectors")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def client(make_stack: MakeStack) -> Client:
    stack = make_stack(env=QUICK)
    for name in ("web", "worker", "beat"):
        stack.start(name)
    stack.wait_ready()
    return Client(stack, stack.client())


def memory(client: Client) -> int:
    """The largest resident set of web's processes, in bytes."""
    parent = psutil.Process(client.stack.pid("web"))
    return max(one.memory_info().rss for one in [parent, *parent.children(recursive=True)])


def test_an_archive_is_streamed_to_a_slow_reader(client: Client, tmp_path: Path) -> None:
    """80 MiB of files, read in two parts: the service holds none of it in memory."""
    dice = random.Random(1)
    files = [make_pdf([f"Page {n}."]) + b"\n%" + dice.randbytes(8 * MIB) for n in range(10)]
    for data in files:
        client.upload(data, user_id="reader")
    assert client.http.get("/api/v1/users/nobody/export").status_code == 404
    before, path, peak = memory(client), tmp_path / "archive.zip", 0
    with (
        path.open("wb") as archive,
        client.http.stream("GET", "/api/v1/users/reader/export") as response,
    ):
        assert response.status_code == 200
        for piece in response.iter_raw(MIB):
            archive.write(piece)
            peak = max(peak, memory(client))
            if archive.tell() == MIB:
                time.sleep(3)  # the server could read far ahead in this time
                assert client.http.get("/health").status_code == 200
    assert path.stat().st_size > 80 * MIB
    assert peak - before < 30 * MIB
    with zipfile.ZipFile(path) as found:
        stored = [found.read(name) for name in found.namelist() if name.endswith(".pdf")]
    assert {sha256(one).digest() for one in stored} == {sha256(one).digest() for one in files}


def count(client: Client, rows: str) -> int:
    ((found,),) = client.query(f"SELECT count(*) {rows}")
    return int(found)


def counts(client: Client) -> dict[str, int]:
    return {name: count(client, rows) for name, rows in COUNTED.items()}


def fill(client: Client) -> None:
    """Documents that are ready, sessions with answers, and the vectors of all questions."""
    made = [client.upload(long_pdf(1, label=f"Parcel {n}."), user_id="alice") for n in range(2)]
    client.wait_finished(*(one["job"]["id"] for one in made))
    for _ in range(4):
        answer = client.http.post(f"{new_session(client)}/chat", json={"message": "Which parcel?"})
        assert answer.status_code == 200
    client.stack.wait_until(
        lambda: count(client, MESSAGE_VECTORS) == counts(client)["sessions"],
        what="every question has its vector",
    )


def test_an_erasure_survives_the_kill_of_its_process(client: Client) -> None:
    """Beat runs the erasure and is killed between two sessions. The receipt counts both runs."""
    fill(client)
    there = counts(client)
    vectors = count(client, CHUNK_VECTORS) + count(client, MESSAGE_VECTORS)
    last = f"SELECT 1 FROM sessions WHERE id = (SELECT max(id::text)::uuid {SESSIONS}) FOR UPDATE"
    with closing(connect(client)) as holder:
        holder.cursor().execute(last)
        job = client.http.delete("/api/v1/users/alice").json()
        client.stack.wait_until(
            lambda: count(client, SESSIONS) == 1, what="beat waits for the last session"
        )
        client.stack.kill("beat")
        holder.rollback()
    assert client.job(job["id"])["state"] == "running"
    client.execute("UPDATE erasures SET lease_expires_at = now() - interval '1 s'")
    client.stack.start("beat")
    (done,) = client.wait_finished(job["id"])
    assert done["state"] == "succeeded"
    assert done["attempts"] >= 2
    assert done["result"] == there | {"files": 2, "vectors": vectors, "responses": 0}
    assert set(counts(client).values()) == {0}
    assert count(client, CHUNK_VECTORS) == count(client, MESSAGE_VECTORS) == 0
    assert client.http.get("/api/v1/users/alice/export").status_code == 404


def connect(client: Client) -> Any:
    return psycopg2.connect(client.stack.env["DATABASE_URL"].replace("+psycopg2", ""))
