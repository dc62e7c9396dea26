"""Conversations as files: the content of an export, and its import."""

import json
from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.bootstrap import Services
from core.conversations import turns
from core.conversations.transfer import FORMAT
from tests.integration.web.conftest import Caller

NIL = "00000000-0000-0000-0000-000000000000"


def exported(caller: Caller, session_id: str) -> dict[str, Any]:
    response = caller.get(f"/sessions/{session_id}/export")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    return found


def imported(caller: Caller, file: dict[str, Any], **options: Any) -> dict[str, Any]:
    response = caller.post("/sessions/import", file, **options)
    assert response.status_code == 201, response.text
    session: dict[str, Any] = response.get_json()
    return session


def without_ids(file: dict[str, Any]) -> dict[str, Any]:
    """`file` with each message's id replaced by its place, so that two files can be compared."""
    file = deepcopy(file)
    places: dict[str, Any] = {}
    for part in ("messages", "alternatives"):
        for number, message in enumerate(file[part]):
            places[message["id"]] = f"{part}.{number}"
    for message in file["messages"] + file["alternatives"]:
        message["id"] = places[message["id"]]
        message["reply_to"] = message["reply_to"] and places[message["reply_to"]]
        message["alternatives"] = [places[one] for one in message["alternatives"]]
    del file["exported_at"], file["session"]["id"]
    return file


def test_an_export_has_the_whole_conversation(asker: Caller) -> None:
    session = asker.new_session(title="Trips", metadata={"channel": "web"})["id"]
    first = asker.post(f"/sessions/{session}/chat", {"message": "Where to?"}).get_json()
    answer = first["assistant_message"]
    asker.put(f"/messages/{answer['id']}/feedback", {"rating": "down", "comment": "too short"})
    again = asker.post(f"/messages/{answer['id']}/regenerate").get_json()["assistant_message"]

    file = exported(asker, session)

    assert (file["format"], file["version"]) == (FORMAT, 1)
    assert file["session"]["title"] == "Trips"
    assert file["session"]["metadata"] == {"channel": "web"}
    question, current = file["messages"]
    assert [question["position"], current["position"]] == [1, 2]
    assert (question["content"], current["id"]) == ("Where to?", again["id"])
    assert current["alternatives"] == [answer["id"]]
    assert current["reply_to"] == question["id"]
    assert current["answer_context"]["passages"] == []
    assert current["turn_options"]["use_rag"] is True
    (earlier,) = file["alternatives"]
    assert (earlier["id"], earlier["content"]) == (answer["id"], answer["content"])
    assert earlier["feedback"] == {"rating": "down", "comment": "too short"}


