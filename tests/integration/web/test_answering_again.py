"""Cancel an answer, or have its question answered again: retry, regenerate, select, edit."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.llm_server import CHAT, LLMServer, Reply
from tests.integration.steps import wait_until
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


@pytest.fixture(scope="module")
def asker_settings() -> dict[str, Any]:
    return {"chat_timeout_seconds": 5, "web_threads": 4}


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


def test_an_edit_during_the_answer_waits_for_its_end(asker: Caller, llm: LLMServer) -> None:
    """A second tab edits the question while the first tab shows the answer."""
    llm.script(Reply(deltas=WORDS, delay_between=0.05), Reply(deltas=["blue"]))
    session = asker.new_session(title="t")["id"]
    answer = begin(asker, session, use_rag=False)
    question = asker.get(f"/sessions/{session}/messages").get_json()["items"][0]["id"]
    with ThreadPoolExecutor(2) as pool:
        first_tab = pool.submit(stream, asker, answer)
        edit = pool.submit(asker.put, f"/messages/{question}", {"content": "what size?"})
        events, edited = first_tab.result(60), edit.result(60)
    assert text_of(events) == STORY
    assert events[-1][1] == "message_completed"
    assert edited.status_code == 200, edited.text
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["content"] for item in items] == ["what size?", "blue"]
    assert items == [edited.get_json()[name] for name in ("user_message", "assistant_message")]
