"""Chat over HTTP with a provider that is a real server: JSON, events, failures, limits."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from core.conversations.live import LiveAnswers
from tests.conftest import API_KEY
from tests.fakes.llm_server import LLMServer, Reply
from tests.integration.web.conftest import Caller

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def asker_settings() -> dict[str, Any]:
    return {"chat_timeout_seconds": 1, "web_threads": 4}


def events_of(response: Any) -> list[tuple[str, dict[str, Any]]]:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    found = []
    for number, block in enumerate(response.text.strip().split("\n\n"), start=1):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert fields["id"] == str(number)
        found.append((fields["event"], json.loads(fields["data"])))
    return found


def chat(caller: Caller, session: str, **body: Any) -> Any:
    headers = body.pop("headers", {})
    return caller.post(f"/sessions/{session}/chat", {"message": "hello?", **body}, headers=headers)


def test_an_answer_can_be_json(asker: Caller) -> None:
    session = asker.new_session()["id"]
    response = chat(asker, session)
    answer = response.get_json()
    assert response.status_code == 200, response.text
    assert set(answer) == {"user_message", "assistant_message"}
    assert answer["user_message"]["content"] == "hello?"
    assert answer["assistant_message"]["content"] == "Hello from the model."
    assert answer["assistant_message"]["status"] == "complete"
    listed = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert listed == [answer["user_message"], answer["assistant_message"]]


@pytest.mark.parametrize("how", [{"stream": True}, {"headers": {"Accept": "text/event-stream"}}])
def test_an_answer_can_be_an_event_stream(asker: Caller, how: dict[str, Any]) -> None:
    session = asker.new_session()["id"]
    events = events_of(chat(asker, session, **how))
    names = [name for name, _ in events]
    assert names[:2] == ["message_created", "retrieval"]
    assert names[-1] == "message_completed"
    assert set(names[2:-1]) == {"delta"}
    joined = "".join(data["content"] for name, data in events if name == "delta")
    stored = events[-1][1]["assistant_message"]
    assert joined == stored["content"] == "Hello from the model."
    assert events[1][1] == {"passages": []}
    assert asker.get(f"/messages/{stored['id']}").get_json() == stored


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(status=500), 502, "provider_unavailable"),
        (Reply(stall_after=0, stall_seconds=3), 504, "provider_timeout"),
        (Reply(deltas=["[9]"]), 502, "provider_unavailable"),  # nothing is left of it
    ],
)
def test_a_provider_error_is_the_answers_error(
    asker: Caller, llm: LLMServer, reply: Reply, status: int, code: str
) -> None:
    llm.default = reply
    session = asker.new_session()["id"]
    response = chat(asker, session)
    assert (response.status_code, response.get_json()["code"]) == (status, code)
    events = events_of(chat(asker, session, stream=True))
    assert events[-1][0] == "error"
    problem = events[-1][1]
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"]
    messages = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["status"] for item in messages] == ["complete", "failed"] * 2


def test_characters_that_postgresql_cannot_store_do_not_end_a_stream(
    asker: Caller, llm: LLMServer
) -> None:
    said = b'data: {"choices": [{"delta": {"content": "a\\u0000b\\ud800"}}]}\n\ndata: [DONE]\n\n'
    llm.script(Reply(chunks=[said]))
    events = events_of(chat(asker, asker.new_session()["id"], stream=True))
    assert events[-1][0] == "message_completed", events[-1]
    stored = events[-1][1]["assistant_message"]
    assert stored["content"] == "a\ufffdb\ufffd"


def test_a_turn_that_cannot_begin_is_a_problem_even_for_a_stream(
    asker: Caller, unknown_id: str
) -> None:
    response = chat(asker, unknown_id, stream=True)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    session = asker.new_session()["id"]
    assert chat(asker, session, document_ids=[unknown_id], stream=True).status_code == 404
    assert chat(asker, session, document_ids=[unknown_id]).status_code == 404
    assert asker.get(f"/sessions/{session}/messages").get_json()["total"] == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"message": ""}, "message"),
        ({"message": "a\0"}, "message"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 51}, "top_k"),
        ({"memory": "all"}, "memory"),
        ({"use_rag": "yes"}, "use_rag"),
        ({"document_ids": ["x"]}, "document_ids.0"),
        ({"document_ids": []}, "document_ids"),
        ({"role": "system"}, "role"),
    ],
)
def test_invalid_fields_are_named(asker: Caller, change: dict[str, Any], field: str) -> None:
    response = chat(asker, asker.new_session()["id"], **change)
    assert response.status_code == 400
    assert list(response.get_json()["errors"]) == [field]


@pytest.mark.parametrize("stream", [False, True])
def test_concurrent_equal_turns_call_the_provider_once(
    asker: Caller, llm: LLMServer, stream: bool
) -> None:
    llm.default = Reply(delay=0.3)
    session = asker.new_session()["id"]
    key = {"Idempotency-Key": session}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: chat(asker, session, stream=stream, headers=key), range(8))
        )
    assert {answer.status_code for answer in answers} <= {200, 409}
    again = chat(asker, session, stream=stream, headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    first = next(answer for answer in answers if answer.status_code == 200)
    for name in ("Content-Type", "Cache-Control"):
        assert again.headers.get(name) == first.headers.get(name)
    done = [answer.data for answer in answers if answer.status_code == 200]
    assert set(done) == {again.data}
    assert len(llm.answer_requests()) == 1
    assert asker.get(f"/sessions/{session}/messages").get_json()["total"] == 2


def test_concurrent_turns_of_one_session_never_interleave(asker: Caller, llm: LLMServer) -> None:
    llm.default = Reply(delay_between=0.03)
    session = asker.new_session()["id"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(
                lambda n: chat(asker, session, message=f"question {n}", stream=n % 2 == 0), range(6)
            )
        )
    assert {answer.status_code for answer in answers} <= {200, 409, 503}
    listed = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [message["position"] for message in listed] == list(range(1, len(listed) + 1))
    assert [m["sender"] for m in listed] == ["user", "assistant"] * (len(listed) // 2)
    assert {m["content"] for m in listed[1::2]} == {"Hello from the model."}
    done = [answer for answer in answers if answer.status_code == 200]
    assert len(listed) == 2 * len(done) >= 2


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_continues_a_failed_turn(
    asker: Caller, llm: LLMServer, stream: bool
) -> None:
    session = asker.new_session()["id"]
    key = {"Idempotency-Key": session}
    llm.default = Reply(status=500)
    chat(asker, session, stream=stream, headers=key)
    failed = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["status"] for item in failed] == ["complete", "failed"]
    llm.default = Reply()
    again = chat(asker, session, stream=stream, headers=key)
    assert again.status_code == 200
    assert "Hello" in again.text
    assert "Idempotent-Replayed" not in again.headers
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["id"] for item in items] == [item["id"] for item in failed]
    assert items[0] == failed[0]
    assert (items[1]["status"], items[1]["content"]) == ("complete", "Hello from the model.")
    assert chat(asker, session, stream=stream, headers=key).data == again.data


def test_the_key_of_a_failed_turn_is_for_the_same_request_only(
    asker: Caller, llm: LLMServer
) -> None:
    session = asker.new_session()["id"]
    key = {"Idempotency-Key": session}
    llm.default = Reply(status=500)
    chat(asker, session, headers=key)
    llm.default = Reply()
    other = chat(asker, session, message="something else", headers=key)
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_key_reused")


def test_a_second_failure_keeps_the_earlier_text(asker: Caller, llm: LLMServer) -> None:
    session = asker.new_session()["id"]
    key = {"Idempotency-Key": session}
    llm.default = Reply(deltas=["one ", "two ", "three "], drop_after=2)
    chat(asker, session, headers=key)
    llm.default = Reply(status=500)
    assert chat(asker, session, headers=key).status_code == 502
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["status"] for item in items] == ["complete", "failed"]
    assert items[1]["content"].startswith("one ")


@pytest.mark.parametrize("stream", [False, True])
def test_a_completed_turn_is_replayed(asker: Caller, llm: LLMServer, stream: bool) -> None:
    session = asker.new_session()["id"]
    key = {"Idempotency-Key": session}
    first = chat(asker, session, stream=stream, headers=key)
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    # The state after a process dies between the commits of the answer and of the response.
    with asker.app.extensions["services"].database.transaction(tenant_id=None) as db:
        db.execute(
            text(
                "UPDATE idempotency_keys SET status_code = NULL, headers = NULL, body = :asked,"
                " locked_until = now() - interval '1 second' WHERE key = :key"
            ),
            {"asked": UUID(items[0]["id"]).bytes, "key": session},
        )
    again = chat(asker, session, stream=stream, headers=key)
    assert len(llm.answer_requests()) == 1
    assert asker.get(f"/sessions/{session}/messages").get_json()["items"] == items
    if not stream:
        assert again.get_json() == first.get_json()
        return
    assert events_of(first) == events_of(again)


def test_a_disconnect_does_not_stop_the_answer(asker: Caller, llm: LLMServer) -> None:
    llm.default = Reply(deltas=["one ", "two ", "three "] * 10, delay_between=0.02)
    session = asker.new_session()["id"]
    leave_at_the_first_delta(asker, session)
    answer = wait_for_answer(asker, session, "complete")
    assert answer["content"] == "one two three " * 10
    assert answer["finish_reason"] == "stop"


def test_a_disconnect_stops_the_answer_on_request(asker: Caller, llm: LLMServer) -> None:
    llm.default = Reply(deltas=["one ", "two ", "three "] * 20, delay_between=0.1)
    session = asker.new_session()["id"]
    leave_at_the_first_delta(asker, session, on_disconnect="cancel")
    answer = wait_for_answer(asker, session, "interrupted")
    assert answer["content"].startswith("one ")
    assert len(answer["content"]) < 200  # of 280
    assert (answer["finish_reason"], answer["error"]) == ("cancelled", None)


def test_a_disconnect_ends_the_request_to_a_silent_provider(asker: Caller, llm: LLMServer) -> None:
    llm.script(Reply(deltas=["one ", "two ", "three "], stall_after=2, stall_seconds=4))
    session = asker.new_session()["id"]
    leave_at_the_first_delta(asker, session, on_disconnect="cancel")
    assert llm.wait_for_disconnect(30)
    assert wait_for_answer(asker, session, "interrupted")["content"] == "one two"


def test_a_repeated_request_gets_the_answer_to_the_same_question(
    asker: Caller, llm: LLMServer
) -> None:
    llm.script(Reply(deltas=["one ", "two ", "three "] * 10, delay_between=0.05))
    session = asker.new_session()["id"]
    key = {"Idempotency-Key": session}
    leave_at_the_first_delta(asker, session, headers=key)
    begun = {"message": "hello?", "stream": True}
    deadline = time.monotonic() + 30
    while (again := asker.post(f"/sessions/{session}/chat", begun, headers=key)).status_code == 409:
        assert again.get_json()["code"] == "idempotency_in_progress"  # the first is still at it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert events_of(again)[-1][0] == "message_completed"
    items = asker.get(f"/sessions/{session}/messages").get_json()["items"]
    assert [item["status"] for item in items] == ["complete", "complete"]
    assert items[1]["content"] == "one two three " * 10
    assert len(llm.answer_requests()) == 1


def leave_at_the_first_delta(
    caller: Caller, session: str, *, headers: dict[str, str] | None = None, **body: Any
) -> None:
    response = caller.app.test_client().post(
        f"/api/v1/sessions/{session}/chat",
        json={"message": "hello?", "stream": True, **body},
        headers={"X-API-Key": API_KEY, **(headers or {})},
    )
    for piece in response.response:
        if b"event: delta" in piece:
            break
    response.close()


def wait_for_answer(caller: Caller, session: str, status: str) -> dict[str, Any]:
    """Wait until the session's last message has this status, and return it."""
    deadline = time.monotonic() + 30
    while True:
        items = caller.get(f"/sessions/{session}/messages").get_json()["items"]
        answer: dict[str, Any] = items[-1]
        if answer["status"] == status:
            return answer
        assert answer["status"] == "in_progress", answer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_silence_is_filled_with_comments(
    asker: Caller, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.http.streaming.HEARTBEAT_SECONDS", 0.1)
    llm.default = Reply(delay=0.5)
    text = chat(asker, asker.new_session()["id"], stream=True).text
    assert text.count(": keep-alive\n\n") >= 2
    assert text.rstrip().split("\n\n")[-1].startswith("id: ")


def test_answers_beyond_the_limit_of_a_process_are_refused(asker: Caller, llm: LLMServer) -> None:
    live = LiveAnswers(asker.app.extensions["services"], max_turns=3)
    asker.app.extensions["live_answers"] = live
    llm.default = Reply(delay_between=0.5)
    client = asker.app.test_client()

    def begin() -> Any:
        return client.post(
            f"/api/v1/sessions/{asker.new_session()['id']}/chat",
            json={"message": "hello?", "stream": True},
            headers={"X-API-Key": API_KEY},
        )

    running = [begin() for _ in range(3)]
    assert [response.status_code for response in running] == [200] * 3
    refused = begin()
    assert (refused.status_code, refused.get_json()["code"]) == (503, "too_many_streams")
    assert refused.headers["Retry-After"]
    for response in running:
        response.close()
    live.close(patience=30)
    assert live.count == 0