def test_an_imported_session_can_be_exported_and_continued(asker: Caller) -> None:
    session = asker.new_session()["id"]
    answer = asker.post(f"/sessions/{session}/chat", {"message": "Where to?"}).get_json()
    answer_id = answer["assistant_message"]["id"]
    asker.post(f"/messages/{answer_id}/regenerate")
    asker.put(f"/messages/{answer_id}/feedback", {"rating": "up"})
    asker.patch(f"/sessions/{session}/favorite")
    asker.say(session, "And then?", retrieved_context=[{"text": "a note", "score": 1e-7}])
    file = exported(asker, session)

    copy = imported(asker, file)

    assert copy["id"] != session
    assert copy["message_count"] == 3
    assert copy["is_favorite"] is True
    assert without_ids(exported(asker, copy["id"])) == without_ids(file)
    old = {message["id"] for message in file["messages"] + file["alternatives"]}
    listed = asker.get(f"/sessions/{copy['id']}/messages").get_json()["items"]
    assert [message["position"] for message in listed] == [1, 2, 3]
    assert not old & {message["id"] for message in listed}
    # Alternatives can be read, selected and streamed, and the next message is appended.
    (alternative,) = listed[1]["alternatives"]
    assert asker.get(f"/messages/{alternative}").get_json()["feedback"]["rating"] == "up"
    assert asker.post(f"/messages/{alternative}/select").status_code == 200
    stream = asker.get(f"/messages/{alternative}/stream").text
    assert "event: retrieval" in stream
    assert "event: message_completed" in stream
    assert asker.say(copy["id"], "more")["position"] == 4
    assert asker.post(f"/messages/{listed[1]['id']}/regenerate").status_code == 200


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**90), 10**90)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
TIME = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")
SCORE = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
PASSAGE = st.fixed_dictionaries(
    {"text": TEXT}, optional={"filename": TEXT, "quote": TEXT, "score": SCORE, "page_label": TEXT}
)
GIVEN_PASSAGE = st.fixed_dictionaries(
    {
        "index": st.integers(1, 9), "document_id": TEXT, "filename": TEXT,
        "page_start": st.integers(1, 9), "page_end": st.integers(1, 9), "chunk_id": TEXT,
        "text": TEXT, "quote": TEXT, "score": st.floats(0, 1),
        "page_break": st.none() | st.integers(0, 9), "page_label": st.none() | TEXT,
        "quotes": st.lists(st.fixed_dictionaries({"quote": TEXT, "page": st.integers(0, 9)})),
        "heading": TEXT,
    }
)  # fmt: skip
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "use_rag": st.booleans(),
        "top_k": st.none() | st.integers(1, 50),
        "document_ids": st.none() | st.lists(st.uuids().map(str), min_size=1, max_size=2),
        "memory": st.sampled_from(["none", "session", "user"]),
    },
)


