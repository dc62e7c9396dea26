"""The limits of an embedding endpoint, learned from its refusals."""

import re
from collections.abc import Callable
from typing import Any

from core.providers.failures import Refusal
from core.providers.wordings import UNNAMED_PARAMETER

_REFUSAL_STATUSES = frozenset({0, 400, 413, 422})
_MIN_TOKENS = 16
_SHRINK = 0.7
_BATCH = re.compile(
    r"\bbatch|too many (?:inputs?(?! tokens)|texts?|items|documents|requests in)|input\.contents"
    r"|(?:number|count) of (?:inputs?|texts?|documents|items|instances)|tokens per request"
    r"|(?:array|list)\b.{0,40}(?:too long|length|at most|exceed|maximum)|数组"
    r"|(?:at most|maximum of|up to|limit of|exceeds?) \d+ (?:inputs?|texts?|documents|items)",
    re.I,
)
_TEXTS = re.compile(r"\b(?:inputs?|texts?|documents?|sentences?)\b", re.I)
# llama.cpp computes a whole text at once, so its "physical batch size" bounds a text. Status 500.
_PHYSICAL_BATCH = re.compile(r"physical batch size.{0,40}?(\d+)", re.I | re.S)
_NUMBER = re.compile(r"\d[\d,_]*")
_TOKENS = re.compile(
    r"(?:less|fewer|more|longer) than (\d+)|length should be \[\d+, ?(\d+)\]"
    r"|(?:length|limit|maximum|max \w+ \w+|cannot exceed)\D{0,40}?(\d+)",
    re.I,
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
        said, count = f"{refusal.param} {refusal.message}", len(sent["input"])
        if physical := _PHYSICAL_BATCH.search(said):
            return self._shrink_texts(sent["input"], physical[1])
        if refusal.status not in _REFUSAL_STATUSES:
            return False
        if "encoding_format" in sent and "encoding_format" in said:
            self.sends_format = False
            return True
        if "dimensions" in sent and "dimension" in said:
            self.sends_dimensions = self._accepts_dimensions = False
            return True
        if count > 1 and _BATCH.search(said):
            return self._shrink_batch(count, said)
        if refusal.code == "context_too_long":
            found = _TOKENS.search(re.sub(r"(?<=\d),(?=\d{3})", "", said))
            named = next(filter(None, found.groups()), None) if found else None
            return self._shrink_texts(sent["input"], named)
        return self._guess(refusal, sent)

    def _guess(self, refusal: Refusal, sent: dict[str, Any]) -> bool:
        """Try what is likely, for a refusal that names nothing known."""
        count, said = len(sent["input"]), refusal.message
        if refusal.code != "provider_unavailable":
            return False
        if count > 1 and _TEXTS.search(said) and _smaller_numbers(said, count):
            return self._shrink_batch(count, said)
        if count > 1 and refusal.status == 413:  # a proxy's bound on the body
            return self._shrink_batch(count, "")
        if "encoding_format" in sent and UNNAMED_PARAMETER.search(said):
            self.sends_format = False
            return True
        return False

    def _shrink_batch(self, count: int, said: str) -> bool:
        allowed = _smaller_numbers(said, count)
        self.batch_size = max(allowed) if allowed else count // 2
        return True

    def _shrink_texts(self, texts: list[str], named: str | None) -> bool:
        longest = max(map(self._count_tokens, texts))
        if longest <= _MIN_TOKENS:
            return False
        limit = int(named[:9]) if named else longest
        if not _MIN_TOKENS <= limit < longest:
            limit = int(longest * _SHRINK)
        self._max_tokens = max(_MIN_TOKENS, limit)
        return True


def _smaller_numbers(said: str, count: int) -> list[int]:
    numbers = [int(re.sub(r"[,_]", "", number)[:9]) for number in _NUMBER.findall(said)]
    return [number for number in numbers if 0 < number < count]
