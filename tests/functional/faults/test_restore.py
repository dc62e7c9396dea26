"""A backup during uploads, restored on another service, in the order of docs/deployment.md."""

import hashlib
import itertools
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest

from bench.pdfs import sentence, wrapped, write_pages
from core.bootstrap import bootstrap
from core.documents.sweeping import ORPHAN_AGE, remove_orphans
from core.settings import Settings
from launcher.servers import PostgresServer, start_postgres
from tests.functional.conftest import MakeStack
from tests.functional.faults.conftest import QUICK, Client, assert_whole
from tests.harness.stack import Stack
from tests.pdfs import make_pdf

PAGES = 40
QUESTION = "Who keeps the bees of the monastery?"
ANSWER = "Brother Anselm keeps the bees of the monastery behind the mill."

pytestmark = pytest.mark.timeout(900)


@dataclass
class Before:
    """The state before the backup. `documents` are the bytes of the documents accepted by then."""

    documents: dict[str, bytes]
    deleted: str  # between the dump and the files
    session: str
    messages: Any
    key: str
    half_done: dict[str, Any]
    words: str


@dataclass
class Restored:
    """The service restored from the backup, and the half-done job in the dump."""

    client: Client
    before: Before
    job: dict[str, Any]


class Uploader(Thread):
    """Uploads one small PDF after the other until `end`; `sent` are the accepted ones."""

    def __init__(self, client: Client) -> None:
        super().__init__(name="uploader")
        self.sent: dict[str, bytes] = {}
        self._client, self._ended = client, Event()

    def run(self) -> None:
        for number in itertools.count():
            if self._ended.wait(0.05):
                return
            data = make_pdf([f"Leaflet number {number} of a series without an end."])
            accepted = self._client.upload(data, user_id="bob")
            self.sent[accepted["document"]["id"]] = data

    def wait_for(self, count: int) -> None:
        """Wait until `count` more are accepted."""
        wanted = len(self.sent) + count
        self._client.stack.wait_until(
            lambda: len(self.sent) >= wanted, what=f"{count} more uploads are accepted"
        )

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture(scope="module")
def make_postgres(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], PostgresServer]]:
    """A new cluster with the role and an empty database."""
    made: list[PostgresServer] = []

    def make() -> PostgresServer:
        made.append(start_postgres(tmp_path_factory.mktemp("postgres") / "data", durable=False))
        return made[-1]

    yield make
    for server in made:
        server.stop("immediate")


