"""Answers by an LLM behind an OpenAI-compatible `/chat/completions`."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from core.answering.base import AnswerStream, Question, Usage
from core.answering.prompt import CountTokens, build_messages
from core.answering.sse import MAX_EVENT_BYTES, iter_event_data
from core.answering.streaming import POLL_SECONDS, Exchange, LoopThread, Stopped
from core.errors import ProviderBusy, ProviderError, ProviderTimeout
from core.providers.retry_after import parse_retry_after
from core.text.unicode import repaired, storable

_CONNECT_TIMEOUT = 5.0
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_OVERLOADED = frozenset({429, 503, 529})
_MAX_MODEL_CHARS = 200


class _Retry(Exception):
    """An attempt failed before its first token in a way that may pass."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.detail)
        self.error = error


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to wait, in seconds, before the first token.

    A `Retry-After` longer than `longest_wait` is not waited for: ProviderBusy carries it.
    """

    attempts: int = 3
    first_wait: float = 0.5
    longest_wait: float = 10.0

    def wait_before(self, attempt: int, error: ProviderError) -> float:
        """Seconds to wait before attempt number `attempt`, counted from 0."""
        wait = self.first_wait * 2.0 ** (attempt - 1)
        asked = error.retry_after if isinstance(error, ProviderBusy) else None
        return max(wait, asked) if asked is not None else min(wait, self.longest_wait)


class OpenAIAnswerer:
    """Streams answers from `{base_url}/chat/completions`. Safe to share between threads.

    `timeout` is the longest wait in seconds for the first and for each further token;
    `base_url` ends in `/v1`. The key is in no error this raises.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str,
        count_tokens: CountTokens,
        history_tokens: int = 2000,
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.model = model
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {b"Accept": b"text/event-stream", b"Accept-Encoding": b"identity"}
        if api_key.strip():
            # As bytes: a key with characters no header can hold must not fail with itself in
            # the message.
            self._headers[b"Authorization"] = b"Bearer " + api_key.strip().encode()
        self._timeout = timeout
        self._count_tokens = count_tokens
        self._history_tokens = history_tokens
        self._retry = retry or RetryPolicy()
        self._asks_for_usage = True
        self._loop = LoopThread()
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=min(_CONNECT_TIMEOUT, timeout)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
        )

    def answer(
        self, question: Question, *, should_stop: Callable[[], bool] = lambda: False
    ) -> AnswerStream:
        """Ask the LLM. The request is sent when the first delta is asked for.

        Failures before the first token are tried again (429, 5xx, no connection); later ones
        are raised at once. `should_stop` ends it, with `finish_reason` `cancelled`, also while
        the provider is silent. Raises, while iterated, ProviderBusy, ProviderTimeout,
        ProviderError.
        """
        stream = AnswerStream(deltas=iter(()), model=self.model)
        messages = build_messages(
            question, history_tokens=self._history_tokens, count_tokens=self._count_tokens
        )
        stream.deltas = self._write(stream, messages, should_stop)
        return stream

    def close(self) -> None:
        """Close idle connections. No answer may be under way."""
        self._loop.run(self._client.aclose(), should_stop=lambda: False)
        self._loop.close()

    def _write(
        self, stream: AnswerStream, messages: list[dict[str, str]], should_stop: Callable[[], bool]
    ) -> Iterator[str]:
        body: dict[str, Any] = {"model": self.model, "messages": messages, "stream": True}
        if self._asks_for_usage:
            body["stream_options"] = {"include_usage": True}
        try:
            for attempt in range(1, self._retry.attempts + 1):
                try:
                    yield from self._attempt(stream, body, should_stop)
                    return
                except _Retry as failed:
                    self._pause_or_raise(failed.error, attempt, should_stop)
        except Stopped:
            stream.finish_reason = "cancelled"

    def _pause_or_raise(
        self, error: ProviderError, attempt: int, should_stop: Callable[[], bool]
    ) -> None:
        wait = self._retry.wait_before(attempt, error)
        if attempt >= self._retry.attempts or wait > self._retry.longest_wait:
            raise error from None
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            _check(should_stop)
            time.sleep(min(left, POLL_SECONDS))

    def _attempt(
        self, stream: AnswerStream, body: dict[str, Any], should_stop: Callable[[], bool]
    ) -> Iterator[str]:
        """One request. Raises _Retry only while nothing has been yielded."""
        started = False
        _check(should_stop)
        exchange = Exchange(
            loop=self._loop, client=self._client, timeout=self._timeout, should_stop=should_stop
        )
        try:
            for delta in storable(self._deltas(stream, body, exchange)):
                _check(should_stop)
                started = True
                yield delta
        except httpx.TimeoutException as error:
            raise _on_timeout(error) from None
        except httpx.HTTPError as error:
            failure = _unreachable(error)
            raise (failure if started else _Retry(failure)) from None
        finally:
            exchange.close()

    def _deltas(
        self, stream: AnswerStream, body: dict[str, Any], exchange: Exchange
    ) -> Iterator[str]:
        request = self._client.build_request("POST", self._url, json=body, headers=self._headers)
        response = exchange.open(request)
        self._check_options(response, exchange, body)
        _check_status(response)
        yield from _read(stream, response, exchange)

    def _check_options(
        self, response: httpx.Response, exchange: Exchange, body: dict[str, Any]
    ) -> None:
        """Do without usage counts where a server knows no `stream_options`."""
        if response.status_code not in (400, 422) or "stream_options" not in body:
            return
        if b"stream_options" in next(exchange, b""):
            self._asks_for_usage = False
            del body["stream_options"]
            raise _Retry(ProviderError("The chat provider does not know stream_options."))


