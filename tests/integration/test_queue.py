"""The queue: the order of turns, the number of messages, and the periodic tasks."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from celery.beat import ScheduleEntry
from celery.schedules import schedule
from sqlalchemy import event, text

from core.bootstrap import Services
from core.db.models import Document
from core.documents import fairness, ingestion, jobs, page_ranges, records, sweeping, waiting
from core.documents.jobs import Claim
from core.documents.uploads import Accepted
from core.queue.broker import WORK_QUEUE, broker_url
from core.queue.doorbell import Doorbell
from core.search.lexemes import vector_of
from core.settings import Settings
from core.telemetry import measure_database
from launcher.servers import RedisServer, start_redis
from tests.integration.uploading import PAGES, reload, upload, work_off
from tests.pdfs import make_pdf
from worker.app import app
from worker.schedule import LocalScheduler


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path / "redis")
    yield server
    server.stop()


def waiting_messages(server: RedisServer) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.llen(WORK_QUEUE))  # type: ignore[arg-type]


def pdf(pages: int, *, label: str) -> bytes:
    return make_pdf([f"{label} {PAGES[number % 3]} {number}" for number in range(pages)])


def claim(services: Services, **options: Any) -> Claim:
    with services.database.transaction(tenant_id=None) as db:
        found = jobs.claim_range(db, lease_seconds=60, **options)
    assert found is not None
    return found


def served(services: Services, count: int) -> list[str | None]:
    """The users of the next claims, which stay open."""
    users = []
    for _ in range(count):
        document_id = claim(services, max_pages=1).document_id
        with services.database.transaction(tenant_id=None) as db:
            document = db.get(Document, document_id)
            assert document is not None
            users.append(document.user_id)
    return users


def planned(services: Services, pages: int, *, user_id: str, label: str = "") -> Accepted:
    accepted = upload(services, pdf(pages, label=label or user_id), user_id=user_id)
    with services.database.transaction(tenant_id=None) as db:
        plan = jobs.claim_range(db, lease_seconds=60, job_id=accepted.job.id)
    assert plan is not None
    assert plan.is_plan
    with services.database.transaction(tenant_id=None) as db:
        assert jobs.finish_range(db, plan)
        job = jobs.lock_open_job(db, job_id=accepted.job.id)
        assert job is not None
        job.pages_total, job.stage = pages, "indexing"
        waiting.place_in_turns(job)
        page_ranges.queue_pages(db, job_id=job.id, tenant_id=job.tenant_id, first=1, last=pages)
    return accepted


def test_turns_alternate_between_people_however_many_documents_they_have(
    services: Services,
) -> None:
    for number in range(5):
        planned(services, 8, user_id="pile", label=f"Document {number}.")
    planned(services, 8, user_id="single")
    assert served(services, 8) == ["pile", "single"] * 4


def test_a_newcomer_is_served_by_the_next_claim(services: Services) -> None:
    for number in range(5):
        planned(services, 8, user_id="pile", label=f"Document {number}.")
    planned(services, 8, user_id="other")
    served(services, 4)
    upload(services, pdf(1, label="New."), user_id="new")
    assert served(services, 2)[0] == "new"


def test_a_stream_of_newcomers_does_not_starve_others(services: Services) -> None:
    """Every second turn goes to the person who has waited longest."""
    planned(services, 20, user_id="long")
    users = []
    for number in range(8):
        upload(services, pdf(1, label=f"New {number}."), user_id=f"new {number}")
        users += served(services, 1)
    assert "long" in users[:2]
    assert users.count("long") >= 3


def test_one_person_s_short_document_goes_before_their_long_one(services: Services) -> None:
    planned(services, 60, user_id="alice", label="Long.")
    short = planned(services, 1, user_id="alice", label="Short.")
    assert claim(services).job_id == short.job.id


def test_a_document_that_waited_long_enough_is_not_overtaken(services: Services) -> None:
    long = planned(services, 60, user_id="alice", label="Long.")
    hours = timedelta(hours=1)
    with services.database.transaction(tenant_id=None) as db:
        db.execute(
            text("UPDATE jobs SET created_at = :at, finish_by = :by WHERE id = :id"),
            {
                "at": datetime.now(UTC) - hours,
                "by": fairness.finish_by(
                    datetime.now(UTC) - hours, pages_left=60, page_seconds=1.0
                ),
                "id": long.job.id,
            },
        )
    planned(services, 1, user_id="alice", label="Short.")
    assert claim(services).job_id == long.job.id


def test_a_claim_takes_some_seconds_of_work_by_earlier_ranges(services: Services) -> None:
    accepted = planned(services, 60, user_id="alice")
    first = claim(services, max_pages=32, workers=2)
    assert (first.first_page, first.last_page) == (1, fairness.FIRST_PAGES)
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE jobs SET page_ms = 1500"))
    dense = claim(services, max_pages=32, workers=2)
    assert (dense.first_page, dense.last_page) == (6, 7)
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE jobs SET page_ms = 100"))
    light = claim(services, max_pages=32, workers=2)
    assert (light.first_page, light.last_page) == (8, 8 + 14 - 1)
    assert accepted.job.id == light.job_id


def test_each_worker_goes_through_a_stretch_of_its_own(services: Services) -> None:
    """A worker that took every second range would read nearly half of the pages twice."""
    accepted = planned(services, 100, user_id="alice")
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE jobs SET page_ms = 300"))
    stops: list[dict[UUID, int]] = [{}, {}]
    claims: list[list[Claim]] = [[], []]
    while True:
        for mine, stop in zip(claims, stops, strict=True):
            with services.database.transaction(tenant_id=None) as db:
                found = jobs.claim_range(db, lease_seconds=60, workers=2, stopped_at=stop)
                if found is not None:
                    assert jobs.finish_range(db, found)
                    mine.append(found)
                    stop[accepted.job.id] = found.last_page
        if found is None:
            break
    pages = [
        page for one in claims[0] + claims[1] for page in range(one.first_page, one.last_page + 1)
    ]
    assert sorted(pages) == list(range(1, 101)), "each page once"
    assert all(one.number == one.first_page for one in claims[0] + claims[1])
    jumps = [
        mine
        for own in claims
        for before, mine in pairwise(own)
        if mine.first_page != before.last_page + 1
    ]
    assert len(jumps) <= 2
    done = [sum(one.page_count for one in own) for own in claims]
    assert abs(done[0] - done[1]) <= 12, "both end at about the same time"


def test_a_range_that_failed_is_the_next_one_and_keeps_its_first_page(services: Services) -> None:
    """So a document that cannot be ingested fails early, after as many failures as allowed."""
    planned(services, 60, user_id="alice")
    claim(services, workers=2, stopped_at={})
    failed = claim(services, workers=2, stopped_at={})
    assert failed.first_page > fairness.FIRST_PAGES + 1, "the second worker begins elsewhere"
    with services.database.transaction(tenant_id=None) as db:
        assert jobs.release_range(db, failed, delay_seconds=0, failed=True, waiting=False)
    again = claim(services, workers=2, stopped_at={})
    assert (again.range_id, again.first_page) == (failed.range_id, failed.first_page)
    assert again.failures == 1


def test_a_finished_range_sets_the_size_of_the_next_one(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, pdf(3, label="Teach."))
    ingestion.process_next_range(services)
    assert reload(services, accepted)[1].page_ms is None
    ingestion.process_next_range(services)
    assert (reload(services, accepted)[1].page_ms or 0) >= 1


def test_a_short_document_is_ready_after_one_call(services: Services) -> None:
    accepted = upload(services, pdf(fairness.SHORT_PAGES, label="Short."))
    assert ingestion.process_next_range(services, go_on=True)
    assert reload(services, accepted)[0].status == "ready"
    assert work_off(services) == 0


def test_a_short_document_takes_three_transactions(services: Services) -> None:
    """To claim the plan, to write it and claim the pages, and to write the results."""
    accepted = upload(services, pdf(2, label="Short."))
    commits: list[object] = []
    event.listen(services.database.engine, "commit", commits.append)
    ingestion.process_next_range(services, go_on=True)
    assert reload(services, accepted)[0].status == "ready"
    assert len(commits) - 1 == 3, "one is that of `reload`"


def test_a_claim_of_some_pages_takes_six_statements(services: Services) -> None:
    """On a busy machine each one waits for the processor twice, in the worker and in PostgreSQL."""
    planned(services, 12, user_id="alice")
    with measure_database() as database:
        assert claim(services, workers=2).leaves_pages
    assert database.statements == 6


def test_the_other_workers_are_called_before_the_first_pages_are_read(services: Services) -> None:
    """And they find pages to claim."""
    found: list[Claim] = []
    upload(services, pdf(12, label="Long."))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(services.queue, "ring", lambda: found.append(claim(services)))
        ingestion.process_next_range(services, go_on=True)
    assert found[0].first_page > 1


def test_words_are_cut_outside_of_the_transaction(services: Services) -> None:
    """It takes a millisecond per chunk, and the transaction locks the document."""
    open_connections: list[int] = []

    def cut(text: str, *, tenant_id: str) -> str:
        open_connections.append(services.database.engine.pool.checkedout())  # type: ignore[attr-defined]
        return vector_of(text, tenant_id=tenant_id)

    upload(services, pdf(2, label="Short."))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(records, "vector_of", cut)
        ingestion.process_next_range(services, go_on=True)
    assert set(open_connections) == {0}


def test_a_pile_is_read_in_its_order_though_unopened_files_look_small(services: Services) -> None:
    """Their pages are guessed by their bytes; a guess must not put back a document in progress."""
    pile = [upload(services, pdf(12, label=f"Number {n}."), user_id="pile") for n in range(4)]
    for _ in range(20):
        ingestion.process_next_range(services, go_on=True)
        states = [reload(services, one)[1].state for one in pile]
        assert states.count("running") <= 1, "one after the other"
        assert states == sorted(states, key=("succeeded", "running", "queued").index)
    assert states == ["succeeded"] * 4


def test_a_started_document_stays_first_on_a_machine_that_is_slow_for_all(
    services: Services,
) -> None:
    first = planned(services, 12, user_id="pile", label="First.")
    planned(services, 12, user_id="pile", label="Second.")
    with services.database.transaction(tenant_id=None) as db:
        job = jobs.lock_open_job(db, job_id=first.job.id)
        assert job is not None
        job.pages_done, job.page_ms = 3, 2500
        waiting.place_in_turns(job, typical_page_seconds=2.5)
    assert claim(services).job_id == first.job.id
    with services.database.transaction(tenant_id=None) as db:
        job = jobs.lock_open_job(db, job_id=first.job.id)
        assert job is not None
        waiting.place_in_turns(job, typical_page_seconds=0.25)  # ten times the usual work
    assert claim(services).job_id != first.job.id


def test_a_job_that_waits_after_its_planning_has_not_started(services: Services) -> None:
    """Else its remaining time would be computed from a wait."""
    first, second = [upload(services, pdf(12, label=f"{n}."), user_id="pile") for n in range(2)]
    ingestion.process_next_range(services, go_on=True)
    job = reload(services, first)[1]
    assert (job.state, job.stage, job.started_at) == ("queued", "queued", None)
    assert (job.pages_total, job.pages_done) == (12, 0)
    ingestion.process_next_range(services, go_on=True)
    assert reload(services, second)[1].started_at is None
    ingestion.process_next_range(services)
    job = reload(services, first)[1]
    assert (job.state, job.stage) == ("running", "indexing")
    assert job.started_at is not None
    assert job.pages_done > 0


def test_at_most_one_message_waits_however_much_is_due(
    make_services: Callable[..., Services], broker: RedisServer
) -> None:
    services = make_services(redis_url=broker.url)
    for number in range(30):
        upload(services, pdf(1, label=f"Number {number}."), user_id=f"user {number}")
    for _ in range(20):
        assert sweeping.ring_for_due_work(services)
    ring = services.queue.ring()
    if ring is not None:
        ring.result(60)
    deadline = time.monotonic() + 60
    while not waiting_messages(broker):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert waiting_messages(broker) == 1


def test_a_ring_can_ask_for_several_messages(
    make_settings: Callable[..., Settings], broker: RedisServer
) -> None:
    bell = Doorbell(make_settings(redis_url=broker.url))
    for count, expected in ((1, 1), (5, 5), (2, 5)):
        ring = bell.ring(count)
        assert ring is not None
        ring.result(60)
        assert waiting_messages(broker) == expected
    assert broker_url(make_settings(redis_url=broker.url)).startswith("redis")


def test_the_age_of_the_oldest_due_range_is_known_per_tenant(services: Services) -> None:
    upload(services, pdf(1, label="Waits."))
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE page_ranges SET queued_at = now() - interval '1 hour'"))
        ((tenant, age),) = waiting.oldest_due_seconds(db)
    assert tenant == "default"
    assert 3600 <= age < 7200
    claim(services)
    with services.database.transaction(tenant_id=None) as db:
        assert waiting.oldest_due_seconds(db) == []


def test_turns_of_a_day_ago_are_forgotten(services: Services) -> None:
    upload(services, pdf(1, label="Served."))
    claim(services)
    with services.database.transaction(tenant_id=None) as db:
        assert waiting.forget_served(db) == 0
        db.execute(text("UPDATE last_served SET served_at = now() - interval '25 hours'"))
        assert waiting.forget_served(db) == 2


def test_beat_runs_one_task_of_a_kind_at_a_time_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Semaphore(0), threading.Event()
    runs: list[str] = []

    def slow() -> None:
        runs.append("slow")
        started.release()
        go_on.wait(60)

    def quick() -> None:
        runs.append("quick")
        started.release()

    slow.name, quick.name = "slow", "ingest.sweep"  # type: ignore[attr-defined]
    monkeypatch.setitem(app.tasks, "slow", slow)
    monkeypatch.setitem(app.tasks, "quick", quick)
    scheduler = LocalScheduler(app=app, schedule_filename=str(tmp_path / "schedule"), lazy=True)
    entries = [
        ScheduleEntry(name=name, task=name, schedule=schedule(1), app=app)
        for name in ("slow", "quick")
    ]
    scheduler.apply_entry(entries[0])
    assert started.acquire(timeout=60)
    for _ in range(3):
        scheduler.apply_entry(entries[0])
    scheduler.apply_entry(entries[1])
    assert started.acquire(timeout=60)
    assert runs == ["slow", "quick"]
    go_on.set()
