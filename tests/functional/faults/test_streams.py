"""Answers survive the end of their web process, of Redis and of their listeners."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.fakes.llm_server import CHAT, LLMServer, Reply
from tests.functional.conftest import MakeStack
from tests.functional.faults.conftest import Client
from tests.functional.faults.listening import (
    Events,
    RestlessListener,
    active,
    ask,
    items_of,
    message,
    new_session,
    resume,
    text_of,
)
from tests.harness import ROOT, SLOW_MACHINE_SECONDS
from tests.harness.local_llm import MODEL, LocalLLM
from tests.harness.ports import free_port
from tests.harness.stack import WAIT_SECONDS

WORDS = [f"word{number} " for number in range(2000)]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="module")
def webs(make_stack: MakeStack, llm: LLMServer) -> tuple[Client, Client]:
    """Two web servers of one service; the first one's process is killed by tests."""
    env = {"CHAT_TIMEOUT_SECONDS": "20", "WEB_THREADS": "4", "WEB_WORKERS": "1"} | llm.environment
    first = make_stack(env=env)
    second = make_stack(
        env={**env, "API_KEY": first.api_key}, database_url=first.env["DATABASE_URL"]
    )
    for stack in (first, second):
        stack.start("web")
        stack.wait_ready()
    return Client(first, first.client()), Client(second, second.client(key=first.api_key))


@pytest.fixture
def session(webs: tuple[Client, Client], llm: LLMServer) -> str:
    """A session's path; both servers run, and no reply of another test is left."""
    start_again(webs[0])
    llm.forget_scripts()
    return new_session(webs[0])


def start_again(web: Client) -> None:
    if not web.stack.is_running("web"):
        web.stack.start("web")
        web.stack.wait_ready()


def has_text(web: Client, session: str, chars: int) -> bool:
    """Whether at least `chars` characters of the session's first answer are stored."""
    return any(len(item["content"]) >= chars for item in items_of(web, session)[1:])


def begin(
    pool: ThreadPoolExecutor,
    webs: tuple[Client, Client],
    session: str,
    *,
    until: Callable[[], object],
) -> tuple[Future[Events], str]:
    """Ask the writer in a thread and wait for `until`; the future events and the answer's id."""
    writer, reader = webs
    early = pool.submit(ask, writer, session)
    reader.stack.wait_until(until, what="the turn's progress")
    answer = active(reader, session)
    assert answer is not None
    return early, answer


