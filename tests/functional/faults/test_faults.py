"""Faults around an accepted upload. The job must finish without help from the test."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery

from core.db import migrate
from core.queue.broker import broker_url
from core.queue.doorbell import Doorbell
from core.settings import Settings
from launcher.servers import PostgresServer, start_postgres
from tests.functional.faults.conftest import FINISH_SECONDS, Client, assert_whole, long_pdf
from tests.pdfs import make_pdf

PAGES = 24

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def document() -> bytes:
    return long_pdf(PAGES)


def pool_children(client: Client) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(client.stack.pid("worker")).children()
        if "celery" in " ".join(child.cmdline())
    ]


def same_as_clean(client: Client, document_id: str, data: bytes) -> None:
    """Check that the chunks equal those of an undisturbed run of the same bytes."""
    clean = client.upload(data, user_id="undisturbed")
    client.wait_finished(clean["job"]["id"])
    assert client.texts(document_id) == client.texts(clean["document"]["id"])


def test_a_range_whose_worker_is_killed_is_done_by_another(
    faulty: Callable[..., Client], document: bytes
) -> None:
    client = faulty()
    accepted = client.upload(document, user_id="alice")
    client.wait_for_pages(accepted["job"]["id"], pages=4)
    client.stack.kill("worker")
    done = client.job(accepted["job"]["id"])["progress"]["pages_done"]
    assert done < PAGES
    client.stack.start("worker")
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    assert job["progress"]["pages_done"] == PAGES
    same_as_clean(client, accepted["document"]["id"], document)
    assert_whole(client, documents=2)


def test_a_range_whose_pool_process_is_killed_is_done_again(
    faulty: Callable[..., Client], document: bytes
) -> None:
    client = faulty()
    accepted = client.upload(document, user_id="alice")
    client.wait_for_pages(accepted["job"]["id"], pages=2)
    for child in pool_children(client):
        child.kill()
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    same_as_clean(client, accepted["document"]["id"], document)
    assert_whole(client, documents=2)


def test_a_stopped_worker_releases_its_range(
    faulty: Callable[..., Client], document: bytes
) -> None:
    client = faulty(LEASE_SECONDS="600", HEARTBEAT_SECONDS="30")
    accepted = client.upload(document, user_id="alice")
    client.wait_for_pages(accepted["job"]["id"], pages=2)
    client.stack.stop("worker")
    client.stack.start("worker")
    # The lease is long: only a finished or released range is free this soon.
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    assert_whole(client, documents=1)


def test_a_frozen_worker_that_wakes_up_changes_nothing(
    faulty: Callable[..., Client], document: bytes
) -> None:
    client = faulty()
    accepted = client.upload(document, user_id="alice")
    client.wait_for_pages(accepted["job"]["id"], pages=2)
    freeze_in_mid_range(client)
    client.stack.start("worker-2", kind="worker")
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    client.stack.signal("worker", signal.SIGCONT, group=True)
    client.stack.wait_until(
        lambda: "range_lost" in client.stack.log("worker"), what="it notices that it lost its claim"
    )
    assert client.job(accepted["job"]["id"]) == job
    same_as_clean(client, accepted["document"]["id"], document)
    assert_whole(client, documents=2)


def freeze_in_mid_range(client: Client) -> None:
    """Stop the worker with SIGSTOP while it holds a range and is in no transaction.

    A worker that is stopped in the transaction that ends a range loses its connection instead.
    """
    held = (
        "SELECT 1 FROM page_ranges WHERE state = 'running' AND number > 0 AND NOT EXISTS"
        " (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND state LIKE 'idle in transaction%%')"
    )
    for _ in range(100):
        client.stack.signal("worker", signal.SIGSTOP, group=True)
        time.sleep(0.05)  # let statements that are on their way reach PostgreSQL
        if client.query(held):
            return
        client.stack.signal("worker", signal.SIGCONT, group=True)
        time.sleep(0.03)
    raise AssertionError("it never held a range")


def test_an_upload_is_accepted_while_redis_is_down(faulty: Callable[..., Client]) -> None:
    client = faulty()
    usual, _ = timed_upload(client, "A page that is uploaded with Redis.")
    client.stack.redis.stop()
    seconds, accepted = timed_upload(client, "A page that is uploaded without Redis.")
    assert seconds < 3 + 5 * usual
    assert client.job(accepted["job"]["id"])["state"] == "queued"
    assert client.http.get("/health").json()["status"] == "degraded"
    client.stack.redis.start()
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    client.stack.wait_until(lambda: not open_jobs(client), what="both documents are ready")
    assert_whole(client, documents=2)


def timed_upload(client: Client, page: str) -> tuple[float, dict[str, Any]]:
    """Upload a page; return the seconds until its 202, and the response."""
    started = time.monotonic()
    accepted = client.upload(make_pdf([page]), user_id="alice")
    return time.monotonic() - started, accepted


def open_jobs(client: Client) -> list[Any]:
    return client.query("SELECT 1 FROM jobs WHERE state IN ('queued', 'running')")


def test_a_running_range_ends_although_redis_is_killed(
    faulty: Callable[..., Client], document: bytes
) -> None:
    client = faulty()
    accepted = client.upload(document, user_id="alice")
    for pages in (2, 6, 10):
        client.wait_for_pages(accepted["job"]["id"], pages=pages)
        client.stack.redis.kill()
        time.sleep(0.5)
        client.stack.redis.start()
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    assert client.stack.is_running("worker")
    assert client.stack.is_running("beat")
    assert_whole(client, documents=1)


def test_work_continues_after_a_full_redis_and_cut_connections(
    faulty: Callable[..., Client], document: bytes
) -> None:
    client = faulty()
    server = redis.Redis.from_url(client.stack.env["REDIS_URL"])
    server.config_set("maxmemory", 1)
    accepted = client.upload(document, user_id="alice")
    assert client.http.get("/api/v1/documents").status_code == 200
    server.config_set("maxmemory", 0)
    client.wait_for_pages(accepted["job"]["id"], pages=2)
    for _ in range(20):
        server.client_kill_filter(skipme=True)
        time.sleep(0.1)
    (job,) = client.wait_finished(accepted["job"]["id"])
    server.close()
    assert job["state"] == "succeeded"
    assert client.stack.is_running("worker")
    assert client.stack.is_running("beat")
    assert_whole(client, documents=1)


def test_a_worker_survives_a_redis_that_is_full_when_a_message_arrives(
    faulty: Callable[..., Client],
) -> None:
    """The worker cannot record that it took a message. It must receive messages again later."""
    client = faulty()
    message = task_message(client)

    def refused() -> bool:
        server.config_set("maxmemory", 0)
        ring = server.pipeline(transaction=True)
        ring.lpush("ingest", message).config_set("maxmemory", 1)
        ring.execute()
        time.sleep(0.2)
        assert client.stack.is_running("worker")
        return "Connection to broker lost" in client.stack.log("worker")

    with redis.Redis.from_url(client.stack.env["REDIS_URL"]) as server:
        client.stack.wait_until(refused, what="Redis refuses a receipt")
        accepted = client.upload(
            make_pdf(["A page that is sent to a full Redis."]), user_id="alice"
        )
        server.config_set("maxmemory", 0)
        (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    assert client.stack.is_running("worker")
    assert_whole(client, documents=1)


def task_message(client: Client) -> bytes:
    """A doorbell message in the form in which Redis has it."""
    broker = broker_url(Settings(redis_url=client.stack.env["REDIS_URL"]))  # type: ignore[call-arg]
    with redis.Redis.from_url(broker) as raw, Celery(broker=broker, set_as_current=False) as sender:
        sender.send_task("ingest.work", queue="not-heard")
        message = raw.rpop("not-heard")
    assert isinstance(message, bytes)
    return message


def test_twenty_queued_jobs_end_after_redis_is_emptied(faulty: Callable[..., Client]) -> None:
    client = faulty(worker=False)
    accepted = [client.upload(long_pdf(3, label=f"Copy {n}."), user_id="alice") for n in range(20)]
    client.stack.start("worker")
    client.stack.wait_until(
        lambda: any(client.job(item["job"]["id"])["state"] == "running" for item in accepted),
        what="one job runs",
    )
    flush(client)
    jobs = client.wait_finished(*[item["job"]["id"] for item in accepted])
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert_whole(client, documents=20)


def test_a_job_ends_after_postgresql_restarts(
    faulty: Callable[..., Client], own_postgres: PostgresServer, document: bytes
) -> None:
    client = faulty(database_url=sqlalchemy_url(own_postgres))
    accepted = client.upload(document, user_id="alice")
    client.wait_for_pages(accepted["job"]["id"], pages=4)
    own_postgres.stop("immediate")
    answer = client.http.get(f"/api/v1/jobs/{accepted['job']['id']}")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert client.http.get("/health").json()["database"] == "disconnected"
    own_postgres.start()
    assert client.http.get("/health").status_code == 200, "the first request after it is fine"
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    same_as_clean(client, accepted["document"]["id"], document)
    assert_whole(client, documents=2)


def test_repeated_messages_and_second_processes_do_no_work_twice(
    faulty: Callable[..., Client], document: bytes
) -> None:
    client = faulty(LEASE_SECONDS="60")  # even a busy machine renews it in time
    client.stack.start("worker-2", kind="worker")
    client.stack.start("beat-2", kind="beat", env={"DATA_DIR": str(client.stack.directory)})
    client.stack.wait_ready()
    accepted = client.upload(document, user_id="alice")
    ring = Doorbell(
        Settings(  # type: ignore[call-arg]  # the rest stands in the environment
            redis_url=client.stack.env["REDIS_URL"]
        )
    ).ring(5)
    assert ring is not None
    ring.result(FINISH_SECONDS)
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    assert job["progress"]["pages_done"] == PAGES
    same_as_clean(client, accepted["document"]["id"], document)
    assert_whole(client, documents=2)


class Bomb:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_foreign_message_in_the_queue_is_discarded(
    faulty: Callable[..., Client], tmp_path: Path
) -> None:
    client = faulty()
    broker = broker_url(Settings(redis_url=client.stack.env["REDIS_URL"]))  # type: ignore[call-arg]
    with redis.Redis.from_url(broker) as raw:
        for junk in (b"\x80\x04\x95junk", b"{}", b'{"body": "gASV", "content-type": "pickle"}'):
            raw.lpush("ingest", junk)
    with Celery(broker=broker, set_as_current=False) as sender:
        bomb = Bomb(tmp_path / "exploded")
        sender.send_task("ingest.work", [bomb], queue="ingest", serializer="pickle")
        sender.send_task("ingest.work", [str(tmp_path)], queue="ingest")
        sender.send_task("os.mkdir", [str(bomb.path)], queue="ingest")
    accepted = client.upload(make_pdf(["A page behind rubbish."]), user_id="alice")
    (job,) = client.wait_finished(accepted["job"]["id"])
    assert job["state"] == "succeeded"
    for refusal in ("ContentDisallowed", "os.mkdir"):
        client.stack.wait_until(
            lambda: refusal in client.stack.log("worker"),  # noqa: B023  # asked at once
            what=f"the worker says {refusal}",
        )
    assert not bomb.path.exists()
    assert client.stack.is_running("worker")
    with redis.Redis.from_url(broker) as raw:
        client.stack.wait_until(lambda: not raw.llen("ingest"), what="the queue is empty")


def test_a_full_disk_refuses_the_upload_and_loses_nothing(
    faulty: Callable[..., Client], small_disk: Path
) -> None:
    client = faulty(STORAGE_URL=f"file://{small_disk}")
    kept = client.upload(make_pdf(["A page that still fits."]), user_id="alice")
    client.wait_finished(kept["job"]["id"])
    big = make_pdf(["Too big."]) + os.urandom(3 * 1024 * 1024)
    answer = client.http.post(
        "/api/v1/documents", files={"file": ("big.pdf", big, "application/pdf")}
    )
    assert answer.status_code == 507
    assert answer.json()["code"] == "storage_full"
    assert len([path for path in small_disk.rglob("*") if path.is_file()]) == 1
    again = client.stack.client()  # the refusal may have ended the connection
    content = again.get(f"/api/v1/documents/{kept['document']['id']}/content")
    assert content.content.startswith(b"%PDF-")
    assert_whole(client, documents=1)


def sqlalchemy_url(server: PostgresServer) -> str:
    return server.url.replace("postgresql://", "postgresql+psycopg2://")


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server for this test only, which it may stop."""
    server = start_postgres(tmp_path_factory.mktemp("postgres") / "data")
    migrate(sqlalchemy_url(server))
    yield server
    server.stop("immediate")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def flush(client: Client) -> None:
    with redis.Redis.from_url(client.stack.env["REDIS_URL"]) as broker:
        broker.flushall()
