"""Hosts with clocks that are an hour ahead or behind: only PostgreSQL's clock counts."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from launcher.servers import PostgresServer, start_postgres
from tests.fakes.llm_server import LLMServer, Reply
from tests.functional.conftest import MakeStack
from tests.functional.faults import listening
from tests.functional.faults.conftest import QUICK, Client, assert_whole, long_pdf
from tests.harness.ports import free_port

SOURCE = Path(__file__).parent / "clock_skew.c"
CC = shutil.which("cc")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CC is None, reason="needs a C compiler, for a clock that is wrong"),
]


@pytest.fixture(scope="module")
def skew() -> Iterator[Callable[[timedelta], dict[str, str]]]:
    """The environment of a process whose clock is off; PostgreSQL's user can read the library."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        library = Path(directory) / "skew.so"
        command = [str(CC), "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True)

        def environment(by: timedelta) -> dict[str, str]:
            seconds = str(int(by.total_seconds()))
            return {"LD_PRELOAD": str(library), "CLOCK_SKEW_SECONDS": seconds}

        yield environment


@pytest.fixture(scope="module")
def client(make_stack: MakeStack, skew: Callable[[timedelta], dict[str, str]]) -> Iterator[Client]:
    """Web and a worker an hour ahead; beat, another worker and another web an hour behind."""
    ahead, behind = skew(timedelta(hours=1)), skew(timedelta(hours=-1))
    stack = make_stack(env=QUICK | {"LEASE_SECONDS": "30"})
    stack.start("web", env=ahead)
    stack.start("worker", env=ahead)
    stack.start("worker-2", kind="worker", env=behind)
    stack.start("beat", env=behind)
    stack.start("web-2", kind="web", env=behind | {"PORT": str(free_port())})
    stack.wait_ready()
    yield Client(stack, stack.client())
    stack.close()


def hours_off(answer: httpx.Response) -> float:
    return (
        parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)
    ).total_seconds() / 3600


def test_only_a_dead_worker_loses_its_range(client: Client) -> None:
    assert hours_off(client.http.get("/health")) == pytest.approx(1, abs=0.1)
    shared = client.upload(long_pdf(24), user_id="alice")
    (job,) = client.wait_finished(shared["job"]["id"])
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    for name in ("worker", "worker-2"):
        assert "range_lost" not in client.stack.log(name)
    orphaned = client.upload(long_pdf(24, label="Again."), user_id="alice")
    client.wait_for_pages(orphaned["job"]["id"], pages=2)
    client.stack.kill("worker-2")
    (job,) = client.wait_finished(orphaned["job"]["id"])
    assert job["state"] == "succeeded"
    assert_whole(client, documents=2)


def test_keys_expire_by_the_clock_of_the_database(client: Client) -> None:
    ahead = client.http
    behind = httpx.Client(
        base_url=f"http://127.0.0.1:{client.stack.env_of('web-2')['PORT']}", trust_env=False
    )
    soon = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    body = {"name": "k", "scopes": ["read"], "expires_at": soon}
    made = ahead.post("/api/v1/keys", json=body)
    assert made.status_code == 201, made.text
    key = {"X-API-Key": made.json()["key"]}
    with behind:
        assert hours_off(behind.get("/health")) == pytest.approx(-1, abs=0.1)
        for service in (ahead, behind):
            assert service.get("/api/v1/sessions", headers=key).status_code == 200
        client.execute("UPDATE api_keys SET expires_at = now() - interval '30 minutes'")
        for service in (ahead, behind):
            assert service.get("/api/v1/sessions", headers=key).status_code == 401


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server for this test only."""
    server = start_postgres(tmp_path / "postgres", durable=False)
    yield server
    server.stop("immediate")


def test_answers_are_replayed_a_day_later(
    make_stack: MakeStack,
    postgres: PostgresServer,
    skew: Callable[[timedelta], dict[str, str]],
    llm: LLMServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Replays a complete answer, and an answer whose process was killed a day ago."""
    url = postgres.url.replace("postgresql:", "postgresql+psycopg2:")
    stack = make_stack(env=llm.environment, database_url=url)
    stack.migrate()
    stack.start("web")
    stack.wait_ready()
    web = Client(stack, stack.client())
    whole = listening.ask(web, listening.new_session(web))
    llm.script(Reply(deltas=["one ", "two ", "three "] * 100, delay_between=0.05))
    session = listening.new_session(web)
    half = listening.ask(web, session, deltas=5)
    cut = listening.active(web, session)
    assert cut
    stack.kill("web")
    postgres.stop()
    with monkeypatch.context() as patch:
        for name, value in skew(timedelta(days=1)).items():
            patch.setenv(name, value)
        postgres.start()
    stack.redis.stop()
    stack.start("web", env=skew(timedelta(days=1)))
    stack.wait_ready()
    ((now,),) = web.query("SELECT clock_timestamp()")
    assert now - datetime.now(UTC) > timedelta(hours=23)
    answer = whole[-1][2]["assistant_message"]["id"]
    assert listening.resume(web, answer, []) == whole
    assert listening.resume(web, answer, whole[:3]) == whole[3:]
    found = listening.message(web, cut)
    assert (found["status"], listening.active(web, session)) == ("interrupted", None)
    rest = listening.resume(web, cut, half)
    assert rest[-1][2]["code"] == "answer_interrupted"
    assert listening.text_of(half + rest) == listening.message(web, cut)["content"]
    assert listening.text_of(half)