def test_the_answer_of_a_killed_writer_is_read_from_another_process(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    """Redis is flushed and the writer killed during the answer. The joined deltas are the text."""
    writer, reader = webs
    llm.script(Reply(deltas=WORDS, delay_between=0.02))
    with ThreadPoolExecutor(2) as pool:
        early, answer = begin(pool, webs, session, until=lambda: has_text(reader, session, 201))
        late = pool.submit(resume, reader, answer, [])
        with redis.Redis.from_url(writer.stack.redis.url) as client:
            client.flushall()
        writer.stack.kill("web")
        heard = early.result(60)
        followed = late.result(120)
    rest = resume(reader, answer, heard)
    stored = reader.http.get(f"/api/v1/messages/{answer}").json()
    assert (stored["status"], stored["error"]["code"]) == ("interrupted", "answer_interrupted")
    assert stored["content"] == text_of(followed) == text_of(heard + rest)
    assert stored["content"].startswith("word0 word1 ")
    assert followed[:-1] == (heard + rest)[:-1]
    assert [name for _, name, _ in followed][-1] == "error"
    assert active(reader, session) is None


def test_an_answer_without_a_token_ends_after_its_writer_is_killed(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    writer, reader = webs
    llm.script(Reply(deltas=["never"], delay=600))
    asked = len(llm.requests_to(CHAT))
    with ThreadPoolExecutor(1) as pool:
        early, answer = begin(pool, webs, session, until=lambda: len(llm.requests_to(CHAT)) > asked)
        writer.stack.kill("web")
        early.result(60)
    assert text_of(resume(reader, answer, [])) == ""
    assert [item["status"] for item in items_of(reader, session)] == ["complete", "interrupted"]
    llm.script(Reply(deltas=["at last"]))
    again = reader.http.post(f"/api/v1/messages/{answer}/retry")
    assert again.status_code == 200, again.text
    assert again.json()["assistant_message"]["content"] == "at last"


def test_a_writer_that_is_stopped_stores_its_text(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    """After SIGTERM the answer continues for most of the graceful time and is then stored."""
    writer, reader = webs
    llm.script(Reply(deltas=WORDS, delay_between=0.05))
    with ThreadPoolExecutor(1) as pool:
        early, answer = begin(pool, webs, session, until=lambda: has_text(reader, session, 1))
        writer.stack.signal("web", signal.SIGTERM)
        heard = early.result(120)
    stored = reader.http.get(f"/api/v1/messages/{answer}").json()
    assert stored["status"] == "interrupted"
    assert heard[-1][1] == "error", "the client is told"
    assert text_of(heard) == stored["content"]
    assert stored["content"].startswith("word0 word1 ")
    writer.stack.wait_until(lambda: not writer.stack.is_running("web"), what="its end")


def test_a_client_of_another_process_stops_a_turn(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    _, reader = webs
    llm.script(Reply(deltas=WORDS, delay_between=0.02))
    with ThreadPoolExecutor(2) as pool:
        early, answer = begin(pool, webs, session, until=lambda: has_text(reader, session, 1))
        late = pool.submit(resume, reader, answer, [])
        assert reader.http.post(f"/api/v1/messages/{answer}/cancel").status_code == 202
        heard, followed = early.result(60), late.result(60)
    assert heard == followed
    assert heard[-1][1] == "message_completed"
    ended = heard[-1][2]["assistant_message"]
    assert (ended["status"], ended["finish_reason"]) == ("interrupted", "cancelled")
    assert text_of(heard) == ended["content"]
    assert llm.wait_for_disconnect(30)


def test_deltas_of_streams_cut_at_a_hundred_places_make_the_answer(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    """Each cut stream resumes on the other process, while Redis is flushed and one writer killed.

    The killed process writes one answer, the other process the other one. After a restart of
    the killed process, both answers are read again, cut at other places.
    """
    writer, reader = webs
    llm.script(Reply(deltas=WORDS, delay_between=0.02))
    asked = len(llm.requests_to(CHAT))
    ask(writer, session, deltas=1)
    killed = active(reader, session)
    llm.script(Reply(deltas=WORDS[:500], delay_between=0.02))
    other = new_session(reader)
    ask(reader, other, deltas=1)
    finished = active(reader, other)
    assert killed
    assert finished
    assert len(llm.requests_to(CHAT)) == asked + 2
    running = list(webs)
    live = [RestlessListener(lambda: running, id_, seed=1) for id_ in (killed, finished)]
    with ThreadPoolExecutor(2) as pool:
        heard = [pool.submit(listener.run) for listener in live]
        reader.stack.wait_until(lambda: min(one.cuts for one in live) >= 40, what="forty cuts")
        with redis.Redis.from_url(writer.stack.redis.url) as client:
            client.flushall()
        running.remove(writer)
        writer.stack.kill("web")
        events = [future.result(WAIT_SECONDS) for future in heard]
    start_again(writer)
    late = [RestlessListener(lambda: webs, id_, seed=2) for id_ in (killed, finished)]
    assert [listener.run() for listener in late] == events
    for listeners in zip(live, late, strict=True):
        assert sum(listener.cuts for listener in listeners) >= 100
    stored = [message(writer, killed), message(writer, finished)]
    assert [one["status"] for one in stored] == ["interrupted", "complete"]
    assert [one["content"] for one in stored] == [text_of(one) for one in events]
    assert stored[0]["content"].startswith("word0 word1 ")
    assert stored[1]["content"] == "".join(WORDS[:500])
    assert len(llm.requests_to(CHAT)) == asked + 2, "resuming asks no model"


@pytest.mark.parametrize(
    ("replies", "content", "ended"),
    [
        ([Reply(delay=1.0, delay_between=0.4)], "Hello from the model.", "stop"),
        ([Reply(drop_after=2)], "Hello from", "provider_unavailable"),
        ([Reply(stall_after=3, stall_seconds=600)], "Hello from the", "provider_timeout"),
        (
            [Reply(status=429, headers={"Retry-After": "1"}), Reply()],
            "Hello from the model.",
            "stop",
        ),
    ],
    ids=["slow", "failing at the third token", "hanging", "429, then well"],
)
def test_a_slow_or_failing_provider_ends_in_a_stored_answer(
    webs: tuple[Client, Client],
    llm: LLMServer,
    session: str,
    replies: list[Reply],
    content: str,
    ended: str,
) -> None:
    """Listeners of two processes get the same events, and the next turn is answered."""
    writer, reader = webs
    llm.script(*replies)
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(ask, writer, session)
        # The turn may end before this test reads its state.
        reader.stack.wait_until(lambda: len(items_of(reader, session)) == 2, what="the turn")
        answer = items_of(reader, session)[1]["id"]
        late = pool.submit(resume, reader, answer, [])
        events = early.result(WAIT_SECONDS)
        assert late.result(WAIT_SECONDS) == events
    stored = message(reader, answer)
    assert (stored["content"], text_of(events)) == (content, content)
    if ended == "stop":
        assert (stored["status"], stored["finish_reason"], stored["error"]) == (
            "complete",
            "stop",
            None,
        )
        assert events[-1][1:] == ("message_completed", {"assistant_message": stored})
    else:
        assert (stored["status"], stored["error"]["code"]) == ("failed", ended)
        assert (events[-1][1], events[-1][2]["code"]) == ("error", ended)
    assert active(reader, session) is None
    assert ask(reader, session)[-1][1] == "message_completed"


def test_a_tab_that_was_asleep_finds_the_answer_by_the_session(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    """It wakes up while the answer is being written, and again after its end."""
    writer, reader = webs
    llm.script(Reply(deltas=WORDS[:200], delay_between=0.03))
    heard = ask(writer, session, deltas=2)
    answer = active(reader, session)
    assert answer
    assert message(reader, answer)["status"] == "in_progress"
    rest = resume(reader, answer, heard)
    assert text_of(heard + rest) == "".join(WORDS[:200])
    assert active(reader, session) is None
    assert items_of(reader, session)[1] == rest[-1][2]["assistant_message"]
    assert resume(writer, answer, heard) == rest


def test_fifty_concurrent_turns_on_two_processes_run_one_by_one(
    webs: tuple[Client, Client], session: str
) -> None:
    def take_turn(number: int) -> int:
        body = {"message": f"q{number}", "use_rag": False}
        return webs[number % 2].http.post(f"{session}/chat", json=body).status_code

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(take_turn, range(50))) == {200}
    items = webs[0].http.get(f"{session}/messages", params={"limit": 100}).json()["items"]
    assert [item["position"] for item in items] == list(range(1, 101))
    assert [item["sender"] for item in items] == ["user", "assistant"] * 50
    assert {item["content"] for item in items[::2]} == {f"q{number}" for number in range(50)}
    assert {item["content"] for item in items[1::2]} == {"Hello from the model."}


def test_idle_processes_ask_the_database_nothing(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    """While nobody listens. A listener to a silent answer costs one LISTEN and a poll a second."""
    writer, reader = webs
    llm.script(Reply(deltas=["one ", "two "], stall_after=1, stall_seconds=600))
    ask(writer, session, deltas=1)
    answer = active(reader, session)
    with reader.http.stream("GET", f"/api/v1/messages/{answer}/stream") as stream:
        assert "event: delta" in iter(stream.iter_lines())
        assert len(statements(reader, seconds=6)) >= 3, "the poll is seen"
        assert len(listening_backends(reader)) == 1
    reader.http.post(f"/api/v1/messages/{answer}/cancel")
    reader.stack.wait_until(lambda: not listening_backends(reader), what="no LISTEN is left")
    reader.stack.wait_until(lambda: not statements(reader, seconds=6), what="silence", seconds=60)


def listening_backends(web: Client) -> list[Any]:
    return web.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE 'LISTEN %%' AND pid <> pg_backend_pid()"
    )


def statements(web: Client, *, seconds: float) -> set[Any]:
    """(process, time) of each statement that others send; those a quarter second apart count."""
    query = (
        "SELECT pid, state_change FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    known, seen, until = set(web.query(query)), set(), time.monotonic() + seconds
    while time.monotonic() < until:
        seen |= set(web.query(query)) - known
        time.sleep(0.25)
    return seen


def test_a_real_llms_answer_resumes_on_another_process_and_a_cancel_frees_its_slot(
    webs: tuple[Client, Client], real_llm: LocalLLM, session: str
) -> None:
    """A third process calls the LLM; clients of other processes read and stop the answer."""
    stack, reader = webs[0].stack, webs[1]
    port = free_port()
    env = {"PORT": str(port), "CHAT_BASE_URL": real_llm.base_url, "CHAT_MODEL": MODEL}
    stack.start("web-real", kind="web", env=env | {"CHAT_MAX_TOKENS": "300"})
    stack.wait_ready()
    http = stack.client()
    http.base_url = f"http://127.0.0.1:{port}"
    writer = Client(stack, http)
    story = "Tell me a very long story about every animal of the forest, one after the other."
    heard = ask(writer, session, question=story, deltas=3)
    answer = active(reader, session)
    assert answer
    heard += resume(reader, answer, heard)
    stored = message(writer, answer)
    assert (stored["status"], stored["content"]) == ("complete", text_of(heard))
    assert stored["usage"]["completion_tokens"] > 3
    assert resume(writer, answer, []) == heard
    ask(writer, session, question=story, deltas=1)
    answer = active(reader, session)
    assert real_llm.busy_slots() == 1
    assert reader.http.post(f"/api/v1/messages/{answer}/cancel").status_code == 202
    cancelled_at = time.monotonic()
    stack.wait_until(lambda: real_llm.busy_slots() == 0, what="the slot is free")
    assert time.monotonic() - cancelled_at < SLOW_MACHINE_SECONDS  # 1 on a machine at rest
    assert reader.http.post(f"/api/v1/messages/{answer}/cancel").status_code == 202
    stack.stop("web-real")


def test_the_examples_of_the_chat_guide_work(
    webs: tuple[Client, Client], llm: LLMServer, session: str, tmp_path: Path
) -> None:
    """All of docs/chat.md, except the end of the erasure, because no worker runs here."""
    slow = {"delay_between": 0.1, "deltas": WORDS[:40]}
    llm.script(Reply(), Reply(), Reply(**slow), Reply(**slow, stall_after=2, stall_seconds=600))
    llm.script(Reply(deltas=["again"]), Reply(deltas=["further"]), Reply(deltas=["of its lens"]))
    text = (ROOT / "docs" / "chat.md").read_text()
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S))
    commands = commands.replace("alice", "carol")  # whose erasure refuses her new sessions
    web = webs[0]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "API": f"{web.stack.base_url}/api/v1",
            "KEY": web.stack.api_key,
        },
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    said = done.stdout
    assert said.startswith("Hello from the model.\n")
    assert said.count("event: message_completed") == 2
    for line in ("cancelled", "again", "of its lens", "# Lighthouses", "erase_user"):
        assert line in said.splitlines(), line
    assert "{'rating': 'up', 'comment': 'Short and right.'}" in said
