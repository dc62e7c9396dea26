"""Learns which parameters a chat endpoint accepts: all, until it refuses one."""

import re
from typing import Any

from core.providers.failures import Refusal

Message = dict[str, str]

_REFUSAL_STATUSES = frozenset({0, 400, 403, 404, 422, 501})
_LIMITS = ("max_tokens", "max_completion_tokens")
_STREAM = re.compile(r"(?<!\w)stream(?:ing)?(?![\w])", re.I)
_UNSUPPORTED = re.compile(
    r"not (?:\w+ )?(?:supported?|permitted|allowed|valid)|unsupported|invalid|alternate"
    r"|only (?:user|the)",
    re.I,
)
_SYSTEM = re.compile(r"\bsystem\b|roles? must alternate", re.I)
# Refusals that do not name the parameter.
_UNNAMED = re.compile(
    r"request body|invalid request\b|bad request|unrecogni[sz]ed|unknown (?:field|param|arg)"
    r"|not permitted|extra (?:inputs?|fields?)|unexpected (?:field|key|param)|unsupported param",
    re.I,
)


class Dialect:
    """Builds request bodies without the parameters that the endpoint refused. Threads share it.

    `max_tokens` and `temperature` are left out if they are None. The limit is first sent as
    `max_tokens`, which almost every server knows, and then as `max_completion_tokens`, which
    some of OpenAI's models want.
    """

    def __init__(self, *, max_tokens: int | None = None, temperature: float | None = None) -> None:
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._refused: frozenset[str] = frozenset()

    def body(self, *, model: str, messages: list[Message]) -> dict[str, Any]:
        """A request for one completion."""
        if "system" in self._refused:
            messages = _system_joined(messages)
        body: dict[str, Any] = {"model": model, "messages": messages}
        if "stream" not in self._refused:
            body["stream"] = True
            if "stream_options" not in self._refused:
                body["stream_options"] = {"include_usage": True}
        limit = next((name for name in _LIMITS if name not in self._refused), None)
        if self._max_tokens is not None and limit:
            body[limit] = self._max_tokens
        if self._temperature is not None and "temperature" not in self._refused:
            body["temperature"] = self._temperature
        return body

    def learn(self, refusal: Refusal, sent: dict[str, Any]) -> bool:
        """Leave the parameter that `refusal` of `sent` is about out of further requests.

        Returns whether there is one, which means that the request can be sent again at once.
        """
        refused = _parameter(refusal, sent) if refusal.status in _REFUSAL_STATUSES else None
        if refused is None:
            return False
        self._refused |= {refused}
        return True


def _parameter(refusal: Refusal, sent: dict[str, Any]) -> str | None:
    said = f"{refusal.param} {refusal.message}"
    for name in ("stream_options", *_LIMITS, "temperature"):
        if name in sent and re.search(rf"(?<!\w){name}(?!\w)", said):
            return name
    unsupported = _UNSUPPORTED.search(said) is not None
    if "stream" in sent and unsupported and _STREAM.search(said):
        return "stream"
    if sent["messages"][0]["role"] == "system" and unsupported and _SYSTEM.search(said):
        return "system"
    if "stream_options" in sent and refusal.code == "provider_unavailable":
        return "stream_options" if _UNNAMED.search(refusal.message) else None
    return None


def _system_joined(messages: list[Message]) -> list[Message]:
    """The messages with the system message at the beginning of the first user message."""
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
