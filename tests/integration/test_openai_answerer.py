"""OpenAIAnswerer against a real HTTP server."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from core.answering.base import Question, Turn
from core.answering.openai import OpenAIAnswerer, RetryPolicy
from core.errors import ProviderBusy, ProviderError, ProviderTimeout
from tests.fakes.llm_server import LLMServer, Reply
from tests.harness import SLOW_MACHINE_SECONDS

KEY = "sk-very-secret-0123456789"
ASKED = Question(text="Who?", search_query="Who?")


@pytest.fixture
def answerer(llm: LLMServer) -> Iterator[OpenAIAnswerer]:
    built = build(llm)
    yield built
    built.close()


def build(llm: LLMServer, *, timeout: float = 5.0, key: str = KEY) -> OpenAIAnswerer:
    return OpenAIAnswerer(
        base_url=llm.base_url,
        model="test-model",
        api_key=key,
        count_tokens=lambda text: len(text.split()),
        timeout=timeout,
        retry=RetryPolicy(attempts=3, first_wait=0.02, longest_wait=30.0),
    )


def drain(answerer: OpenAIAnswerer, seen: list[str]) -> None:
    for delta in answerer.answer(ASKED):
        seen.append(delta)


def event(content: str | None = None, *, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    data = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


END = event(finish="stop") + b"data: [DONE]\n\n"


def test_streams_deltas_usage_model_and_finish_reason(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(deltas=["It is ", "blue [1]."], usage=(40, 5), finish_reason="length"))
    stream = answerer.answer(ASKED)
    assert list(stream) == ["It is ", "blue [1]."]
    assert stream.usage.as_dict() == {
        "prompt_tokens": 40,
        "completion_tokens": 5,
        "total_tokens": 45,
    }
    assert (stream.model, stream.finish_reason) == ("test-model", "length")


def test_sends_key_history_and_streaming_options(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    history = [Turn("user", "Before?"), Turn("assistant", "Yes.")]
    question = Question(text="Now?", search_query="Now?", history=history)
    list(answerer.answer(question))
    (request,) = llm.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["stream"] is True
    assert request.body["stream_options"] == {"include_usage": True}
    said = [(message["role"], message["content"]) for message in request.body["messages"]]
    assert [role for role, _ in said] == ["system", "user", "assistant", "user"]
    assert said[1:3] == [("user", "Before?"), ("assistant", "Yes.")]


def test_without_a_key_no_authorization_is_sent(llm: LLMServer) -> None:
    answerer = build(llm, key="")
    list(answerer.answer(ASKED))
    answerer.close()
    assert "authorization" not in llm.requests[0].headers


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_characters_and_lines_cut_anywhere(
    llm: LLMServer, answerer: OpenAIAnswerer, size: int
) -> None:
    raw = (event("Größe: 東京 ") + event("🎉") + END).replace(b"\n", b"\r\n")
    raw = b": a comment\r\n\r\nevent: message\r\nid: 7\r\n" + raw
    llm.script(Reply(chunks=[raw[at : at + size] for at in range(0, len(raw), size)]))
    assert "".join(answerer.answer(ASKED)) == "Größe: 東京 🎉"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(deltas=["All"], done=False),
        Reply(deltas=["All"], finish_reason=None),
        Reply(chunks=[event("All") + event(finish="stop")], drop_after=1),
        Reply(deltas=["All"], headers={"Connection": "close"}),
        Reply(body={"choices": [{"message": {"content": "All"}, "finish_reason": "stop"}]}),
        Reply(chunks=[b"\xef\xbb", b"\xbf" + event("All") + END]),
        Reply(chunks=[b'data: {"choices": []}\n\n' + event("All") + END]),
        Reply(chunks=[event("All"), b'data: {"model": {}, "usage": "many"}\n\n', END]),
        Reply(chunks=[event("All"), b'data: {"usage": {"prompt_tokens": Infinity}}\n\n', END]),
    ],
    ids=[
        *("no [DONE]", "no finish_reason", "dropped after the end", "close", "not streaming"),
        *("byte order mark", "no choices", "odd model and usage", "endless usage"),
    ],
)
def test_a_complete_answer_in_an_odd_format(
    llm: LLMServer, answerer: OpenAIAnswerer, reply: Reply
) -> None:
    llm.script(reply)
    assert "".join(answerer.answer(ASKED)) == "All"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(deltas=["Half", "whole"], drop_after=1),
        Reply(deltas=["Half"], done=False, finish_reason=None),
        Reply(chunks=[event("Half"), b"data: {not json\n\n", END]),
        Reply(chunks=[event("Half"), b"data: [1, 2]\n\n", END]),
        Reply(chunks=[event("Half"), b'data: {"choices": "x"}\n\n', END]),
        Reply(chunks=[event("Half"), b'data: {"error": {"message": "overloaded"}}\n\n']),
        Reply(chunks=[event("Half"), b"data: " + b"[" * 100_000 + b"\n\n", END]),
    ],
    ids=["dropped", "no end", "bad json", "array", "wrong shape", "error event", "deep json"],
)
def test_a_failure_in_mid_answer_is_raised_at_once(
    llm: LLMServer, answerer: OpenAIAnswerer, reply: Reply
) -> None:
    llm.script(reply)
    seen: list[str] = []
    with pytest.raises(ProviderError) as caught:
        drain(answerer, seen)
    assert seen == ["Half"]
    assert caught.value.code == "provider_unavailable"
    assert len(llm.requests) == 1


def test_characters_that_no_database_stores_are_replaced(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    raw = ["a\\u0000b ", "\\ud83d", "\\ude00 ", "\\udc00 ", "c\\ud83d"]
    said = [b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % x.encode() for x in raw]
    model = b'data: {"model": "m\\u0000\\ud800", "choices": []}\n\n'
    llm.script(Reply(chunks=[*said, model, END]))
    stream = answerer.answer(ASKED)
    assert "".join(stream) == "a\ufffdb \U0001f600 \ufffd c\ufffd"
    assert stream.model == "m\ufffd\ufffd"


def test_a_line_of_10_mb_is_given_up_early(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    block = b"x" * 65536
    llm.script(Reply(chunks=[event("Half"), b"data: ", *[block] * 160, b"\n\n", END]))
    with pytest.raises(ProviderError):
        list(answerer.answer(ASKED))
    assert llm.wait_for_disconnect()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_tries_again_before_the_first_token(
    llm: LLMServer, answerer: OpenAIAnswerer, status: int
) -> None:
    llm.script(Reply(status=status), Reply(status=status), Reply(deltas=["Well."]))
    assert list(answerer.answer(ASKED)) == ["Well."]
    assert len(llm.requests) == 3


def test_a_connection_dropped_before_the_first_token_is_tried_again(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(drop_after=0), Reply(deltas=["Well."]))
    assert list(answerer.answer(ASKED)) == ["Well."]


def test_waits_as_long_as_retry_after_says(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    llm.script(Reply(status=429, headers={"Retry-After": "1"}), Reply(deltas=["Well."]))
    assert list(answerer.answer(ASKED)) == ["Well."]
    first, second = llm.requests
    assert 1 <= second.at - first.at < 30


def test_a_long_retry_after_is_passed_on(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    llm.script(Reply(status=429, headers={"Retry-After": later}))
    with pytest.raises(ProviderBusy) as caught:
        list(answerer.answer(ASKED))
    assert caught.value.retry_after is not None
    assert 60 < caught.value.retry_after <= 90
    assert len(llm.requests) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422])
def test_a_refusal_is_not_tried_again(
    llm: LLMServer, answerer: OpenAIAnswerer, status: int
) -> None:
    llm.default = Reply(status=status, body={"error": {"message": f"bad key {KEY}"}})
    with pytest.raises(ProviderError) as caught:
        list(answerer.answer(ASKED))
    assert len(llm.requests) == 1
    assert str(status) in caught.value.detail
    assert KEY not in repr(caught.value)


def test_a_server_without_stream_options_is_asked_without(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    refusal = {"error": {"message": "Unrecognized request argument supplied: stream_options"}}
    llm.script(Reply(status=400, body=refusal))
    for _ in range(2):
        assert "".join(answerer.answer(ASKED)) == "Hello from the model."
    assert ["stream_options" in request.body for request in llm.requests] == [True, False, False]


def test_gives_up_after_the_last_attempt(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    llm.default = Reply(status=500)
    with pytest.raises(ProviderError, match="500"):
        list(answerer.answer(ASKED))
    assert len(llm.requests) == 3


def test_a_refused_connection_is_unavailable() -> None:
    server = LLMServer().start()
    server.stop()
    answerer = build(server)
    with pytest.raises(ProviderError) as caught:
        list(answerer.answer(ASKED))
    answerer.close()
    assert caught.value.code == "provider_unavailable"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(delay=60.0),
        Reply(stall_after=0, stall_seconds=60.0),
        Reply(stall_after=1, stall_seconds=60.0),
        Reply(chunks=[b": still here\n\n"] * 1200, delay_between=0.05),
    ],
    ids=["no headers", "no token", "between tokens", "comments only"],
)
def test_a_stall_is_a_timeout(llm: LLMServer, reply: Reply) -> None:
    answerer = build(llm, timeout=0.4)
    llm.script(reply)
    started = time.monotonic()
    with pytest.raises(ProviderTimeout) as caught:
        list(answerer.answer(ASKED))
    answerer.close()
    assert time.monotonic() - started < 2 * SLOW_MACHINE_SECONDS  # of 60
    assert caught.value.code == "provider_timeout"
    assert len(llm.requests) == 1


def test_a_slow_reader_is_no_stall(llm: LLMServer) -> None:
    answerer = build(llm, timeout=0.4)
    comments = [b": still here\n\n"] * 3
    llm.script(Reply(chunks=[event("All"), *comments, event(" of it"), END], delay_between=0.02))
    seen = []
    for delta in answerer.answer(ASKED):
        seen.append(delta)
        time.sleep(0.6)
    answerer.close()
    assert seen == ["All", " of it"]


def test_a_stall_after_the_last_token_is_none(llm: LLMServer) -> None:
    answerer = build(llm, timeout=0.4)
    llm.script(Reply(chunks=[event("All") + event(finish="stop"), b":\n\n"], stall_after=1))
    assert list(answerer.answer(ASKED)) == ["All"]
    answerer.close()


def test_stopping_closes_the_connection(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    llm.script(Reply(deltas=["word "] * 1000, delay_between=0.02))
    seen: list[str] = []
    stream = answerer.answer(ASKED, should_stop=lambda: len(seen) >= 2)
    for delta in stream:
        seen.append(delta)
    assert seen == ["word ", "word "]
    assert stream.finish_reason == "cancelled"
    assert llm.wait_for_disconnect()


def test_stopping_ends_a_wait_for_the_next_attempt(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(status=429, headers={"Retry-After": "20"}))
    stream = answerer.answer(ASKED, should_stop=lambda: bool(llm.requests))
    started = time.monotonic()
    assert list(stream) == []
    assert stream.finish_reason == "cancelled"
    assert time.monotonic() - started < 15  # of 20


@pytest.mark.parametrize(
    ("reply", "heard"),
    [
        (Reply(delay=30.0), []),
        (Reply(stall_after=0), []),
        (Reply(deltas=["word ", "word "], stall_after=1), ["word "]),
        (Reply(body="{", headers={"Content-Length": "9"}), []),
    ],
    ids=["no headers", "no token", "between tokens", "whole body"],
)
def test_stopping_ends_a_stall(llm: LLMServer, reply: Reply, heard: list[str]) -> None:
    answerer = build(llm, timeout=60.0)
    llm.script(reply)
    seen: list[str] = []
    stream = answerer.answer(ASKED, should_stop=lambda: bool(llm.requests) and seen == heard)
    started = time.monotonic()
    for delta in stream:
        seen.append(delta)
    assert seen == heard
    assert stream.finish_reason == "cancelled"
    assert time.monotonic() - started < 20  # of 30
    assert "".join(answerer.answer(ASKED)) == "Hello from the model."
    answerer.close()


def test_stopping_among_comments_closes_the_connection(llm: LLMServer) -> None:
    answerer = build(llm, timeout=60.0)
    llm.script(Reply(chunks=[b": still here\n\n"] * 1000, delay_between=0.03))
    stream = answerer.answer(ASKED, should_stop=lambda: bool(llm.requests))
    assert list(stream) == []
    assert stream.finish_reason == "cancelled"
    assert llm.wait_for_disconnect(30)
    answerer.close()


def test_an_exception_of_should_stop_is_raised(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    llm.script(Reply(stall_after=0))

    def should_stop() -> bool:
        if llm.requests:
            raise LookupError("the database is away")
        return False

    with pytest.raises(LookupError):
        list(answerer.answer(ASKED, should_stop=should_stop))
    assert "".join(answerer.answer(ASKED)) == "Hello from the model."


def answering_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "answering"}


def test_answers_at_once_share_one_thread_that_close_ends(llm: LLMServer) -> None:
    """Other tests of this process may keep answerers open, with their own threads."""
    others = answering_threads()
    answerer = build(llm)
    llm.default = Reply(delay_between=0.05)
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(lambda _: "".join(answerer.answer(ASKED)), range(4)))
    assert written == ["Hello from the model."] * 4
    (own,) = answering_threads() - others
    answerer.close()
    assert not own.is_alive()


def test_leaving_the_iteration_closes_the_connection(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(deltas=["word "] * 1000, delay_between=0.02))
    deltas = answerer.answer(ASKED).deltas
    next(deltas)
    deltas.close()  # type: ignore[attr-defined]
    assert llm.wait_for_disconnect()


def test_a_reader_hears_deltas_in_the_thread_that_all_answers_share(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(deltas=["It is ", "blue."], usage=(40, 5)))
    stream, heard = answerer.answer(ASKED), []
    stream.read(lambda delta: heard.append((delta, threading.current_thread().name)))
    assert heard == [("It is ", "answering"), ("blue.", "answering")]
    assert stream.usage is not None
    assert stream.usage.completion_tokens == 5


def test_a_reader_that_must_begin_again_may_block(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    """The writer stores a new attempt then, so it must not run in the shared thread."""
    llm.script(Reply(deltas=["Passage [1].", "\n</think>\n\n", "Blue ", "it is."]))
    stream, heard = answerer.answer(ASKED), []

    def receive(delta: str) -> None:
        in_shared = threading.current_thread().name == "answering"
        heard.append((delta, stream.restarted, in_shared))
        stream.restarted = False

    stream.read(receive)
    assert heard == [
        *(("Passage [1].", False, True), ("Blue ", True, False), ("it is.", False, True))
    ]


def test_stopping_ends_a_reader_of_a_silent_provider(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(deltas=["word ", "word "], stall_after=1))
    seen: list[str] = []
    stream = answerer.answer(ASKED, should_stop=lambda: bool(seen))
    stream.read(seen.append)
    assert (seen, stream.finish_reason) == (["word "], "cancelled")
    assert llm.wait_for_disconnect()


def test_a_reader_gets_the_errors_of_the_provider_and_its_own(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    def refuse(delta: str) -> None:
        raise LookupError(delta)

    llm.script(Reply(deltas=["Half", "whole"], drop_after=1), Reply(deltas=["a "] * 1000))
    seen: list[str] = []
    with pytest.raises(ProviderError):
        answerer.answer(ASKED).read(seen.append)
    assert seen == ["Half"]
    with pytest.raises(LookupError, match="a "):
        answerer.answer(ASKED).read(refuse)
    assert llm.wait_for_disconnect()


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY}ключ", f"  {KEY}\n"])
def test_an_odd_key_is_in_no_error(llm: LLMServer, key: str) -> None:
    answerer = build(llm, key=key)
    llm.default = Reply(status=401)
    with pytest.raises(ProviderError) as caught:
        list(answerer.answer(ASKED))
    answerer.close()
    shown: BaseException | None = caught.value
    assert KEY not in repr(shown)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
