"""The terminal client against an HTTP server with scripted responses."""

import json

import pytest
from click.testing import CliRunner, Result

from cli.api_client import ApiClient
from cli.errors import ApiError
from cli.main import ragchat
from tests.fakes.scripted_server import ScriptedServer, event

QUESTION = {"id": "q", "content": "?"}
ANSWER = {"id": "a", "content": "One two", "retrieved_context": []}
CREATED = event("message_created", {"user_message": QUESTION}, identifier=1)
COMPLETED = event("message_completed", {"assistant_message": ANSWER}, identifier=4)


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.api_client._RESUME_SECONDS", (0.0, 0.0))


def _delta(content: str, *, identifier: int) -> bytes:
    return event("delta", {"content": content}, identifier=identifier)


def _chat(server: ScriptedServer) -> list[tuple[str, object]]:
    client = ApiClient(url=server.url, api_key="the-key")
    try:
        return list(client.chat("s", message="?"))
    finally:
        client.close()


def _ask(server: ScriptedServer) -> Result:
    command = ["--url", server.url, "--api-key", "the-key", "ask", "--session", "s", "?"]
    return CliRunner().invoke(ragchat, command, catch_exceptions=False)


def test_a_stream_that_breaks_off_is_resumed_behind_its_last_event(server: ScriptedServer) -> None:
    server.will_stream(CREATED, _delta("One ", identifier=2))
    server.will_stream(_delta("two", identifier=3), COMPLETED)
    events = _chat(server)
    assert [name for name, _ in events] == [
        "message_created",
        "delta",
        "delta",
        "message_completed",
    ]
    asked, resumed = server.seen
    assert json.loads(asked.body)["message"] == "?"
    assert (resumed.method, resumed.path) == ("GET", "/api/v1/messages/q/stream")
    assert resumed.headers["Last-Event-ID"] == "2"


def test_a_stream_is_not_resumed_for_ever(server: ScriptedServer) -> None:
    server.will_stream(CREATED)
    server.will_stream(_delta("One ", identifier=2))
    server.will_stream()
    with pytest.raises(ApiError) as caught:
        _chat(server)
    assert caught.value.code == "broken_off"
    assert [seen.method for seen in server.seen] == ["POST", "GET", "GET"]
    assert server.seen[2].headers["Last-Event-ID"] == "2"


def test_a_question_that_was_not_stored_is_not_followed(server: ScriptedServer) -> None:
    server.will_stream()
    with pytest.raises(ApiError):
        _chat(server)
    assert len(server.seen) == 1


def test_an_answer_that_begins_again_is_told_apart_from_the_text_before(
    server: ScriptedServer,
) -> None:
    server.will_stream(
        CREATED, _delta("Wrong", identifier=2), CREATED, _delta("One two", identifier=3), COMPLETED
    )
    result = _ask(server)
    assert result.exit_code == 0
    assert result.stdout == "WrongOne two\n"
    assert "The answer begins again:" in result.stderr


def test_an_answer_that_begins_once_says_nothing_of_it(server: ScriptedServer) -> None:
    server.will_stream(CREATED, _delta("One two", identifier=2), COMPLETED)
    result = _ask(server)
    assert (result.stdout, result.stderr) == ("One two\n", "")