def _read(stream: AnswerStream, response: httpx.Response, exchange: Exchange) -> Iterator[str]:
    if response.headers.get("content-type", "").startswith("application/json"):
        # A server that does not stream answers whole.
        events: Iterable[str] = [_whole_body(exchange)]
    else:
        events = iter_event_data(exchange)
    finished = False
    try:
        for data in events:
            exchange.heard_token()
            if data.strip() == "[DONE]":
                return
            event = _Event.parse(data)
            finished = event.apply_to(stream) or finished
            if event.text:
                yield event.text
    except httpx.HTTPError:
        # What is lost after the last token is the usage at most.
        if not finished:
            raise
    if not finished:
        raise httpx.RemoteProtocolError("the stream ended in mid-answer")


@dataclass(frozen=True, slots=True)
class _Event:
    """What one `chat.completion.chunk`, or a whole completion, says."""

    text: str
    finish_reason: str | None
    model: str | None
    usage: Usage | None

    @classmethod
    def parse(cls, data: str) -> "_Event":
        try:
            return cls._from_json(json.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            raise ProviderError("The chat provider sent an answer that is not valid.") from None

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> "_Event":
        if data.get("error"):
            raise ProviderError("The chat provider reported an error in its answer.")
        choices = data.get("choices") or [{}]
        said = choices[0].get("delta") or choices[0].get("message") or {}
        text = said.get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        return cls(
            text=text,
            finish_reason=choices[0].get("finish_reason"),
            model=_model(data.get("model")),
            usage=_usage(data.get("usage")),
        )

    def apply_to(self, stream: AnswerStream) -> bool:
        """Note model, usage and finish reason; True if the answer is complete."""
        if self.model:
            stream.model = self.model
        if self.usage:
            stream.usage = self.usage
        if self.finish_reason:
            stream.finish_reason = "length" if self.finish_reason == "length" else "stop"
        return bool(self.finish_reason)


def _model(name: object) -> str | None:
    return repaired(name)[:_MAX_MODEL_CHARS] if isinstance(name, str) else None


def _usage(data: object) -> Usage | None:
    """Counts that make no sense are none: what has been answered is not lost for them."""
    if not isinstance(data, dict):
        return None
    prompt, completion = data.get("prompt_tokens"), data.get("completion_tokens")
    return Usage(prompt_tokens=_count(prompt), completion_tokens=_count(completion))


def _count(value: object) -> int:
    fits = isinstance(value, int | float) and 0 <= value < 2**53
    return int(value) if fits else 0  # type: ignore[call-overload]


def _whole_body(chunks: Iterable[bytes]) -> str:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_EVENT_BYTES:
            raise ProviderError("The chat provider sent more in one answer than is accepted.")
    return body.decode("utf-8", "replace")


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Stopped


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in _OVERLOADED:
        retry_after = parse_retry_after(response.headers.get("retry-after"), now=datetime.now(UTC))
        raise _Retry(
            ProviderBusy(f"The chat provider is busy (status {status}).", retry_after=retry_after)
        )
    error = ProviderError(f"The chat provider answered with status {status}.")
    raise _Retry(error) if status in _RETRIED_STATUS else error


def _on_timeout(error: httpx.TimeoutException) -> Exception:
    """A connection not made may be made next time; a token waited for in vain is the end."""
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return _Retry(ProviderTimeout("The chat provider could not be reached in time."))
    return ProviderTimeout("The chat provider sent nothing in time.")


def _unreachable(error: httpx.HTTPError) -> ProviderError:
    # The class only: messages may quote headers, and with them the key.
    return ProviderError(f"The connection to the chat provider failed ({type(error).__name__}).")
