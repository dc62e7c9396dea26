"""The page's API client against an HTTP server with scripted responses."""

import io
import json
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.fakes.scripted_server import Answer, ScriptedServer, event
from tests.harness import SLOW_MACHINE_SECONDS
from tests.harness.ports import free_port
from ui.api_client import ApiClient, ApiError
from ui.config import Config
from ui.turn import Turn
from ui.watcher import Watcher

SESSION = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[ApiClient]:
    client = ApiClient(Config(server.url, "the-key", 50))
    yield client
    client.close()


def _turn(*deltas: str) -> list[bytes]:
    return [
        event("message_created", {"user_message": {"id": "q", "position": 5, "content": "?"}}),
        event("retrieval", {"passages": []}),
        *(event("delta", {"content": delta}) for delta in deltas),
        event("message_completed", {"assistant_message": {}}),
    ]


def test_each_call_has_the_api_key_and_each_post_an_idempotency_key(server, client):
    server.will_send({"id": "s"}, status=201)
    client.create_session(user_id="ann", title=None, key="once")
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("POST", "/api/v1/sessions")
    assert seen.headers["X-API-Key"] == "the-key"
    assert seen.headers["Idempotency-Key"] == "once"
    assert json.loads(seen.body) == {"user_id": "ann"}


def test_a_stream_may_have_ids_comments_split_characters_and_crlf(server, client):
    stream = b": hello\r\n\r\n" + b"".join(_turn("Grö", "ße ✓")) + b": never read\n\n"
    stream = stream.replace(b"\n\n", b"\n\n: ping\n\n")
    server.will_stream(*(stream[at : at + 3] for at in range(0, len(stream), 3)))
    events = list(client.chat(SESSION, message="?", key="k"))
    names = [event.name for event in events]
    assert names == ["message_created", "retrieval", "delta", "delta", "message_completed"]
    assert "".join(event.data.get("content", "") for event in events) == "Größe ✓"
    assert server.seen[0].headers["Accept"] == "text/event-stream"
    assert json.loads(server.seen[0].body) == {"message": "?", "stream": True}


def test_deltas_arrive_while_the_answer_is_being_written(server, client):
    server.pause = 0.1
    server.will_stream(*_turn("a", "b", "c"))
    started = time.monotonic()
    events = client.chat(SESSION, message="?", key="k")
    first = next(event for event in events if event.name == "delta")
    early = time.monotonic() - started
    assert first.data == {"content": "a"}
    list(events)
    assert time.monotonic() - started > early + 0.15


def test_an_error_event_is_raised_with_its_request_id(server, client):
    problem = {"code": "provider_timeout", "detail": "x", "status": 504, "request_id": "r1"}
    server.will_stream(*_turn("half")[:3], event("error", problem))
    events = client.chat(SESSION, message="?", key="k")
    with pytest.raises(ApiError) as raised:
        list(events)
    error = raised.value
    assert (error.code, error.status, error.request_id) == ("provider_timeout", 504, "r1")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        (_turn("half")[:3], "broken_off"),
        ([b"data: {not json\n\n"], "unexpected"),
    ],
)
def test_a_stream_that_ends_early_or_is_no_json_is_an_error(server, client, parts, code):
    server.will_stream(*parts)
    with pytest.raises(ApiError) as raised:
        list(client.chat(SESSION, message="?", key="k"))
    assert raised.value.code == code


def test_a_refused_question_is_an_error_before_any_event(server, client):
    server.will_send({"code": "rate_limited", "detail": "x"}, status=429, Retry_After="3")
    with pytest.raises(ApiError) as raised:
        list(client.chat(SESSION, message="?", key="k"))
    assert (raised.value.status, raised.value.retry_after) == (429, 3.0)


@pytest.mark.parametrize("body", [[1], "text", None])
def test_a_response_of_another_service_is_an_error(server, client, body):
    server.will_send(body)
    server.will_send(body, status=502, X_Request_ID="r9")
    for request_id in (None, "r9"):
        with pytest.raises(ApiError) as raised:
            client.get_session(SESSION)
        assert (raised.value.code, raised.value.request_id) == ("unexpected", request_id)


def test_an_unreachable_service_is_an_error():
    client = ApiClient(Config(f"http://127.0.0.1:{free_port()}", "k", 50))
    with pytest.raises(ApiError) as raised:
        client.get_session(SESSION)
    client.close()
    assert raised.value.code == "unreachable"


def test_a_timeout_is_an_error(server):
    server.pause = 0.5
    client = ApiClient(Config(server.url, "k", 50), timeout=httpx.Timeout(0.1))
    server.answers.append(Answer(200, {"Content-Length": "9"}, [b"{", b"}"]))
    with pytest.raises(ApiError) as raised:
        client.get_session(SESSION)
    client.close()
    assert raised.value.code == "no_answer"


def test_sending_a_file_again_sends_the_same_bytes(server, client):
    answer = {"document": {"id": "d"}, "job": {"id": "j"}}
    server.will_send(answer, status=202, Retry_After="1", Location="/api/v1/jobs/j")
    server.will_send({**answer, "duplicate": True})
    file = io.BytesIO(b"%PDF-1.7 ...")
    uploads = [
        client.upload_document(file, filename='a"b\r\nc.pdf', user_id="ann", key="abc")
        for _ in range(2)
    ]
    assert server.seen[0].body == server.seen[1].body
    assert b"%PDF-1.7 ..." in server.seen[0].body
    assert b"\r\nc.pdf" not in server.seen[0].body
    assert [upload.duplicate for upload in uploads] == [False, True]


