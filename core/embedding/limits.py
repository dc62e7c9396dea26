"""The limits of an embedding endpoint, learned from its refusals."""

import re
from collections.abc import Callable
from typing import Any

from core.providers.failures import Refusal

_REFUSAL_STATUSES = frozenset({0, 400, 413, 422})
_MIN_TOKENS = 16
_SHRINK = 0.7
_BATCH = re.compile(
    r"\bbatch|too many (?:inputs?|texts?|items|documents|requests in)|input\.contents"
    r"|(?:number|count) of (?:inputs?|texts?|documents|items|instances)"
    r"|(?:array|list)\b.{0,40}(?:too long|length|at most|exceed|maximum)"
    r"|(?:at most|maximum of|up to|limit of|exceeds?) \d+ (?:inputs?|texts?|documents|items)",
    re.I,
)
_NUMBER = re.compile(r"\d[\d,_]*")
_TOKENS = re.compile(
    r"(?:less|fewer|more|longer) than (\d+)|(?:length|limit|maximum)\D{0,40}?(\d+)"
)


class EndpointLimits:
    """The size and the fields of requests that an endpoint accepts. Threads share it.

    A request has `batch_size` texts, each cut at `max_tokens`. `count_tokens` only estimates,
    so a limit may be too high at first; each refusal lowers it.
    """

    def __init__(
        self,
        *,
        count_tokens: Callable[[str], int],
        batch_size: int,
        max_tokens: int | None,
        sends_dimensions: bool,
    ) -> None:
        self.batch_size = batch_size
        self.sends_format = True
        self.sends_dimensions = sends_dimensions
        self._accepts_dimensions = True
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens

    def cut(self, text: str) -> str:
        """The beginning of `text` that the endpoint accepts."""
        if self._max_tokens is None or self._count_tokens(text) <= self._max_tokens:
            return text
        return text.encode("utf-8", "replace")[: 4 * self._max_tokens].decode("utf-8", "ignore")

    def try_dimensions(self) -> bool:
        """Send `dimensions` from now on. False if it is sent already or was refused."""
        if self.sends_dimensions or not self._accepts_dimensions:
            return False
        self.sends_dimensions = True
        return True

    def learn(self, refusal: Refusal, sent: dict[str, Any]) -> bool:
        """Change the form of requests as `refusal` of `sent` demands.

        True means that the request is worth sending again at once.
        """
        if refusal.status not in _REFUSAL_STATUSES:
            return False
        said = f"{refusal.param} {refusal.message}"
        if "encoding_format" in sent and "encoding_format" in said:
            self.sends_format = False
            return True
        if "dimensions" in sent and "dimension" in said:
            self.sends_dimensions = self._accepts_dimensions = False
            return True
        count = len(sent["input"])
        if count > 1 and _BATCH.search(said):
            self._shrink_batch(count, said)
            return True
        if refusal.code == "context_too_long":
            return self._shrink_texts(sent["input"], said)
        if refusal.status == 413 and count > 1:  # a proxy's bound on the body
            self._shrink_batch(count, "")
            return True
        return False

    def _shrink_batch(self, count: int, said: str) -> None:
        named = [int(re.sub(r"[,_]", "", number)[:9]) for number in _NUMBER.findall(said)]
        allowed = [number for number in named if 0 < number < count]
        self.batch_size = max(allowed) if allowed else count // 2

    def _shrink_texts(self, texts: list[str], said: str) -> bool:
        longest = max(map(self._count_tokens, texts))
        if longest <= _MIN_TOKENS:
            return False
        found = _TOKENS.search(said.replace(",", ""))
        named = int((found[1] or found[2])[:9]) if found else longest
        limit = named if _MIN_TOKENS <= named < longest else int(longest * _SHRINK)
        self._max_tokens = max(_MIN_TOKENS, limit)
        return True