@pytest.fixture(scope="module")
def restored(
    make_stack: MakeStack,
    make_postgres: Callable[[], PostgresServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Restored:
    directory = tmp_path_factory.mktemp("backup")
    server = make_postgres()
    old = make_stack(env=QUICK, database_url=sqlalchemy_url(server))
    old.migrate()
    start(old)
    before = fill(Client(old, old.client()))
    back_up(Client(old, old.client()), server, before, directory)
    old.close()

    server = make_postgres()
    new = make_stack(env=QUICK | {"API_KEY": old.api_key}, database_url=sqlalchemy_url(server))
    client = Client(new, new.client(key=old.api_key))
    subprocess.run(["tar", "-C", new.data_dir, "-xf", directory / "files.tar"], check=True)
    new.migrate()
    restore(server, directory / "rag.dump")
    ((state, done),) = client.query(
        f"SELECT state, pages_done FROM jobs WHERE id = '{before.half_done['job']['id']}'"
    )
    start(new)
    return Restored(client, before, {"state": state, "pages_done": done})


def start(stack: Stack) -> None:
    for name in ("web", "beat", "worker"):
        stack.start(name)
    stack.wait_ready()


def fill(client: Client) -> Before:
    """Documents, a conversation about them, a key, and a job that takes a while."""
    known = make_pdf([ANSWER])
    ready = client.upload(known, user_id="alice")
    gone = client.upload(make_pdf(["Its file is deleted before it is copied."]), user_id="alice")
    client.wait_finished(ready["job"]["id"], gone["job"]["id"])
    session = client.http.post("/api/v1/sessions", json={"user_id": "alice"}).json()
    path = f"/api/v1/sessions/{session['id']}"
    assert client.http.post(f"{path}/chat", json={"message": QUESTION}).status_code == 200
    key = client.http.post("/api/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()
    long, words = report()
    half_done = client.upload(long, user_id="alice")
    return Before(
        documents={ready["document"]["id"]: known, half_done["document"]["id"]: long},
        deleted=gone["document"]["id"],
        session=path,
        messages=client.http.get(f"{path}/messages").json(),
        key=key["key"],
        half_done=half_done,
        words=words,
    )


def report() -> tuple[bytes, str]:
    """A PDF that takes seconds to ingest, and its words."""
    chance = random.Random(1)
    text = " ".join(sentence(chance) for _ in range(PAGES * 12))
    lines = wrapped(text)
    share = -(-len(lines) // PAGES)
    file = BytesIO()
    pages = [lines[share * page : share * (page + 1)] for page in range(PAGES)]
    write_pages(file, pages, count=PAGES)
    return file.getvalue(), text


def back_up(client: Client, server: PostgresServer, before: Before, directory: Path) -> None:
    """Back up the database first and then the files, with the service running."""
    client.wait_for_pages(before.half_done["job"]["id"], pages=2)
    uploader = Uploader(client)
    uploader.start()
    uploader.wait_for(2)
    before.documents |= dict(uploader.sent)
    dump(server, directory / "rag.dump")
    uploader.wait_for(2)
    client.http.delete(f"/api/v1/documents/{before.deleted}").raise_for_status()
    pack(client.stack.data_dir, directory / "files.tar")
    uploader.end()


def pack(data_dir: Path, path: Path) -> None:
    command = ["tar", "-C", data_dir, "--exclude=uploads/.staging", "-cf", path, "uploads"]
    # 1: a file was deleted while it was read.
    assert subprocess.run(command).returncode in {0, 1}


def dump(server: PostgresServer, path: Path) -> None:
    database = f"{server.admin_url.rpartition('/')[0]}/rag"
    command = [program(server, "pg_dump"), "--format=custom", f"--file={path}", database]
    subprocess.run(command, check=True)


def restore(server: PostgresServer, path: Path) -> None:
    options = ["--exit-on-error", "--clean", "--if-exists", "--create"]
    command = [program(server, "pg_restore"), *options, f"--dbname={server.admin_url}", str(path)]
    subprocess.run(command, check=True)


def program(server: PostgresServer, name: str) -> str:
    """A program of the same PostgreSQL version as the running server."""
    path = Path(psutil.Process(server.pid).exe()).parent / name
    if not path.exists():
        pytest.skip(f"this PostgreSQL comes without {name}")
    return str(path)


def sqlalchemy_url(server: PostgresServer) -> str:
    return server.url.replace("postgresql://", "postgresql+psycopg2://")


def test_a_restored_unfinished_job_ends_by_itself(restored: Restored) -> None:
    assert restored.job["state"] == "running"
    assert 2 <= restored.job["pages_done"] < PAGES
    half_done = restored.before.half_done
    (job,) = restored.client.wait_finished(half_done["job"]["id"])
    assert (job["state"], job["progress"]["pages_done"]) == ("succeeded", PAGES)
    texts = restored.client.texts(half_done["document"]["id"])
    assert " ".join(texts).split() == restored.before.words.split()


def test_no_accepted_document_is_lost(restored: Restored) -> None:
    client = restored.client
    rows = client.query("SELECT id, job_id, sha256 FROM documents")
    hashes = {document: sha256 for document, _, sha256 in rows}
    sent = {
        name: hashlib.sha256(data).hexdigest() for name, data in restored.before.documents.items()
    }
    assert sent.items() <= hashes.items()
    jobs = client.wait_finished(*[job for _, job, _ in rows])
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert_whole(client, documents=len(rows))
    for document in hashes.keys() - {restored.before.deleted}:
        answer = client.http.get(f"/api/v1/documents/{document}/content")
        assert answer.status_code == 200, answer.text
        assert hashlib.sha256(answer.content).hexdigest() == hashes[document]


def test_a_document_deleted_between_dump_and_copy_has_no_file(restored: Restored) -> None:
    answer = restored.client.http.get(f"/api/v1/documents/{restored.before.deleted}/content")
    assert (answer.status_code, answer.json()["code"]) == (404, "file_not_found")


def test_search_conversations_and_keys_are_restored(restored: Restored) -> None:
    client, before = restored.client, restored.before
    found = client.http.post("/api/v1/search", json={"query": QUESTION, "user_id": "alice"})
    assert found.json()["items"][0]["text"] == ANSWER
    assert client.http.get(f"{before.session}/messages").json() == before.messages
    reader = client.stack.client(key=before.key)
    assert reader.get("/api/v1/sessions").status_code == 200
    again = client.http.post(f"{before.session}/chat", json={"message": QUESTION})
    assert [item["position"] for item in before.messages["items"]] == [1, 2]
    assert again.json()["assistant_message"]["position"] == 4


def test_files_without_a_row_are_deleted(restored: Restored) -> None:
    client = restored.client
    known = {key for (key,) in client.query("SELECT storage_key FROM documents")}
    assert stored_keys(client) - known, "uploads went on between the dump and the copy"
    uploads = client.stack.data_dir / "uploads"
    long_ago = time.time() - 2 * ORPHAN_AGE.total_seconds()
    for key in stored_keys(client):
        os.utime(uploads / key, (long_ago, long_ago))
    services = bootstrap(Settings(**{k.lower(): v for k, v in client.stack.env.items()}))
    try:
        remove_orphans(services)
    finally:
        services.close()
    assert len(known - stored_keys(client)) == 1, "that of the deleted document"
    assert stored_keys(client) <= known


def stored_keys(client: Client) -> set[str]:
    uploads = client.stack.data_dir / "uploads"
    return {str(path.relative_to(uploads)) for path in uploads.rglob("*") if path.is_file()}
