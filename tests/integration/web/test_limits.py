"""Rate limits, with Redis, without it, and while it is silent."""

import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import redis
from flask import Flask

from core.settings import Settings
from launcher.servers import start_redis
from tests.conftest import API_KEY, NOWHERE_REDIS
from tests.harness import SLOW_MACHINE_SECONDS
from tests.integration.web.conftest import Caller
from web.http.limits import limits_url


def test_limits_are_in_headers_and_enforced(
    make_caller: Callable[..., Caller], tenant: str
) -> None:
    caller = make_caller("limited", tenant=tenant, rate_limit_per_minute=3)
    answers = [caller.get("/sessions") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    remaining = [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert remaining == ["2", "1", "0", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"3"}
    assert len({answer.headers["X-RateLimit-Reset"] for answer in answers}) <= 2
    refused = answers[-1]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "Retry-After" not in answers[0].headers
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.get_json()["code"] == "rate_limited"
    assert caller.get("/nothing").status_code == 429  # every address counts, also an unknown one
    other = make_caller("other", tenant=tenant)
    assert other.get("/sessions").status_code == 200


def test_callers_without_a_key_are_counted_by_address(make_app: Callable[..., Flask]) -> None:
    app = make_app(rate_limit_per_minute=1)
    client = app.test_client()

    def ask(path: str, address: str) -> Any:
        headers = {"X-API-Key": "rcs_wrong"}
        return client.get(path, headers=headers, environ_base={"REMOTE_ADDR": address})

    paths = ["/api/v1/sessions", "/api/v1/nothing"] * 5
    answers = [ask(path, "192.0.2.1") for path in paths]
    assert {answer.status_code for answer in answers} == {401}
    remaining = [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers]
    assert remaining == list(range(9, -1, -1))
    refused = ask("/api/v1/documents", "192.0.2.1")
    assert (refused.status_code, refused.get_json()["code"]) == (429, "rate_limited")
    assert refused.headers["X-RateLimit-Limit"] == "10"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ask("/api/v1/sessions", "192.0.2.2").status_code == 401
    assert Caller(app, API_KEY, "x").get("/sessions").status_code == 200
    assert ask("/health", "192.0.2.1").status_code == 200
    assert client.options("/api/v1/sessions").status_code == 200


def test_a_full_redis_fails_no_request_and_is_logged_once(
    make_app: Callable[..., Flask], tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start_redis(tmp_path / "redis")
    app = make_app(redis_url=server.url, rate_limit_per_minute=4)
    logging.getLogger().addHandler(caplog.handler)
    caller = Caller(app, API_KEY, "x")
    try:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            answers = [caller.get("/sessions").status_code for _ in range(6)]
            assert answers == [200] * 4 + [429] * 2
            time.sleep(1.1)  # it is asked again, and is still full
            assert caller.get("/sessions").status_code == 429
            assert told(caplog) == [logging.WARNING]
            client.config_set("maxmemory", 0)
    finally:
        server.stop()


def test_limits_work_again_after_a_flush_of_redis(
    make_caller: Callable[..., Caller], tenant: str, web_settings: Settings
) -> None:
    caller = make_caller("limited", tenant=tenant, rate_limit_per_minute=3)
    assert caller.get("/sessions").headers["X-RateLimit-Remaining"] == "2"
    with redis.Redis.from_url(limits_url(web_settings.redis_url)) as client:
        client.script_flush()
        own = str(client.client_id())
        listed = {other["id"]: other["db"] for other in client.client_list()}
        others = [id_ for id_, number in listed.items() if number == listed[own] and id_ != own]
        assert others
        for id_ in others:
            client.client_kill_filter(_id=id_)
    answers = [caller.get("/sessions") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_chat_and_uploads_may_cost_more(make_app: Callable[..., Flask], unknown_id: str) -> None:
    caller = Caller(make_app(chat_cost=7, upload_cost=5), API_KEY, "x")

    def spent(method: str, path: str) -> int:
        before = int(caller.get("/sessions").headers["X-RateLimit-Remaining"])
        after = int(caller.call(method, path).headers["X-RateLimit-Remaining"])
        return before - after

    assert spent("POST", f"/sessions/{unknown_id}/chat") == 7
    assert spent("POST", "/documents") == 5
    assert spent("POST", "/search") == 1
    assert spent("GET", "/documents") == 1


def test_without_redis_each_process_enforces_the_limit_and_logs_it(
    make_app: Callable[..., Flask], tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start_redis(tmp_path / "redis")
    app = make_app(redis_url=server.url, rate_limit_per_minute=4)
    logging.getLogger().addHandler(caplog.handler)  # a new app sets the handlers anew
    caller = Caller(app, API_KEY, "x")
    try:
        assert caller.get("/sessions").status_code == 200
    finally:
        server.stop()
    answers = [caller.get("/sessions").status_code for _ in range(6)]
    assert answers == [200] * 4 + [429] * 2
    health = app.test_client().get("/health")
    assert (health.status_code, health.get_json()["status"]) == (200, "degraded")
    assert (health.get_json()["redis"], health.get_json()["limits"]) == (
        "disconnected",
        "per process",
    )
    assert told(caplog) == [logging.WARNING]
    server.start()
    try:
        deadline = time.monotonic() + 60
        while len(told(caplog)) < 2:  # it looks after 1, 2, 4 … s
            assert time.monotonic() < deadline
            caller.get("/sessions")
            time.sleep(0.05)
        back = app.test_client().get("/health").get_json()
        assert (back["status"], back["limits"]) == ("healthy", "shared")
        assert told(caplog) == [logging.WARNING, logging.INFO]
    finally:
        server.stop()


def told(caplog: pytest.LogCaptureFixture) -> list[int]:
    """The log lines about the limits' storage, without those about reached limits."""
    return [
        record.levelno
        for record in caplog.records
        if record.name == "flask-limiter" and "exceeded" not in record.getMessage()
    ]


def test_a_silent_redis_delays_no_request(make_app: Callable[..., Flask]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        app = make_app(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        caller = Caller(app, API_KEY, "x")
        started = time.monotonic()
        statuses = [caller.get("/sessions").status_code for _ in range(6)]
        assert statuses == [200] * 6
        health = app.test_client().get("/health").get_json()
        assert (health["status"], health["workers"]) == ("degraded", None)
        # Without timeouts on its sockets each of these would wait for ever.
        assert time.monotonic() - started < SLOW_MACHINE_SECONDS


def test_a_redis_that_stops_responding_fails_no_request(
    make_app: Callable[..., Flask],
) -> None:
    many = 12
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ThreadPoolExecutor(many) as clients,
    ):
        app = make_app(
            redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0", rate_limit_per_minute=many
        )
        start = Barrier(many)

        def ask() -> int:
            start.wait()
            return Caller(app, API_KEY, "x").get("/documents").status_code

        asked = [clients.submit(ask) for _ in range(many)]
        assert [answer.result() for answer in asked] == [200] * many
        assert Caller(app, API_KEY, "x").get("/documents").status_code == 429, "each was counted"


def test_a_request_takes_one_round_trip_to_redis(app: Flask, alice: Caller) -> None:
    alice.get("/sessions")
    client = app.extensions["redis"]

    def calls() -> int:
        stats = client.info("commandstats")
        return sum(
            value["calls"] for name, value in stats.items() if name.startswith("cmdstat_eval")
        )

    for ask in (alice.get, lambda path: app.test_client().get(f"/api/v1{path}")):
        before, total = calls(), client.info("stats")["total_commands_processed"]
        ask("/sessions")
        assert calls() - before == 1
        # INCRBY and PTTL run inside the script; the two INFOs are ours.
        assert client.info("stats")["total_commands_processed"] - total <= 1 + 2 + 3


@pytest.mark.parametrize(
    ("url", "limits"),
    [
        ("redis://h:1/0", "redis://h:1/1"),
        ("redis://h:1", "redis://h:1/1"),
        ("redis://:p%40w@h:1/3", "redis://:p%40w@h:1/4"),
        ("rediss://u:p@h/2", "rediss://u:p@h/3"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        (NOWHERE_REDIS, NOWHERE_REDIS[:-1] + "1"),
    ],
)
def test_limits_are_in_another_database_than_the_queue(url: str, limits: str) -> None:
    assert limits_url(url) == limits
