"""Steps of tests of turns: ask, listen, and read what is stored."""

import json
from typing import Any

from tests.conftest import API_KEY
from tests.integration.web.conftest import Caller

STORY = "Once upon a time, in a lighthouse far away, lived 3 keepers — and 一只猫 too.  The\n\nend."
WORDS = [f" {word}" if number else word for number, word in enumerate(STORY.split(" "))]


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