def _document(name: str, **fields: object) -> dict[str, object]:
    owners: dict[str, object] = {"user_id": None, "session_id": None}
    return {"id": name, "created_at": name, "status": "ready"} | owners | fields


def test_documents_in_reach_are_the_users_the_sessions_and_the_shared_ones(server, client):
    items = [
        _document("1", user_id="ann"),
        _document("2", user_id="bob"),
        _document("3"),
        _document("4", session_id=SESSION),
        _document("5", session_id="other"),
    ]
    server.will_send({"items": items, "total": 5})
    found = client.documents_in_reach(user_id="ann", session_id=SESSION)
    assert [item["id"] for item in found] == ["4", "3", "1"]


def test_with_many_documents_only_those_of_user_and_session_are_requested(server, client):
    server.will_send({"items": [_document("1")], "total": 900})
    server.will_send({"items": [_document("0", user_id="ann")], "total": 1})
    server.will_send({"items": [_document("2", session_id=SESSION)], "total": 1})
    found = client.documents_in_reach(user_id="ann", session_id=SESSION)
    assert [item["id"] for item in found] == ["2", "1", "0"]


def test_messages_come_oldest_first(server, client):
    server.will_send({"items": [{"position": 2}, {"position": 1}], "total": 2})
    assert [m["position"] for m in client.recent_messages(SESSION).items] == [1, 2]
    assert "order=desc" in server.seen[0].path


def _run(turn: Turn) -> None:
    turn.start()
    deadline = time.monotonic() + 3 * SLOW_MACHINE_SECONDS
    while not turn.finished:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_first_question_starts_its_session(server, client):
    server.will_send({"id": SESSION}, status=201)
    server.will_stream(*_turn("yes"))
    turn = Turn.ask(client, user_id="ann", session_id=None, question="Is it?")
    _run(turn)
    assert (turn.answer, turn.session_id, turn.error) == ("yes", SESSION, None)
    assert json.loads(server.seen[0].body) == {"user_id": "ann"}
    assert turn.includes({"position": 5})
    assert not turn.includes({"position": 4})


def test_a_failed_question_is_repeated_with_the_same_keys(server, client):
    server.will_send({"id": SESSION}, status=201)
    server.will_send({"code": "unavailable", "detail": "x"}, status=503)
    server.will_stream(*_turn("yes"))
    turn = Turn.ask(client, user_id="ann", session_id=None, question="Is it?")
    _run(turn)
    assert turn.error is not None
    assert not turn.accepted
    _run(turn)
    assert (turn.error, turn.answer) == (None, "yes")
    keys = [seen.headers["Idempotency-Key"] for seen in server.seen]
    assert keys[1] == keys[2] != keys[0]
    assert len(keys) == 3


def test_an_answer_that_breaks_off_is_followed_from_its_last_event(server, client):
    first = [
        event("message_created", {"user_message": {"id": "q", "position": 1, "content": "?"}}),
        event("delta", {"content": "half "}, identifier=3),
    ]
    rest = [
        event("delta", {"content": "whole"}, identifier=4),
        event("message_completed", {"assistant_message": {"id": "a"}}, identifier=5),
    ]
    server.will_stream(*first)
    server.will_stream(*rest)
    turn = Turn.ask(client, user_id="ann", session_id=SESSION, question="?")
    _run(turn)
    assert (turn.answer, turn.error, turn.stored_answer) == ("half whole", None, {"id": "a"})
    assert server.seen[1].path == "/api/v1/messages/q/stream?starting_after=3"


def test_an_answer_that_is_being_written_is_resumed(server, client):
    server.will_stream(*_turn("on and on"))
    session = {"id": SESSION, "active_message_id": "a"}
    turn = Turn.resume(client, user_id="ann", session=session)
    _run(turn)
    assert (turn.question, turn.answer) == ("?", "on and on")
    assert server.seen[0].path == "/api/v1/messages/a/stream"


def test_stopping_cancels_the_answer_that_the_session_names(server, client):
    server.will_send({"active_message_id": "a"})
    server.will_send({}, status=202)
    turn = Turn.ask(client, user_id="ann", session_id=SESSION, question="?")
    turn.stop()
    assert [seen.path for seen in server.seen][1] == "/api/v1/messages/a/cancel"
    assert turn.stopping


def test_documents_are_followed_by_one_stream_during_ingestion(server, client):
    waiting = _document("1", status="queued", updated_at="2026-01-01T00:00:00Z")
    reading = waiting | {"status": "processing", "updated_at": "2026-01-01T00:00:01Z"}
    server.pause = 0.2
    server.will_stream(event("document", reading), event("document", reading))
    watcher = Watcher(client)
    watcher.want([_document("0")])
    assert server.seen == []
    watcher.want([waiting])
    deadline = time.monotonic() + 3 * SLOW_MACHINE_SECONDS
    while watcher.latest(waiting)["status"] != "processing":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watcher.want([waiting])
    newer = waiting | {"status": "ready", "updated_at": "2026-01-01T00:00:02Z"}
    assert watcher.latest(newer)["status"] == "ready"
    watcher.want([newer])
    assert [seen.path for seen in server.seen] == ["/api/v1/documents/events"]
