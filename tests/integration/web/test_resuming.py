"""Listeners of an answer: replay, resume, several processes, dead writers."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from werkzeug.test import EnvironBuilder

from core.conversations import drafts, endings, turns, writer
from core.conversations.drafts import Draft
from core.conversations.sweeping import close_abandoned
from core.errors import Unavailable
from tests.conftest import API_KEY
from tests.fakes.llm_server import LLMServer, Reply
from tests.integration.web.conftest import Caller
from tests.integration.web.turning import (
    STORY,
    WORDS,
    begin,
    chat,
    done,
    message,
    other_process,
    parse,
    stream,
    text_of,
)
from web.http.deferred import DETACH, source_of


@pytest.fixture(scope="module")
def asker_settings() -> dict[str, Any]:
    return {"chat_timeout_seconds": 5, "web_threads": 4}


def test_a_stream_is_replayed_as_it_was(asker: Caller, llm: LLMServer) -> None:
    llm.script(Reply(deltas=WORDS))
    session = asker.new_session()["id"]
    live = parse(chat(asker, session, stream=True).text)
    answer = live[-1][2]["assistant_message"]
    assert text_of(live) == answer["content"] == STORY
    assert stream(asker, answer["id"]) == live
    question = live[0][2]["user_message"]["id"]
    assert stream(asker, question) == live, "of a question: the events of its answer"


def test_a_stream_resumes_after_any_event_by_header_or_query(asker: Caller, llm: LLMServer) -> None:
    llm.script(Reply(deltas=WORDS))
    asked = len(llm.answer_requests())
    session = asker.new_session()["id"]
    live = parse(chat(asker, session, stream=True).text)
    answer = live[-1][2]["assistant_message"]["id"]
    for cut, (event_id, _, _) in enumerate(live, start=1):
        assert stream(asker, answer, headers={"Last-Event-ID": event_id}) == live[cut:]
        if cut % 7 == 0:
            query = {"starting_after": event_id}
            assert stream(asker, answer, query_string=query) == live[cut:]
    first, both = {"starting_after": "0"}, {"Last-Event-ID": live[3][0]}
    assert stream(asker, answer, query_string=first) == live
    newer = stream(asker, answer, query_string=first, headers=both)
    assert newer == live[4:], "a browser reconnects with the address of its first request"
    assert len(llm.answer_requests()) == asked + 1, "resuming asks no model"


@pytest.mark.parametrize("unknown", ["x", "-1", "999999", "1.5", "¹", "9" * 40])
def test_an_unknown_event_id_is_400(asker: Caller, llm: LLMServer, unknown: str) -> None:
    answer = done(asker, asker.new_session()["id"])
    query = {"starting_after": unknown}
    response = asker.get(f"/messages/{answer['id']}/stream", query_string=query)
    assert (response.status_code, response.get_json()["code"]) == (400, "unknown_event_id")


def test_a_message_without_an_answer_has_no_stream(asker: Caller) -> None:
    session = asker.new_session()["id"]
    said = asker.say(session)
    response = asker.get(f"/messages/{said['id']}/stream")
    assert (response.status_code, response.get_json()["code"]) == (404, "answer_not_found")


def test_a_live_answer_is_followed_from_another_process(
    asker: Caller, llm: LLMServer, make_app: Any
) -> None:
    llm.script(Reply(deltas=WORDS * 3, delay_between=0.05))
    session = asker.new_session()["id"]
    answer = begin(asker, session)
    there = other_process(asker, make_app)
    assert message(there, answer)["status"] == "in_progress"
    with ThreadPoolExecutor(3) as pool:
        remote = pool.submit(stream, there, answer)
        second = pool.submit(stream, there, answer)
        local = pool.submit(stream, asker, answer)
        events = local.result(60)
        assert remote.result(60) == second.result(60) == events
    stored = message(asker, answer)
    assert text_of(events) == stored["content"]
    assert events[-1][1] == "message_completed"
    assert events[-1][2]["assistant_message"] == stored
    assert stream(there, answer) == events, "afterwards too"


def test_a_stream_cut_at_random_places_gives_the_whole_answer(
    asker: Caller, llm: LLMServer, make_app: Any
) -> None:
    """Each listener disconnects after some events and continues at the other process."""
    llm.script(Reply(deltas=WORDS * 6, delay_between=0.02))
    session = asker.new_session()["id"]
    answer = begin(asker, session)
    processes = [asker, other_process(asker, make_app)]

    def listen(seed: int) -> list[tuple[str, str, Any]]:
        dice, heard = random.Random(seed), []
        for turn in range(1000):
            last = {"Last-Event-ID": heard[-1][0]} if heard else {}
            client = processes[turn % 2].app.test_client()
            response = client.get(
                f"/api/v1/messages/{answer}/stream", headers={"X-API-Key": API_KEY, **last}
            )
            quota, seen = dice.randint(1, 12), ""
            for piece in response.response:
                seen += piece.decode()
                if seen.count("event: ") >= quota:
                    break
            response.close()
            heard += parse(seen)
            if heard[-1][1] in ("message_completed", "error"):
                return heard
        raise AssertionError("no end")

    with ThreadPoolExecutor(4) as pool:
        heard = list(pool.map(listen, range(4)))
    stored = message(asker, answer)
    assert stored["status"] == "complete"
    assert all(events == heard[0] for events in heard)
    assert text_of(heard[0]) == stored["content"]


def test_a_client_may_have_stored_text_before_the_process_that_stores_it(
    asker: Caller, llm: LLMServer, make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process reads the text at once, and sends it to the client."""
    settle, answers = Draft.settle, []

    def settle_late(draft: Draft, text: str, *, stored: bool) -> None:
        if answers:
            time.sleep(0.5)
        settle(draft, text, stored=stored)

    monkeypatch.setattr(Draft, "settle", settle_late)
    llm.script(Reply(deltas=WORDS * 3, delay_between=0.05))
    answers.append(begin(asker, asker.new_session()["id"]))
    there, path = other_process(asker, make_app), f"/api/v1/messages/{answers[0]}/stream"
    heard: list[tuple[str, str, Any]] = []
    while not heard or heard[-1][1] != "message_completed":
        last = {"Last-Event-ID": heard[-1][0]} if heard else {}
        response = there.app.test_client().get(path, headers={"X-API-Key": API_KEY, **last})
        heard += parse(next(iter(response.response)).decode())
        response.close()
        newest = {"Last-Event-ID": heard[-1][0]}
        response = asker.app.test_client().get(path, headers={"X-API-Key": API_KEY, **newest})
        assert response.status_code == 200, response.text
        response.close()
    assert text_of(heard) == message(asker, answers[0])["content"]


