"""Hosts with clocks that are an hour ahead or behind: only PostgreSQL's clock counts."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.functional.conftest import MakeStack
from tests.functional.faults.conftest import QUICK, Client, assert_whole, long_pdf
from tests.harness.ports import free_port

SOURCE = Path(__file__).parent / "clock_skew.c"
CC = shutil.which("cc")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CC is None, reason="needs a C compiler, for a clock that is wrong"),
]


@pytest.fixture(scope="module")
def client(make_stack: MakeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Web and a worker an hour ahead; beat, another worker and another web an hour behind."""
    library = tmp_path_factory.mktemp("skew") / "skew.so"
    command = [str(CC), "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    ahead = {"LD_PRELOAD": str(library), "CLOCK_SKEW_SECONDS": "3600"}
    behind = {"LD_PRELOAD": str(library), "CLOCK_SKEW_SECONDS": "-3600"}
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