def message(sender: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "sender": st.just(sender),
            "content": TEXT,
            "context_metadata": OBJECT,
            "retrieved_context": st.lists(PASSAGE, max_size=2),
            "status": st.sampled_from(["complete", "interrupted", "failed"]),
            "model": st.none() | TEXT,
            "usage": st.none() | OBJECT,
            "created_at": TIME,
            "finish_reason": st.none() | st.sampled_from(["stop", "length", "cancelled"]),
            "error": st.none() | st.fixed_dictionaries({"code": TEXT.filter(bool), "detail": TEXT}),
            "feedback": st.none()
            | st.fixed_dictionaries({"rating": st.just("up"), "comment": st.none() | TEXT}),
            "answer_context": st.none()
            | st.fixed_dictionaries(
                {"passages": st.lists(GIVEN_PASSAGE, max_size=2), "model": st.none() | TEXT}
            ),
            "turn_options": st.none() | OPTIONS,
        }
    )


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Any conversation that the service could have exported."""
    messages: list[dict[str, Any]] = []
    alternatives: list[dict[str, Any]] = []
    for kind in draw(st.lists(st.sampled_from(["said", "noted", "turn"]), max_size=4)):
        sender = "system" if kind == "noted" else "user"
        question = draw(message(sender)) | {"reply_to": None, "alternatives": []}
        question |= {"id": str(uuid4()), "position": len(messages) + 1}
        messages.append(question)
        if kind == "turn":
            answers = draw(st.lists(message("assistant"), min_size=1, max_size=3))
            ids = [str(uuid4()) for _ in answers]
            for number, answer in enumerate(answers):
                answer |= {"id": ids[number], "position": len(messages) + 1}
                answer |= {"reply_to": question["id"], "alternatives": ids[:number]}
            alternatives += answers[:-1]
            messages.append(answers[-1])
    alternatives.sort(key=lambda one: (one["position"], one["id"]))
    session = {
        "id": str(uuid4()), "user_id": draw(TEXT.filter(bool)), "title": draw(st.none() | TEXT),
        "title_is_automatic": draw(st.booleans()), "is_favorite": draw(st.booleans()),
        "metadata": draw(OBJECT), "created_at": draw(TIME), "updated_at": draw(TIME),
        "last_message_at": draw(TIME) if messages else None,
    }  # fmt: skip
    head = {"format": FORMAT, "version": 1, "exported_at": draw(TIME), "session": session}
    return head | {"messages": messages, "alternatives": alternatives}


def as_written(file: dict[str, Any]) -> dict[str, Any]:
    """`file` with times without `.000000` and with numbers as decimals.

    PostgreSQL writes 4.2e16 as 42000000000000000: the same number, but not to Python's floats.
    """
    text = json.dumps(file).replace('.000000Z"', 'Z"')
    loaded: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return loaded


@pytest.mark.timeout(900)
@given(file=files())
@settings(
    max_examples=25,  # each is two requests and a large file
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_file_survives_an_import(alice: Caller, file: dict[str, Any]) -> None:
    copy = imported(alice, file)
    assert as_written(without_ids(exported(alice, copy["id"]))) == as_written(without_ids(file))
    listed = alice.get(f"/sessions/{copy['id']}/messages").get_json()["items"]
    assert [one["position"] for one in listed] == list(range(1, len(file["messages"]) + 1))


def test_only_necessary_fields_are_required(alice: Caller) -> None:
    spoken = [{"sender": "user", "content": "a"}, {"sender": "assistant", "content": "b"}]
    copy = imported(alice, {"session": {"user_id": "alice"}, "messages": spoken})
    assert (copy["title"], copy["message_count"]) == (None, 2)
    assert copy["last_message_at"] is not None
    assert imported(alice, {"session": {"user_id": "alice"}})["last_message_at"] is None


def test_dates_in_the_future_do_not_keep_a_session_first(alice: Caller) -> None:
    session = {"user_id": "alice", "created_at": "2999-01-01T00:00:00Z"}
    copy = imported(alice, {"session": session})
    assert copy["created_at"] == "2999-01-01T00:00:00Z"
    later = alice.new_session()["id"]
    items = alice.get("/sessions").get_json()["items"]
    assert [item["id"] for item in items] == [later, copy["id"]]


def a_turn() -> dict[str, Any]:
    ids = [str(UUID(int=number)) for number in (1, 2, 3)]
    return {
        "session": {"user_id": "alice"},
        "messages": [
            {"id": ids[0], "sender": "user", "content": "q"},
            {"id": ids[1], "sender": "assistant", "content": "a", "reply_to": ids[0],
             "alternatives": [ids[2]]},
        ],
        "alternatives": [
            {"id": ids[2], "sender": "assistant", "content": "b", "reply_to": ids[0]}
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("messages.0.position", 2, "messages.0.position"),
        ("messages.1.position", 3, "messages.1.position"),
        ("messages.1.reply_to", NIL, "messages.1.reply_to"),
        ("messages.0.reply_to", NIL, "messages.0.reply_to"),
        ("messages.1.alternatives", [NIL], "messages.1.alternatives"),
        ("messages.0.alternatives", [NIL], "messages.0.alternatives"),
        ("messages.1.id", str(UUID(int=1)), "messages"),
        ("messages.1.sender", "user", "messages.1.sender"),
        ("messages.0.sender", "system", "messages.1.reply_to"),
        ("messages.0.content", "a\0b", "messages.0.content"),
        ("messages.0.content", "\ud800", "messages.0.content"),
        ("messages.0.content", None, "messages.0.content"),
        ("messages.0.status", "lost", "messages.0.status"),
        ("messages.0.tenant_id", "x", "messages.0.tenant_id"),
        ("messages.1.turn_options", {"document_ids": ["x"]}, None),
        ("messages.1.turn_options", {"stream": True}, None),
        ("messages.1.answer_context", {"passages": [{"text": "x"}]}, None),
        ("alternatives.0.reply_to", NIL, "alternatives.0.reply_to"),
        ("alternatives.0.reply_to", None, "alternatives.0.reply_to"),
        ("alternatives.0.position", 1, "alternatives.0.position"),
        ("alternatives.0.sender", "user", "alternatives.0.sender"),
        ("session.tenant_id", "x", "session.tenant_id"),
        ("session.user_id", "", "session.user_id"),
        ("session.created_at", "yesterday", "session.created_at"),
        ("version", 2, "version"),
        ("format", "other", "format"),
        ("extra", 1, "extra"),
    ],
)
def test_a_file_that_no_export_can_produce_is_refused(
    alice: Caller, path: str, value: object, field: str | None
) -> None:
    file = a_turn()
    assert alice.post("/sessions/import", file).status_code == 201
    before = alice.get("/sessions").get_json()["total"]
    place: Any = file
    *parents, last = path.split(".")
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    response = alice.post("/sessions/import", file)
    assert response.status_code == 400, response.text
    if field is not None:
        assert field in response.get_json()["errors"]
    assert alice.get("/sessions").get_json()["total"] == before


def test_an_import_may_be_as_large_as_an_upload(
    make_app: Callable[..., Flask], alice: Caller
) -> None:
    big = {"sender": "user", "content": "x" * 700_000}
    file = {"session": {"user_id": "alice"}, "messages": [big, big]}
    assert alice.post("/sessions/import", file).status_code == 413  # MAX_UPLOAD_MB is 1 here
    roomy = Caller(make_app(max_upload_mb=2), alice.key, "alice")
    copy = imported(roomy, file)
    assert len(exported(roomy, copy["id"])["messages"][1]["content"]) == 700_000
    response = roomy.post("/sessions", {"user_id": "alice", "metadata": {"x": "y" * 1_200_000}})
    assert response.status_code == 413


def test_a_repeated_import_with_one_key_creates_one_session(alice: Caller) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first = alice.post("/sessions/import", a_turn(), headers=headers)
    second = alice.post("/sessions/import", a_turn(), headers=headers)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.data == second.data
    assert first.headers["Location"] == second.headers["Location"]
    assert alice.get("/sessions").get_json()["total"] == 1


def test_an_answer_in_progress_is_imported_as_interrupted(alice: Caller) -> None:
    session = alice.new_session()["id"]
    services: Services = alice.app.extensions["services"]
    tenant_id = alice.get("/keys").get_json()["items"][0]["tenant"]
    with services.database.transaction(tenant_id=tenant_id) as db:
        turns.open_turn(
            db, tenant_id=tenant_id, session_id=UUID(session), message="Hello?", options={}
        )
    file = exported(alice, session)
    assert [one["status"] for one in file["messages"]] == ["complete", "in_progress"]
    copy = imported(alice, file)
    assert copy["active_message_id"] is None
    answer = alice.get(f"/sessions/{copy['id']}/messages").get_json()["items"][1]
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "answer_interrupted")


def test_markdown_is_for_people(alice: Caller) -> None:
    session = alice.new_session(title="*Bold* <plans>")["id"]
    passage = {"text": "Revenue grew.", "filename": "[x](javascript:1).pdf", "page_start": 3}
    alice.say(session, "How **much**?", retrieved_context=[passage | {"index": 1}])
    response = alice.get(f"/sessions/{session}/export?format=markdown")
    assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.text.startswith("# \\*Bold\\* \\<plans\\>\n")
    assert "## 1. User (" in response.text
    assert "How **much**?" in response.text
    assert "- \\[1\\] \\[x\\]\\(javascript\\:1\\)\\.pdf, page 3: “Revenue grew\\.”" in response.text


@pytest.mark.parametrize("query", ["?format=pdf", "?format=", "?x=1"])
def test_an_unknown_format_is_400(alice: Caller, query: str) -> None:
    session = alice.new_session()["id"]
    assert alice.get(f"/sessions/{session}/export{query}").status_code == 400


def test_another_tenant_gets_nothing(alice: Caller, charlie: Caller, unknown_id: str) -> None:
    session = alice.new_session()["id"]
    assert charlie.get(f"/sessions/{session}/export").status_code == 404
    assert alice.get(f"/sessions/{unknown_id}/export").status_code == 404
    copy = imported(charlie, exported(alice, session))
    assert alice.get(f"/sessions/{copy['id']}").status_code == 404
