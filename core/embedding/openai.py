"""Vectors from any endpoint that speaks OpenAI's `POST /v1/embeddings`."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np

from core.embedding.base import Vectors
from core.errors import ProviderBusy, ProviderError, ProviderTimeout
from core.providers.retry_after import parse_retry_after

# Bytes of an answer beyond which it is not read on: 64 vectors of 3,072 numbers
# as text take about 4 MB.
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class OpenAIEmbedder:
    """An Embedder over an endpoint. One instance serves all threads of a process.

    `base_url` ends in the API's version (`…/v1`). `timeout` is the most, in
    seconds, that connecting, each wait and the reading of an answer may take. A request
    that fails is sent again up to `retries` times, unless the endpoint refuses
    it (4xx) or names a wait (429): ingestion leaves `retries` at 0 and waits in
    its job.
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
        retries: int = 0,
    ) -> None:
        self.name = f"{model}-{dimensions}"
        self.dimensions = dimensions
        self._model = model
        self._timeout = timeout
        self._batch_size = batch_size
        self._retries = retries
        self._url = f"{base_url.rstrip('/')}/embeddings"
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, timeout=timeout)

    def warm_up(self) -> None:
        """Nothing: the first call connects."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), float32, L2 norm 1, in the order given.

        Raises ProviderBusy (429, with its `Retry-After`), ProviderTimeout, or
        ProviderError for any other status, a lost connection, or an answer that
        is not one finite, non-zero vector of the right length per text.
        """
        parts = [
            self._embed_batch(texts[start : start + self._batch_size])
            for start in range(0, len(texts), self._batch_size)
        ]
        return np.concatenate([np.empty((0, self.dimensions), dtype=np.float32), *parts])

    def count_tokens(self, text: str) -> int:
        """An estimate: a token per 4 bytes of UTF-8, OpenAI's rule of thumb of
        4 characters for English (help.openai.com, "What are tokens and how to
        count them?"), in bytes since other scripts take more tokens a character."""
        return -(-len(text.encode("utf-8", "replace")) // 4)

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _embed_batch(self, texts: Sequence[str]) -> Vectors:
        for attempt in range(self._retries + 1):
            try:
                return self._request(texts)
            except (ProviderBusy, _Refused):
                raise
            except ProviderError:
                if attempt == self._retries:
                    raise
        raise AssertionError("unreachable")

    def _request(self, texts: Sequence[str]) -> Vectors:
        body: dict[str, Any] = {"model": self._model, "input": list(texts)}
        body["encoding_format"] = "float"
        # Other models of OpenAI's, and other servers, refuse the field.
        if self._model.startswith("text-embedding-3"):
            body["dimensions"] = self.dimensions
        try:
            return _parse(self._send_surely(body), count=len(texts), dimensions=self.dimensions)
        except httpx.TimeoutException as error:
            raise ProviderTimeout("The embedding endpoint did not answer in time.") from error
        except httpx.HTTPError as error:
            raise ProviderError("The embedding endpoint cannot be reached.") from error

    def _send_surely(self, body: dict[str, Any]) -> httpx.Response:
        try:
            return self._send(body)
        except httpx.RemoteProtocolError:
            # The endpoint had closed a connection that was kept alive; httpx learns of it
            # only now (RFC 9112, 9.3.1). Embedding twice does no harm.
            return self._send(body)

    def _send(self, body: dict[str, Any]) -> httpx.Response:
        # httpx's timeout is per read; a deadline bounds an endpoint that trickles.
        deadline = time.monotonic() + self._timeout
        with self._client.stream("POST", self._url, json=body) as response:
            _check_status(response)
            content = bytearray()
            for block in response.iter_bytes():
                content += block
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("deadline", request=response.request)
                if len(content) > MAX_ANSWER_BYTES:
                    raise ProviderError("The embedding endpoint's answer is too large.")
        return httpx.Response(response.status_code, content=bytes(content))


class _Refused(ProviderError):
    """The endpoint refuses the request as such: to send it again is useless."""


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS:
        wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
        raise ProviderBusy("The embedding endpoint asks to wait.", retry_after=wait)
    if status >= 500:
        raise ProviderError(f"The embedding endpoint answered with status {status}.")
    if status != httpx.codes.OK:
        raise _Refused(f"The embedding endpoint refused the request with status {status}.")


def _parse(response: httpx.Response, *, count: int, dimensions: int) -> Vectors:
    try:
        items = sorted(response.json()["data"], key=lambda item: item["index"])
        indexes = [item["index"] for item in items]
        vectors = np.array([item["embedding"] for item in items], dtype=np.float64)
    except (ValueError, TypeError, KeyError) as error:
        raise ProviderError("The embedding endpoint's answer has no list of vectors.") from error
    if indexes != list(range(count)):
        raise ProviderError(f"The embedding endpoint sent {len(items)} vectors for {count} texts.")
    if vectors.shape != (count, dimensions):
        raise ProviderError(f"The embedding endpoint's vectors are not of length {dimensions}.")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.min() > 0):
        raise ProviderError("The embedding endpoint sent a vector that is zero or not finite.")
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit
