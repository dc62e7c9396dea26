"""Answers by an LLM behind an OpenAI-compatible `/chat/completions`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn

import httpx

from core.answering.base import AnswerStream, Question, Receive
from core.answering.completions import parse_event
from core.answering.dialect import Dialect
from core.answering.prompt import CountTokens, Message
from core.answering.reasoning import ReasoningFilter, thinks_by_name
from core.answering.sse import iter_events
from core.answering.streaming import Exchange, LoopThread, Stopped
from core.answering.window import Window
from core.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout
from core.providers.failures import (
    MAX_BODY_BYTES,
    Refusal,
    mask_keys,
    provider_error,
    read_refusal,
)
from core.providers.http import async_client, bearer
from core.telemetry import get_logger
from core.text.unicode import storable

log = get_logger(__name__)

_CONNECT_TIMEOUT = 5.0
_PROVIDER = "The chat provider"
# Each adaptation leaves out one parameter or shortens the prompt.
_MAX_ADAPTATIONS = 8


class _AttemptFailed(Exception):
    """An attempt failed with `error` before its first token. Another one may succeed."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.detail)
        self.error = error


class _Retry(_AttemptFailed):
    """The failure may be temporary: wait before the next attempt."""


class _Adapted(_AttemptFailed):
    """The request has been adapted: send it again at once."""


class _Reported(Exception):
    """The provider reported an error."""

    def __init__(self, refusal: Refusal, *, retry_after: str | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.retry_after = retry_after

    def as_error(self) -> ProviderError:
        return provider_error(self.refusal, provider=_PROVIDER, retry_after=self.retry_after)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts before the first token, and the seconds to wait between them.

    A `Retry-After` longer than `longest_wait` ends the attempts; the caller gets it in
    ProviderBusy.
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
    `base_url` ends in `/v1`. `context_tokens` is the model's window, None if it is not known:
    the answerer learns it when the provider complains. `max_tokens` limits an answer. No error
    message contains the key.
    """

    top_k = 5

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str,
        count_tokens: CountTokens,
        history_tokens: int = 2000,
        context_tokens: int | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.model = model
        self._url = httpx.URL(f"{base_url.rstrip('/')}/chat/completions")
        accept = {b"Accept": b"text/event-stream", b"Accept-Encoding": b"identity"}
        self._headers = accept | bearer(api_key)
        self._keys = (api_key.strip(),)
        self._timeout = timeout
        self._count_tokens = count_tokens
        self._history_tokens = history_tokens
        self._retry = retry or RetryPolicy()
        self._dialect = Dialect(max_tokens=max_tokens, temperature=temperature)
        self._window = Window(
            count_tokens=count_tokens, context_tokens=context_tokens, max_tokens=max_tokens
        )
        self._reasons, self._suspicious = thinks_by_name(model), True
        self._loop = LoopThread()
        self._client = async_client(
            base_url, timeout=httpx.Timeout(timeout, connect=min(_CONNECT_TIMEOUT, timeout))
        )

    def answer(
        self, question: Question, *, should_stop: Callable[[], bool] = lambda: False
    ) -> AnswerStream:
        """Ask the LLM. The request is sent when the iteration begins.

        Failures before the first token (429, 5xx, no connection) are retried; later ones and
        permanent ones are raised at once. A parameter that the provider refuses is left out
        from then on. A prompt that is too long is shortened and sent once more. `should_stop`
        ends the answer with `finish_reason` `cancelled`, even while the provider is silent.
        Iteration raises ProviderBusy, ProviderRefused, ProviderTimeout and ProviderError.
        """
        stream = AnswerStream(deltas=iter(()), model=self.model)
        run = _Run(stream, question, self._messages(question), should_stop)
        stream.deltas, stream.reader = self._iterate(run), partial(self._read, run)
        return stream

    def close(self) -> None:
        """Close idle connections. No answer may be under way."""
        self._loop.run(self._client.aclose(), should_stop=lambda: False)
        self._loop.close()

    def _messages(self, question: Question) -> list[Message]:
        return self._window.fit(question, history_tokens=self._history_tokens)

    def _read(self, run: "_Run", receive: Receive) -> None:
        """Write the answer; the loop's thread calls `receive` with its deltas."""

        async def emit(delta: str, is_restart: bool) -> None:
            if not is_restart:
                receive(delta)
                return
            run.stream.restarted = True
            await asyncio.to_thread(receive, delta)

        try:
            self._loop.run(self._write(run, emit), should_stop=run.should_stop)
        except Stopped:
            run.stream.finish_reason = "cancelled"

    def _iterate(self, run: "_Run") -> Iterator[str]:
        """Write the answer, and yield its deltas in the caller's thread."""
        inbox: SimpleQueue[tuple[str, bool] | None] = SimpleQueue()

        async def emit(delta: str, is_restart: bool) -> None:
            inbox.put((delta, is_restart))

        call = self._loop.start(self._write(run, emit), should_stop=run.should_stop)
        call.when_over(partial(inbox.put, None))
        try:
            while (item := inbox.get()) is not None:
                delta, is_restart = item
                run.stream.restarted = run.stream.restarted or is_restart
                yield delta
            call.result()
        except Stopped:
            run.stream.finish_reason = "cancelled"
        finally:
            call.end()

    async def _write(self, run: "_Run", emit: "_Emit") -> None:
        attempt, adaptations = 1, 0
        while True:
            try:
                await self._attempt(run, emit)
                return
            except _Retry as failed:
                await self._pause_or_raise(failed.error, attempt)
                attempt += 1
            except _Adapted as refused:
                adaptations += 1
                if adaptations > _MAX_ADAPTATIONS:
                    raise refused.error from None
                run.messages = await asyncio.to_thread(self._messages, run.question)

    async def _pause_or_raise(self, error: ProviderError, attempt: int) -> None:
        wait = self._retry.wait_before(attempt, error)
        if attempt >= self._retry.attempts or wait > self._retry.longest_wait:
            raise error from None
        log.info("chat_provider_retried", code=error.code, detail=error.detail, attempt=attempt)
        await asyncio.sleep(wait)

    async def _attempt(self, run: "_Run", emit: "_Emit") -> None:
        """One request. Raises _Retry and _Adapted only while nothing has been emitted."""
        _check(run.should_stop)
        exchange = Exchange(client=self._client, timeout=self._timeout)
        try:
            async with aclosing(self._deltas(run, exchange)) as deltas:
                async for delta in storable(deltas):
                    _check(run.should_stop)
                    run.started = True
                    is_restart, run.is_restart = run.is_restart, False
                    await emit(delta, is_restart)
        except httpx.TimeoutException as error:
            raise _on_timeout(error) from None
        except httpx.HTTPError as error:
            failure = _unreachable(error)
            raise (failure if run.started else _Retry(failure)) from None
        except _Reported as reported:
            self._handle_refusal(run, reported)
        finally:
            await exchange.close()

    def _handle_refusal(self, run: "_Run", reported: _Reported) -> NoReturn:
        """Raise _Adapted if the request can be adapted, else _Retry or the error."""
        refusal, error = reported.refusal, reported.as_error()
        if run.started:
            raise error from None
        if self._dialect.learn(refusal, run.body):
            raise _Adapted(error) from None
        if error.code == "context_too_long" and not run.shortened:
            run.shortened = True
            self._window.learn(refusal, run.body["messages"])
            raise _Adapted(error) from None
        if error.code == "context_too_long" and self._dialect.drop_limit(refusal, run.body):
            raise _Adapted(error) from None
        raise (error if isinstance(error, ProviderRefused) else _Retry(error)) from None

    async def _deltas(self, run: "_Run", exchange: Exchange) -> AsyncGenerator[str]:
        run.body = self._dialect.body(model=self.model, messages=run.messages)
        request = self._client.build_request(
            "POST", self._url, json=run.body, headers=self._headers
        )
        response = await exchange.open(request)
        if not response.is_success:
            raise _Reported(
                await self._read_refusal(response, exchange),
                retry_after=response.headers.get("retry-after"),
            )
        reasoning = ReasoningFilter(expected=self._reasons, suspicious=self._suspicious)
        try:
            async with aclosing(self._texts(run.stream, exchange, reasoning)) as texts:
                async for text in texts:
                    if shown := _note_restart(run, reasoning, reasoning.feed(text)):
                        yield shown
        except (httpx.HTTPError, _Reported):
            if shown := _note_restart(run, reasoning, reasoning.give_up()):
                yield shown
            raise
        if shown := _note_restart(run, reasoning, reasoning.flush()):
            yield shown
        self._learn(reasoning)
        if not run.started:
            _check_emptiness(run.stream)

    def _learn(self, reasoning: ReasoningFilter) -> None:
        """What a whole answer shows of the model, for its next ones."""
        was_held = self._reasons or reasoning.suspected
        # A server that parses reasoning itself leaves no tags: its answers need not be held.
        self._reasons = reasoning.hidden_opening
        if was_held and not reasoning.hidden_opening:
            self._suspicious = False

    async def _read_refusal(self, response: httpx.Response, exchange: Exchange) -> Refusal:
        if response.is_redirect:
            target = response.headers.get("location", "")
            message = mask_keys(f"It redirects to {target}", self._keys)
            return Refusal(response.status_code, message)
        body = bytearray()
        try:
            async for chunk in exchange:
                body += chunk
                if len(body) >= MAX_BODY_BYTES:
                    break
        except httpx.HTTPError:
            pass  # the status says enough
        return read_refusal(response.status_code, bytes(body), keys=self._keys)

    async def _texts(
        self, stream: AnswerStream, exchange: Exchange, reasoning: ReasoningFilter
    ) -> AsyncGenerator[str]:
        """The model's text, event by event. Raises httpx's errors if the end is missing."""
        finished = heard = calls_tool = False
        try:
            async for event in iter_events(exchange):
                if event.data.strip() == "[DONE]":
                    finished = True
                    break
                said = parse_event(event, keys=self._keys)
                if said is None:
                    continue
                if isinstance(said, Refusal):
                    raise _Reported(said)
                exchange.heard_token()
                finished = said.apply_to(stream) or finished or bool(said.is_whole and said.text)
                calls_tool = calls_tool or said.calls_tool
                if finished and not said.text:  # some servers put a finish reason into each part
                    exchange.expect_end()
                if said.reasons:
                    reasoning.expect_none()
                if said.text and not (said.is_whole and heard):
                    heard = True
                    yield said.text
        except httpx.HTTPError:
            # After the finish reason only the usage can be missing.
            if not finished:
                raise
        if not finished:
            raise httpx.RemoteProtocolError("the stream ended in mid-answer")
        if calls_tool and not heard:
            raise ProviderRefused("The chat provider asked for a tool instead of answering.")


@dataclass(slots=True)
class _Run:
    """The inputs and the state of one answer."""

    stream: AnswerStream
    question: Question
    messages: list[Message]
    should_stop: Callable[[], bool]
    body: dict[str, Any] = field(default_factory=dict)
    started: bool = False
    shortened: bool = False
    is_restart: bool = False  # the next delta replaces all earlier ones


# Takes a delta, and whether it replaces all earlier ones.
_Emit = Callable[[str, bool], Awaitable[None]]


def _note_restart(run: _Run, reasoning: ReasoningFilter, shown: str) -> str:
    if reasoning.restarted:
        reasoning.restarted = False  # it happens once, not again at each later delta
        run.is_restart = run.started
    return shown


def _check_emptiness(stream: AnswerStream) -> None:
    """Raise ProviderRefused if a known reason ended the answer before its first word."""
    if stream.finish_reason == "content_filter":
        raise ProviderRefused(
            "The chat provider's content filter removed the whole answer.", code="content_filtered"
        )
    if stream.finish_reason == "length":
        raise ProviderRefused("The chat provider reached its limit of tokens before the answer.")


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Stopped


def _on_timeout(error: httpx.TimeoutException) -> Exception:
    """Retry if no connection was made in time. Do not retry if no token came in time."""
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return _Retry(ProviderTimeout("The chat provider could not be reached in time."))
    return ProviderTimeout("The chat provider sent nothing in time.")


def _unreachable(error: httpx.HTTPError) -> ProviderError:
    # Only the class is named: the message may quote headers and so the key.
    return ProviderError(f"The connection to the chat provider failed ({type(error).__name__}).")
