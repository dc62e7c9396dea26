"""Turns of many clients at once, their errors, ratings and titles."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.conversations import live
from tests.fakes.llm_server import CHAT, LLMServer, Reply
from tests.integration.steps import wait_until
from tests.integration.web.conftest import Caller
from tests.integration.web.turning import chat, done, message


@pytest.fixture(scope="module")
def asker_settings() -> dict[str, Any]:
    return {"chat_timeout_seconds": 5, "web_threads": 4}


def test_fifty_concurrent_turns_run_one_by_one(asker: Caller, llm: LLMServer) -> None:
    session = asker.new_session(title="t")["id"]
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(
                lambda n: chat(asker, session, use_rag=False, message=f"q{n}", stream=n % 2 == 0),
                range(50),
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    items: list[dict[str, Any]] = []
    while len(items) < 100:
        query = {"skip": str(len(items)), "limit": "100"}
        items += asker.get(f"/sessions/{session}/messages", query_string=query).get_json()["items"]
    assert [item["position"] for item in items] == list(range(1, 101))
    assert [item["sender"] for item in items] == ["user", "assistant"] * 50
    assert {item["status"] for item in items} == {"complete"}
    assert {item["content"] for item in items[::2]} == {f"q{n}" for n in range(50)}


def test_a_crowd_of_turns_leaves_connections_to_requests(
    asker: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else requests find the pool empty, and answer that the database cannot be reached."""
    lock, prepare_turn, now, most = threading.Lock(), live.prepare_turn, 0, 0

    def slow_prepare(*args: Any, **options: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.1)
        with lock:
            now -= 1
        return prepare_turn(*args, **options)

    monkeypatch.setattr(live, "prepare_turn", slow_prepare)
    sessions = [asker.new_session()["id"] for _ in range(3 * live.MAX_AT_DATABASE)]
    with ThreadPoolExecutor(len(sessions)) as pool:
        answers = list(pool.map(lambda session: chat(asker, session).get_json(), sessions))
    assert {answer["assistant_message"]["status"] for answer in answers} == {"complete"}
    assert 1 < most <= live.MAX_AT_DATABASE


def test_the_error_of_a_failed_answer_is_stored(asker: Caller, llm: LLMServer) -> None:
    llm.default = Reply(status=500)
    session = asker.new_session()["id"]
    response = chat(asker, session, use_rag=False)
    failed = asker.get(f"/sessions/{session}/messages").get_json()["items"][1]
    problem = response.get_json()
    assert failed["error"] == {"code": problem["code"], "detail": problem["detail"]}
    assert failed["status"] == "failed"


def test_an_answer_is_rated_and_the_rating_is_removed(asker: Caller) -> None:
    session = asker.new_session()["id"]
    answer = done(asker, session)
    path = f"/messages/{answer['id']}/feedback"
    rated = asker.put(path, {"rating": "down", "comment": "wrong page"})
    assert rated.status_code == 200
    assert rated.get_json()["feedback"] == {"rating": "down", "comment": "wrong page"}
    assert asker.put(path, {"rating": "up"}).get_json()["feedback"] == {
        "rating": "up",
        "comment": None,
    }
    assert message(asker, answer["id"])["feedback"]["rating"] == "up"
    assert asker.put(path, {"rating": "best"}).status_code == 400
    assert asker.delete(path).status_code == 204
    assert message(asker, answer["id"])["feedback"] is None
    said = asker.say(session)
    refused = asker.put(f"/messages/{said['id']}/feedback", {"rating": "up"})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "not_an_answer")


def test_a_session_gets_a_title_from_its_first_turn(asker: Caller, llm: LLMServer) -> None:
    llm.script(Reply(), Reply(deltas=['"Greetings ', 'at the lighthouse"']))
    session = asker.new_session()["id"]
    done(asker, session, use_rag=False, message="Hello there, who keeps the lighthouse?")
    title = asker.get(f"/sessions/{session}").get_json()["title"]
    assert title == "Hello there, who keeps the lighthouse?", "at once, from the question"
    wait_until(
        lambda: (
            asker.get(f"/sessions/{session}").get_json()["title"] == "Greetings at the lighthouse"
        ),
        what="the LLM's title",
    )


def test_the_llm_writes_a_title_only_in_a_quiet_moment(
    asker: Caller, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TITLE_DELAY_SECONDS", 4.0)
    monkeypatch.setattr(live, "TITLE_PATIENCE_SECONDS", 250.0)
    done(asker, asker.new_session()["id"], use_rag=False)
    other = asker.new_session(title="t")["id"]
    started = time.monotonic()
    while time.monotonic() - started < 5:
        done(asker, other, use_rag=False)
    wait_until(lambda: llm.requests_to(CHAT)[-1].is_for_title, what="the title")
    assert sum(one.is_for_title for one in llm.requests_to(CHAT)) == 1


def test_a_title_set_by_hand_is_never_overwritten(asker: Caller, llm: LLMServer) -> None:
    mine = asker.new_session(title="Mine")["id"]
    done(asker, mine, use_rag=False)
    assert asker.get(f"/sessions/{mine}").get_json()["title"] == "Mine"
    other = asker.new_session()["id"]
    done(asker, other, use_rag=False)
    asker.put(f"/sessions/{other}", {"title": "By hand"})
    wait_until(lambda: asker.app.extensions["live_answers"].count == 0, what="the LLM's title")
    assert asker.get(f"/sessions/{other}").get_json()["title"] == "By hand"
