"""Answers survive the end of their web process, of Redis and of their listeners."""

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from tests.fakes.llm_server import CHAT, LLMServer, Reply
from tests.functional.conftest import MakeStack
from tests.functional.faults.conftest import Client

WORDS = [f"word{number} " for number in range(2000)]
Events = list[tuple[str, str, Any]]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="module")
def webs(make_stack: MakeStack, llm: LLMServer) -> tuple[Client, Client]:
    """Two web servers of one service; the first one's process is killed by tests."""
    env = llm.environment | {"WEB_THREADS": "4", "WEB_WORKERS": "1"}
    first = make_stack(env=env)
    second = make_stack(
        env={**env, "API_KEY": first.api_key}, database_url=first.env["DATABASE_URL"]
    )
    for stack in (first, second):
        stack.start("web")
        stack.wait_ready()
    return Client(first, first.client()), Client(second, second.client(key=first.api_key))


@pytest.fixture
def session(webs: tuple[Client, Client]) -> str:
    writer, _ = webs
    if not writer.stack.is_running("web"):
        writer.stack.start("web")
        writer.stack.wait_ready()
    made = writer.http.post("/api/v1/sessions", json={"user_id": "alice", "title": "t"}).json()
    return f"/api/v1/sessions/{made['id']}"


def parse(block: str) -> tuple[str, str, Any]:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    return fields["id"], fields["event"], json.loads(fields["data"])


def listen(response: httpx.Response, *, deltas: int | None = None) -> Events:
    """The events of a stream: all, or the first ones up to `deltas` deltas."""
    heard: Events = []
    block: list[str] = []
    try:
        for line in response.iter_lines():
            if line:
                block.append(line)
                continue
            if block and not block[0].startswith(":"):
                heard.append(parse("\n".join(block)))
            block = []
            if deltas is not None and sum(name == "delta" for _, name, _ in heard) >= deltas:
                break
    except httpx.TransportError:
        pass  # the server was killed: only complete events count
    return heard


def ask(web: Client, session: str, *, deltas: int | None = None) -> Events:
    body = {"message": "Hello?", "stream": True, "use_rag": False}
    with web.http.stream("POST", f"{session}/chat", json=body) as response:
        return listen(response, deltas=deltas)


def resume(web: Client, message_id: str, heard: Events) -> Events:
    headers = {"Last-Event-ID": heard[-1][0]} if heard else {}
    path = f"/api/v1/messages/{message_id}/stream"
    with web.http.stream("GET", path, headers=headers, timeout=120) as response:
        assert response.status_code == 200
        return listen(response)


def items_of(web: Client, session: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = web.http.get(f"{session}/messages").json()["items"]
    return items


def active(web: Client, session: str) -> str | None:
    """The id of the answer that is being written."""
    answer: str | None = web.http.get(session).json()["active_message_id"]
    return answer


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


def text_of(events: Events) -> str:
    return "".join(data["content"] for _, name, data in events if name == "delta")


def test_a_writer_is_killed_and_its_answer_is_read_elsewhere(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    """The writer is killed in mid-answer and Redis is flushed. The joined deltas are the text."""
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


def test_a_writer_is_killed_before_the_first_token(
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


def test_a_stopped_writer_stores_its_text(
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


def test_a_turn_is_stopped_by_a_client_of_another_process(
    webs: tuple[Client, Client], llm: LLMServer, session: str
) -> None:
    _, reader = webs
    llm.script(Reply(deltas=WORDS, delay_between=0.02))
    with ThreadPoolExecutor(2) as pool:
        early, answer = begin(pool, webs, session, until=lambda: active(reader, session))
        late = pool.submit(resume, reader, answer, [])
        assert reader.http.post(f"/api/v1/messages/{answer}/cancel").status_code == 202
        heard, followed = early.result(60), late.result(60)
    assert heard == followed
    assert heard[-1][1] == "message_completed"
    ended = heard[-1][2]["assistant_message"]
    assert (ended["status"], ended["finish_reason"]) == ("interrupted", "cancelled")
    assert text_of(heard) == ended["content"]
    assert llm.wait_for_disconnect(30)
