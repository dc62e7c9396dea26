"""Why a provider refused: its own words, safe to show, and a stable code."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout
from core.providers import wordings
from core.providers.retry_after import parse_retry_after

MAX_BODY_BYTES = 64 * 1024  # of an error response; more is not read
_MAX_DETAIL_CHARS = 500
_MIN_KEY_CHARS = 4  # a placeholder like `x` would blot out half a message

_OVERLOADED = frozenset({429, 503, 529})
_GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
_WORTH_ANOTHER_TRY = frozenset({0, 409, 425}) | _OVERLOADED | _GATEWAY_TIMEOUTS

# Prefixes of vendors' keys (OpenAI, Anthropic, Groq, xAI, Perplexity, Hugging Face, NVIDIA …),
# Google's keys, JSON web tokens, bearer tokens, passwords in URLs, and long runs of letters
# and digits, which is what Azure's and Mistral's keys look like.
_KEY = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|pplx|hf|nvapi|r8|fw|csk|tgp|rag)[-_][\w*.…-]{3,}"
    r"|\bAIza[\w-]{8,}"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}"
    r"|(?<=bearer )(?!token|auth|key)[^\s\"',]{6,}"
    r"|(?<=://)[^/\s@]+:[^/\s@]+(?=@)"
    r"|\b(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{32,}\b",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?:style|script|title)\b.*?</(?:style|script)>|<[^>]*>", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as a provider reported it.

    `status` is HTTP's, or the one named in the body of a response that pretends success; 0 if
    there is neither. `message` holds the provider's own words in one line, keys masked; empty
    if it gave none. `kind` joins its codes and types, `param` names the field it complains of.
    """

    status: int
    message: str
    kind: str = ""
    param: str = ""

    @property
    def text(self) -> str:
        """Everything that says what is wrong, for matching."""
        return f"{self.kind} {self.message}"

    @property
    def code(self) -> str:
        """The stable code of the HTTP contract."""
        if self.status in _GATEWAY_TIMEOUTS:
            return "provider_timeout"
        if wordings.FILTERED.search(self.text):
            return "content_filtered"
        if self.status != 429 and wordings.TOO_LONG.search(self.text):
            return "context_too_long"
        if self.status == 402 or wordings.NO_MONEY.search(self.text):
            return "provider_quota"
        if self.status < 500 and wordings.NO_MODEL.search(self.text):
            return "provider_model_unknown"
        if self.status in (401, 403, 407) or wordings.BAD_KEY.search(self.text):
            return "provider_auth"
        return "provider_unavailable"


def read_refusal(status: int, body: bytes | str, *, keys: Iterable[str] = ()) -> Refusal:
    """What an error response says. `keys` are masked in it, and so is all that looks like one.

    Knows the shapes of OpenAI, Azure, Ollama, FastAPI, TEI, Gemini, OpenRouter, DashScope and
    Zhipu, plain text and HTML.
    """
    text = body if isinstance(body, str) else body[:MAX_BODY_BYTES].decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return Refusal(status, mask_keys(_TAG.sub(" ", text), keys))
    return refusal_of(data, status=status, keys=keys)


def refusal_of(data: object, *, status: int = 0, keys: Iterable[str] = ()) -> Refusal:
    """As `read_refusal`, of a body that is parsed already."""
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return Refusal(status, mask_keys(str(data or ""), keys))
    error = data.get("error")
    inner = error if isinstance(error, dict) else data
    message = error if isinstance(error, str) else _message(inner)
    names = [inner.get(name) for name in ("code", "type", "status", "error_type")]
    named = next((name for name in names if isinstance(name, int) and 400 <= name < 600), 0)
    return Refusal(
        status=status or named,
        message=mask_keys(message, keys),
        kind=" ".join(str(name) for name in names if isinstance(name, str))[:200],
        param=str(inner.get("param") or "")[:100],
    )


def provider_error(
    refusal: Refusal, *, provider: str, retry_after: str | None = None
) -> ProviderError:
    """The error to raise. `provider` begins its detail: "The chat provider".

    ProviderRefused if no wait can cure it; ProviderBusy, with the seconds of the header
    `retry_after`, for 429 and overload; ProviderTimeout if a gateway waited in vain.
    """
    code = refusal.code
    detail = _detail(refusal, provider)
    hard_quota = wordings.HARD_QUOTA.search(refusal.text) is not None
    if (refusal.status in _OVERLOADED and not hard_quota) or _is_rate_limit(refusal):
        wait = parse_retry_after(retry_after, now=datetime.now(UTC))
        return ProviderBusy(detail, retry_after=wait, code=code)
    if refusal.status in _GATEWAY_TIMEOUTS:
        return ProviderTimeout(detail)
    if code != "provider_unavailable" or not _may_pass(refusal.status):
        return ProviderRefused(detail, code=code)
    return ProviderError(detail)


def mask_keys(text: str, keys: Iterable[str] = ()) -> str:
    """`text` in one line, storable, without `keys` and without what looks like a key."""
    for key in keys:
        if len(key) >= _MIN_KEY_CHARS:
            text = text.replace(key, "***")
    printable = text.encode("utf-8", "replace").decode().replace("\0", " ")
    return " ".join(_KEY.sub("***", printable).split())


def _may_pass(status: int) -> bool:
    return status >= 500 or status in _WORTH_ANOTHER_TRY


def _is_rate_limit(refusal: Refusal) -> bool:
    return refusal.status == 0 and wordings.RATE.search(refusal.text) is not None


def _detail(refusal: Refusal, provider: str) -> str:
    said = f"{provider} reported an error"
    if refusal.status in _OVERLOADED:
        said = f"{provider} is busy (status {refusal.status})"
    elif refusal.status:
        said = f"{provider} answered with status {refusal.status}"
    whole = f"{said}: {refusal.message}" if refusal.message else f"{said}."
    return whole if len(whole) <= _MAX_DETAIL_CHARS else f"{whole[: _MAX_DETAIL_CHARS - 1]}…"


def _message(error: dict[str, Any]) -> str:
    for name in ("message", "msg", "detail", "error_description", "reason", "title"):
        said = error.get(name)
        if isinstance(said, list):
            said = "; ".join(_validation(item) for item in said[:5])
        if isinstance(said, dict):
            said = _message(said)
        if isinstance(said, str) and said.strip():
            return said + _upstream(error)
    return ""


def _validation(item: object) -> str:
    """One of FastAPI's errors: `{"loc": ["body", "input"], "msg": "…"}`."""
    if not isinstance(item, dict):
        return str(item)
    where = ".".join(str(part) for part in item.get("loc") or ())
    return f"{where}: {item.get('msg') or item.get('message') or ''}".removeprefix(": ")


def _upstream(error: dict[str, Any]) -> str:
    """What OpenRouter's upstream said: `{"message": "Provider returned error", "metadata": …}`."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f" {raw}" if isinstance(raw, str) else ""
