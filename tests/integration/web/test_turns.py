"""Operations on turns: resume, cancel, retry, regenerate, edit, select, rate, titles."""

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from werkzeug.test import EnvironBuilder

from core.conversations import live
from core.conversations.sweeping import close_abandoned
from tests.conftest import API_KEY
from tests.fakes.llm_server import CHAT, LLMServer, Reply
from tests.integration.steps import wait_until
from tests.integration.web.conftest import Caller
from web.http.deferred import DETACH, source_of

STORY = "Once upon a time, in a lighthouse far away, lived 3 keepers — and 一只猫 too.  The\n\nend."
WORDS = [f" {word}" if number else word for number, word in enumerate(STORY.split(" "))]


@pytest.fixture(scope="module")
def asker_settings() -> dict[str, Any]:
    return {"chat_timeout_seconds": 5, "web_threads": 4}


def parse(data: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(id, event, data) of each event in a stream's text."""
    found = []
    for block in data.strip().split("\n\n"):
        if not block or block.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def text_of(events: list[tuple[str, str, dict[str, Any]]]) -> str:
    return "".join(data["content"] for _, name, data in events if name == "delta")


def chat(caller: Caller, session: str, **body: Any) -> Any:
    return caller.post(f"/sessions/{session}/chat", {"message": "hello?", **body})


def begin(caller: Caller, session: str, **body: Any) -> str:
    """Start a turn, disconnect, and return the id of its answer."""
    response = caller.app.test_client().post(
        f"/api/v1/sessions/{session}/chat",
        json={"message": "hello?", "stream": True, **body},
        headers={"X-API-Key": API_KEY},
    )
    for piece in response.response:
        if b"event: delta" in piece:
            break
    response.close()
    answer: str = caller.get(f"/sessions/{session}").get_json()["active_message_id"]
    return answer


def stream(caller: Caller, message_id: str, **options: Any) -> list[tuple[str, str, Any]]:
    response = caller.get(f"/messages/{message_id}/stream", **options)
    assert response.status_code == 200, response.text
    return parse(response.text)


def message(caller: Caller, message_id: str) -> dict[str, Any]:
    found: dict[str, Any] = caller.get(f"/messages/{message_id}").get_json()
    return found


def done(caller: Caller, session: str, **body: Any) -> dict[str, Any]:
    response = chat(caller, session, **body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.get_json()["assistant_message"]
    return answer


def other_process(caller: Caller, make_app: Any) -> Caller:
    """The same service in another web process, which shares only the database."""
    settings = caller.app.extensions["services"].settings
    return Caller(make_app(**settings.model_dump(include={"chat_provider"})), API_KEY, "other")


# --- resuming ---------------------------------------------------------------------------------


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


# --- cancelling -------------------------------------------------------------------------------


def test_any_process_can_cancel_an_answer_repeatedly(
    asker: Caller, llm: LLMServer, make_app: Any
) -> None:
    llm.script(Reply(deltas=["one ", "two ", "three "], stall_after=2, stall_seconds=6))
    session = asker.new_session()["id"]
    answer = begin(asker, session)
    wait_until(lambda: message(asker, answer)["content"] == "one two", what="the text")
    there = other_process(asker, make_app)
    with ThreadPoolExecutor(1) as pool:
        listener = pool.submit(stream, asker, answer)
        time.sleep(0.2)
        first = there.post(f"/messages/{answer}/cancel")
        events = listener.result(30)
    assert first.status_code == 202
    cancelled = first.get_json()
    assert (cancelled["status"], cancelled["finish_reason"]) == ("interrupted", "cancelled")
    assert (cancelled["content"], cancelled["error"]) == ("one two", None)
    assert llm.wait_for_disconnect(30), "the provider's call ends"
    again = asker.post(f"/messages/{answer}/cancel")
    assert (again.status_code, again.get_json()) == (202, cancelled)
    assert events[-1][1:] == ("message_completed", {"assistant_message": cancelled})
    assert stream(there, answer) == events
    assert done(asker, session)["status"] == "complete", "the session is free"


def test_a_finished_answer_cannot_be_cancelled(asker: Caller) -> None:
    answer = done(asker, asker.new_session()["id"])
    response = asker.post(f"/messages/{answer['id']}/cancel")
    assert (response.status_code, response.get_json()["code"]) == (409, "message_finished")
    assert message(asker, answer["id"]) == answer


# --- answering again --------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("of", ["question", "answer"])
def test_a_retry_writes_a_failed_answer_in_the_same_message(
    asker: Caller, llm: LLMServer, streamed: bool, of: str
) -> None:
    llm.script(Reply(deltas=["half ", "of ", "it"], drop_after=2))
    session = asker.new_session()["id"]
    assert chat(asker, session, use_rag=False).status_code == 502
    question, failed = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert (failed["status"], failed["error"]["code"]) == ("failed", "provider_unavailable")
    assert failed["content"].startswith("half")
    target = question if of == "question" else failed
    response = asker.post(f"/messages/{target['id']}/retry", {"stream": streamed})
    assert response.status_code == 200
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["id"] for item in items] == [question["id"], failed["id"]]
    assert items[0] == question
    assert (items[1]["status"], items[1]["content"]) == ("complete", "Hello from the model.")
    assert (items[1]["error"], items[1]["finish_reason"]) == (None, "stop")
    if streamed:
        assert text_of(parse(response.text)) == "Hello from the model."
    else:
        assert response.get_json()["assistant_message"] == items[1]
    again = asker.post(f"/messages/{failed['id']}/retry")
    assert (again.status_code, again.get_json()["code"]) == (409, "message_finished")


def test_regenerating_keeps_the_earlier_answers(asker: Caller, llm: LLMServer) -> None:
    session = asker.new_session()["id"]
    llm.script(Reply(deltas=["first"]))
    first = done(asker, session, use_rag=False)
    ids = [first["id"]]
    for said in ("second", "third"):
        llm.script(Reply(deltas=[said]))
        response = asker.post(f"/messages/{ids[-1]}/regenerate")
        assert response.status_code == 200, response.text
        answer = response.get_json()["assistant_message"]
        assert (answer["content"], answer["alternatives"]) == (said, ids)
        assert answer["position"] == first["position"]
        ids.append(answer["id"])
    items = asker.get(f"/sessions/{session}/messages").get_json()
    assert [item["content"] for item in items["items"]] == ["hello?", "third"]
    assert items["total"] == 2
    assert message(asker, ids[0])["content"] == "first", "earlier ones can be read"
    assert text_of(stream(asker, ids[0])) == "first"
    chosen = asker.post(f"/messages/{ids[0]}/select")
    assert chosen.status_code == 200
    assert chosen.get_json()["alternatives"] == ids[1:]
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["id"] for item in items][1:] == [ids[0]]
    assert asker.post(f"/messages/{ids[0]}/select").get_json() == chosen.get_json()