def test_text_is_sent_once_if_the_end_cannot_be_stored(
    asker: Caller, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_end = endings.store_end

    def fail_once(*args: Any, ending: endings.Ending, **options: Any) -> Any:
        if ending.status == "complete":
            raise Unavailable("The database cannot be reached.")
        return store_end(*args, ending=ending, **options)

    monkeypatch.setattr(endings, "store_end", fail_once)
    monkeypatch.setattr(writer, "SAVE_ATTEMPTS", 1)
    for module in (turns, drafts):
        monkeypatch.setattr(module, "LEASE_SECONDS", 1.0)
    llm.script(Reply(deltas=WORDS, delay_between=0.02))
    events = parse(chat(asker, asker.new_session()["id"], stream=True).text)
    assert events[-1][1] == "error"
    text = text_of(events)
    assert text == events[-1][2]["assistant_message"]["content"]
    assert text
    assert STORY.startswith(text)  # its end may be missing, because it was not stored


def test_an_answer_of_a_dead_process_ends_for_listeners_elsewhere(
    asker: Caller, llm: LLMServer, make_app: Any
) -> None:
    """The writer is silent past its lease; the listener in another process closes the answer."""
    session = asker.new_session()["id"]
    answer = dead_turn(asker, session, chunks=["half ", "an ans"])
    there = other_process(asker, make_app)
    with ThreadPoolExecutor(1) as pool:
        listener = pool.submit(stream, there, answer)
        time.sleep(0.3)
        end_lease(asker, answer)
        events = listener.result(60)
    assert text_of(events) == "half an ans"
    assert events[-1][1] == "error"
    assert events[-1][2]["code"] == "answer_interrupted"
    stored = message(asker, answer)
    assert (stored["status"], stored["content"]) == ("interrupted", "half an ans")
    assert asker.get(f"/sessions/{session}").get_json()["active_message_id"] is None
    assert stream(asker, answer)[:-1] == events[:-1]


def test_all_listeners_of_a_failed_answer_get_the_same_last_event(
    asker: Caller, llm: LLMServer, make_app: Any
) -> None:
    """Its request_id is also the same: that of the request that began the turn."""
    llm.script(Reply(deltas=["half ", "of ", "it"], drop_after=2))
    session = asker.new_session()["id"]
    headers = {"X-Request-ID": "the-first-one"}
    body = {"message": "hello?", "stream": True, "use_rag": False}
    live = parse(asker.post(f"/sessions/{session}/chat", body, headers=headers).text)
    name, problem = live[-1][1:]
    assert (name, problem["code"]) == ("error", "provider_unavailable")
    assert problem["request_id"] == "the-first-one"
    answer = problem["assistant_message"]["id"]
    assert stream(asker, answer) == stream(other_process(asker, make_app), answer) == live
    assert "the-first-one" not in asker.get(f"/sessions/{session}/export").text


def test_a_listener_ends_the_answer_of_a_dead_process(asker: Caller) -> None:
    """Otherwise a slow writer could continue after the end that the listener got."""
    session = asker.new_session()["id"]
    answer = dead_turn(asker, session, chunks=["half"])
    end_lease(asker, answer)
    found = message(asker, answer)
    assert (found["status"], found["error"]["code"]) == ("interrupted", "answer_interrupted")
    events = stream(asker, answer)
    assert (events[-1][1], events[-1][2]["assistant_message"]) == ("error", found)
    close_abandoned(asker.app.extensions["services"])
    assert stream(asker, answer) == events
    assert message(asker, answer) == found


def test_the_sweep_ends_answers_of_dead_processes(asker: Caller) -> None:
    session = asker.new_session()["id"]
    answer = dead_turn(asker, session, chunks=["half"])
    services = asker.app.extensions["services"]
    assert message(asker, answer)["status"] == "in_progress", "its lease lasts"
    close_abandoned(services)
    assert message(asker, answer)["status"] == "in_progress", "nor was it swept"
    end_lease(asker, answer)
    before = message(asker, answer)
    assert before["status"] == "interrupted", "whether or not it was swept"
    assert close_abandoned(services) >= 1
    found = message(asker, answer)
    assert found == before
    assert (found["status"], found["content"]) == ("interrupted", "half")
    assert found["error"]["code"] == "answer_interrupted"


def dead_turn(caller: Caller, session: str, *, chunks: list[str]) -> str:
    """A turn of a dead process: the rows of its first transaction and its flushes."""
    from core.conversations import turns
    from core.conversations.chat import turn_options

    services = caller.app.extensions["services"]
    with services.database.transaction(tenant_id="default") as db:
        rows = turns.open_turn(
            db,
            tenant_id="default",
            session_id=session,
            message="hello?",
            options=turn_options(use_rag=False),
        )
        for number, chunk in enumerate(chunks, start=1):
            db.execute(
                text(
                    "INSERT INTO answer_chunks (message_id, attempt, number, tenant_id, text)"
                    " VALUES (:id, 1, :number, 'default', :text)"
                ),
                {"id": rows.answer.id, "number": number, "text": chunk},
            )
    return str(rows.answer.id)


def end_lease(caller: Caller, answer: str) -> None:
    services = caller.app.extensions["services"]
    with services.database.transaction(tenant_id=None) as db:
        db.execute(
            text("UPDATE messages SET lease_expires_at = now() - interval '1 s' WHERE id = :id"),
            {"id": answer},
        )


def test_a_stream_needs_no_thread(asker: Caller, llm: LLMServer) -> None:
    """Our gunicorn worker gets the events from the response, and reads them in its loop."""
    answer = done(asker, asker.new_session()["id"])
    headers = {"X-API-Key": API_KEY}
    for path, method, body in (
        (f"/messages/{answer['id']}/stream", "GET", None),
        (f"/messages/{answer['id']}/regenerate", "POST", {"stream": True}),
    ):
        builder = EnvironBuilder(f"/api/v1{path}", method=method, json=body, headers=headers)
        environ = builder.get_environ() | {DETACH: True}
        response: Any = asker.app.wsgi_app(environ, lambda *_: lambda _: None)
        assert response.deferred is not None
        source = source_of(response.begin())
        assert source is not None
        response.close()
