"""The categories of errors that core raises.

`web.http.errors` maps each category to one HTTP status; ingestion maps it to a
job's error code. The tree:

    RagError
    ├── Invalid               400  input that breaks a rule; may name fields
    ├── Forbidden             403  the key lacks the scope
    ├── NotFound              404  unknown, or somebody else's
    ├── Conflict              409  the state of the thing forbids it
    ├── TooLarge              413
    ├── Unsupported           415
    ├── Unprocessable         422  a reused idempotency key, and nothing else
    ├── ProviderError         502  an LLM, embedding or rerank endpoint failed
    │   ├── ProviderRefused   502  waiting does not help: key, quota, model or input
    │   ├── ProviderTimeout   504
    │   └── ProviderBusy      502  429 or overload; carries `retry_after` seconds
    ├── Unavailable           503  our own database or storage cannot be reached
    ├── StorageFull           507
    └── DocumentError         a PDF that cannot be ingested: its job fails with `code`

Each instance has a stable snake_case `code` and a `detail` fit for a client.
"""

from collections.abc import Mapping, Sequence


class RagError(Exception):
    """Base of all errors that the product raises on purpose.

    `code` is stable and snake_case; `detail` is one sentence for the client,
    without secrets, paths or query text.
    """

    default_code = "internal_error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code


class Invalid(RagError):
    """Input that breaks a rule. `errors` maps a field path to its messages."""

    default_code = "invalid_request"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(detail, code=code)
        self.errors = errors


class Forbidden(RagError):
    default_code = "insufficient_scope"


class NotFound(RagError):
    """Unknown here, or owned by somebody else; the client cannot tell which."""

    default_code = "not_found"


class Conflict(RagError):
    default_code = "conflict"


class TooLarge(RagError):
    default_code = "payload_too_large"


class Unsupported(RagError):
    default_code = "unsupported_media_type"


class Unprocessable(RagError):
    default_code = "idempotency_key_reused"


class ProviderError(RagError):
    """An LLM, embedding or rerank endpoint failed.

    `detail` has the provider's own reason if it gave one, keys masked, at most 500
    characters. `code` is one of `provider_unavailable`, `provider_timeout`, `provider_auth`,
    `provider_quota`, `provider_model_unknown`, `context_too_long` and `content_filtered`.
    """

    default_code = "provider_unavailable"


class ProviderRefused(ProviderError):
    """The provider refuses the request itself: the same request will fail again."""


class ProviderTimeout(ProviderError):
    default_code = "provider_timeout"


class ProviderBusy(ProviderError):
    """The provider asked to wait. `retry_after` is in seconds, None if it named none."""

    def __init__(
        self, detail: str, *, retry_after: float | None = None, code: str | None = None
    ) -> None:
        super().__init__(detail, code=code)
        self.retry_after = retry_after


class Unavailable(RagError):
    default_code = "database_unavailable"


class StorageFull(RagError):
    default_code = "storage_full"


class DocumentError(RagError):
    """A document that cannot be ingested, no matter how often a worker tries.

    `code` is one of the job error codes of the HTTP contract: `pdf_malformed`,
    `pdf_encrypted`, `pdf_no_text`, `pdf_too_many_pages`, `pdf_too_complex`.
    """

    default_code = "pdf_malformed"


def session_not_found() -> NotFound:
    """For a session that does not exist, or belongs to another tenant."""
    return NotFound("There is no such session.", code="session_not_found")