def test_the_next_turns_history_has_the_selected_answer(asker: Caller, llm: LLMServer) -> None:
    session = asker.new_session(title="t")["id"]
    llm.script(Reply(deltas=["it is blue"]))
    first = done(asker, session, use_rag=False)
    llm.script(Reply(deltas=["it is red"]))
    asker.post(f"/messages/{first['id']}/regenerate")
    asker.post(f"/messages/{first['id']}/select")
    done(asker, session, use_rag=False, message="sure?")
    sent = str(llm.requests_to(CHAT)[-1].body)
    assert "it is blue" in sent
    assert "it is red" not in sent


def test_the_last_question_is_edited_and_answered_again(asker: Caller, llm: LLMServer) -> None:
    session = asker.new_session(title="t")["id"]
    first = chat(asker, session, use_rag=False).get_json()
    last = chat(asker, session, use_rag=False, message="what colour?").get_json()
    llm.script(Reply(deltas=["blue"]))
    question = last["user_message"]["id"]
    response = asker.put(f"/messages/{question}", {"content": "what size?"})
    assert response.status_code == 200, response.text
    edited = response.get_json()
    assert edited["user_message"]["content"] == "what size?"
    assert edited["assistant_message"]["content"] == "blue"
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["content"] for item in items[2:]] == ["what size?", "blue"]
    assert [item["position"] for item in items] == [1, 2, 3, 4]
    assert "what size?" in str(llm.requests_to(CHAT)[-1].body["messages"][-1])
    for other in (first["user_message"]["id"], last["assistant_message"]["id"]):
        refused = asker.put(f"/messages/{other}", {"content": "x"})
        assert (refused.status_code, refused.get_json()["code"]) == (409, "not_last")


# --- one turn at a time -----------------------------------------------------------------------


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


# --- feedback and titles ----------------------------------------------------------------------


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


def test_the_error_of_a_failed_answer_is_stored(asker: Caller, llm: LLMServer) -> None:
    llm.default = Reply(status=500)
    session = asker.new_session()["id"]
    response = chat(asker, session, use_rag=False)
    failed = asker.get(f"/sessions/{session}/messages").get_json()["items"][1]
    problem = response.get_json()
    assert failed["error"] == {"code": problem["code"], "detail": problem["detail"]}
    assert failed["status"] == "failed"


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
