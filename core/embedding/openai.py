"""Vectors from any endpoint that speaks OpenAI's `POST /v1/embeddings`."""

import time
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from core.embedding.base import Vectors, endpoint_model_name
from core.embedding.limits import EndpointLimits
from core.embedding.response import WrongLength, parse_vectors
from core.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout
from core.providers.failures import (
    MAX_BODY_BYTES,
    Refusal,
    mask_keys,
    provider_error,
    read_refusal,
    refusal_of,
)
from core.providers.http import bearer, client_options

# 64 vectors of 3,072 numbers as text take about 4 MB.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_PROVIDER = "The embedding endpoint"
# Each adaptation halves the batch, shortens the texts or leaves out a parameter.
_MAX_ADAPTATIONS = 24


class OpenAIEmbedder:
    """An Embedder over an endpoint. One instance serves all threads of a process.

    `base_url` ends in the API's version (`…/v1`). `timeout` is the longest time in seconds for
    connecting, for each wait and for reading a response. `batch_size` texts go into a request,
    each cut at `max_tokens` (None: not cut); both shrink when the endpoint says that it takes
    less. A request that fails is sent again up to `retries` times, unless the endpoint refuses
    it or names a wait (429). Ingestion leaves `retries` at 0: its job waits. No error message
    contains the key.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        dimensions: int,
        timeout: float = 30.0,
        batch_size: int = 64,
        max_tokens: int | None = None,
        retries: int = 0,
    ) -> None:
        self.name = endpoint_model_name(model, dimensions)
        self.dimensions = dimensions
        self._model = model
        self._timeout = timeout
        self._retries = retries
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._keys = (api_key.strip(),)
        self._limits = EndpointLimits(
            count_tokens=self.count_tokens,
            batch_size=batch_size,
            max_tokens=max_tokens,
            # OpenAI's other models, and other servers, may refuse the field.
            sends_dimensions=model.startswith("text-embedding-3"),
        )
        self._client = httpx.Client(
            headers=bearer(api_key), timeout=timeout, **client_options(base_url)
        )

    def warm_up(self) -> None:
        """Nothing to do: the first call connects."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), float32, L2 norm 1, in the order given.

        A text that is longer than the endpoint takes is cut. Raises ProviderBusy (429 and
        overload, with its `Retry-After`), ProviderTimeout, ProviderRefused, or ProviderError
        for any other status, a lost connection, or a response that is not one finite, non-zero
        vector of the right length per text.
        """
        parts = [np.empty((0, self.dimensions), dtype=np.float32)]
        done = adaptations = 0
        while done < len(texts):
            batch = texts[done : done + self._limits.batch_size]
            try:
                parts.append(self._embed_batch(batch))
                done += len(batch)
            except _Adapted as refused:
                adaptations += 1
                if adaptations > _MAX_ADAPTATIONS:
                    raise refused.error from None
        return np.concatenate(parts)

    def count_tokens(self, text: str) -> int:
        """An estimate: one token for 4 bytes of UTF-8.

        OpenAI's rule of thumb is 4 characters for English (help.openai.com, "What are tokens
        and how to count them?"). Bytes, since other scripts take more tokens for a character.
        """
        return -(-len(text.encode("utf-8", "replace")) // 4)

    def close(self) -> None:
        """Close the pooled connections."""
        self._client.close()

    def _embed_batch(self, texts: Sequence[str]) -> Vectors:
        for attempt in range(self._retries + 1):
            try:
                return self._request(texts)
            except (ProviderBusy, ProviderRefused):
                raise
            except ProviderError:
                if attempt == self._retries:
                    raise
        raise AssertionError("unreachable")

    def _request(self, texts: Sequence[str]) -> Vectors:
        body = self._body(texts)
        try:
            data = self._send_with_reconnect(body)
            return parse_vectors(data, count=len(texts), dimensions=self.dimensions)
        except WrongLength as error:
            if self._limits.try_dimensions():
                raise _Adapted(error) from None
            raise
        except _Refusal as refused:
            failure = provider_error(
                refused.refusal, provider=_PROVIDER, retry_after=refused.retry_after
            )
            if self._limits.learn(refused.refusal, body):
                raise _Adapted(failure) from None
            raise failure from None
        except httpx.TimeoutException:
            raise ProviderTimeout("The embedding endpoint did not answer in time.") from None
        except httpx.HTTPError as error:
            raise ProviderError(
                f"The embedding endpoint cannot be reached ({type(error).__name__})."
            ) from None

    def _body(self, texts: Sequence[str]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "input": [self._limits.cut(text) for text in texts],
        }
        if self._limits.sends_format:
            body["encoding_format"] = "float"
        if self._limits.sends_dimensions:
            body["dimensions"] = self.dimensions
        return body

    def _send_with_reconnect(self, body: dict[str, Any]) -> Any:
        try:
            return self._send(body)
        except httpx.RemoteProtocolError:
            # The endpoint had closed a connection that was kept alive, and httpx learns of it
            # only now (RFC 9112, 9.3.1). Embedding twice does no harm.
            return self._send(body)

    def _send(self, body: dict[str, Any]) -> Any:
        """The response's JSON. Raises _Refusal for an error status or an error in the body."""
        # httpx's timeout is per read; a deadline bounds an endpoint that trickles.
        deadline = time.monotonic() + self._timeout
        with self._client.stream("POST", self._url, json=body) as response:
            content = bytearray()
            for block in response.iter_bytes():
                content += block
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("deadline", request=response.request)
                if not response.is_success and len(content) > MAX_BODY_BYTES:
                    break
                if len(content) > MAX_ANSWER_BYTES:
                    raise ProviderError("The embedding endpoint's answer is too large.")
        if not response.is_success:
            raise self._refusal(response, bytes(content))
        return self._checked(bytes(content))

    def _checked(self, content: bytes) -> Any:
        try:
            data = httpx.Response(200, content=content).json()
        except (ValueError, RecursionError):
            raise ProviderError("The embedding endpoint's answer is not JSON.") from None
        if isinstance(data, dict) and data.get("error"):
            raise _Refusal(refusal_of(data, keys=self._keys))
        return data

    def _refusal(self, response: httpx.Response, content: bytes) -> "_Refusal":
        if response.is_redirect:
            target = mask_keys(response.headers.get("location", ""), self._keys)
            return _Refusal(Refusal(response.status_code, f"It redirects to {target}"))
        refusal = read_refusal(response.status_code, content, keys=self._keys)
        return _Refusal(refusal, retry_after=response.headers.get("retry-after"))


class _Refusal(Exception):
    """The endpoint reported an error."""

    def __init__(self, refusal: Refusal, *, retry_after: str | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.retry_after = retry_after


class _Adapted(Exception):
    """The endpoint refused with `error`, and the limits were adapted: send the request again."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.detail)
        self.error = error
