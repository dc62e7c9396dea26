"""The client of a `/rerank` endpoint. Off unless `RERANK_BASE_URL` is set."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import httpx

from core.errors import ProviderError, ProviderTimeout
from core.providers.failures import provider_error, read_refusal
from core.providers.http import bearer, client_options
from core.settings import Settings

TIMEOUT_SECONDS = 5.0


class Reranker(Protocol):
    """Scores texts by how well they answer a query."""

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in their order; the higher the better.

        Raises ProviderError, also ProviderBusy, ProviderRefused and ProviderTimeout.
        """
        ...


class HttpReranker:
    """A Reranker over `POST {base_url}/rerank` in the shape that Cohere and Jina share.

    That is `{model, query, documents, top_n}`, answered with `{results: [{index,
    relevance_score}]}`. Safe to share between threads. No error holds the key.
    """

    def __init__(
        self, *, base_url: str, model: str, api_key: str, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/rerank"
        self._model = model
        self._keys = (api_key.strip(),)
        self._client = httpx.Client(
            headers=bearer(api_key), timeout=timeout, **client_options(base_url)
        )

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        body = {
            "model": self._model,
            "query": query,
            "documents": list(texts),
            "top_n": len(texts),
        }
        try:
            response = self._client.post(self._url, json=body)
        except httpx.TimeoutException as error:
            raise ProviderTimeout("The reranking endpoint did not answer in time.") from error
        except httpx.HTTPError as error:
            raise ProviderError("The reranking endpoint cannot be reached.") from error
        if not response.is_success:
            raise provider_error(
                read_refusal(response.status_code, response.content, keys=self._keys),
                provider="The reranking endpoint",
                retry_after=response.headers.get("retry-after"),
            )
        return _parse(response, count=len(texts))

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()


def create_reranker(settings: Settings) -> Reranker | None:
    """The reranker that `RERANK_BASE_URL` names, None without one."""
    if not settings.rerank_base_url:
        return None
    return HttpReranker(
        base_url=settings.rerank_base_url,
        model=settings.rerank_model,
        api_key=settings.rerank_api_key.get_secret_value(),
    )


def _parse(response: httpx.Response, *, count: int) -> list[float]:
    try:
        results: list[dict[str, Any]] = response.json()["results"]
        scores = {int(item["index"]): float(item["relevance_score"]) for item in results}
    except (ValueError, TypeError, KeyError) as error:
        raise ProviderError("The reranking endpoint's answer has no list of scores.") from error
    if scores.keys() != set(range(count)) or not all(map(math.isfinite, scores.values())):
        raise ProviderError(f"The reranking endpoint's answer does not score {count} documents.")
    return [scores[index] for index in range(count)]
