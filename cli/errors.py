"""The client's error class, and the exit codes for scripts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# docs/cli.md lists these.
FAILED = 1  # a document or an answer failed, or something unexpected happened
TRY_LATER = 3  # the service is unreachable or busy, limits the rate, or its LLM fails
KEY_REFUSED = 4
NOT_FOUND = 5
REFUSED = 6  # the service does not accept this request
INTERRUPTED = 130

_BY_STATUS = {401: KEY_REFUSED, 403: KEY_REFUSED, 404: NOT_FOUND, 408: TRY_LATER, 429: TRY_LATER}


@dataclass
class ApiError(Exception):
    """The service refused a request, failed, or did not respond.

    `code` is the API's stable code, or `unreachable`, `broken_off` (a stream that ended early)
    or `unexpected` (the response is not the API's). `status` is None without a response.
    """

    code: str
    detail: str
    status: int | None = None
    request_id: str | None = None
    errors: Mapping[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        fields = "; ".join(f"{name}: {' '.join(said)}" for name, said in self.errors.items())
        request = f", request {self.request_id}" if self.request_id else ""
        return f"{fields or self.detail or 'The service failed.'} ({self.code}{request})"

    @property
    def exit_code(self) -> int:
        """The exit code if this error ends a command."""
        if self.status is None:
            return FAILED if self.code == "unexpected" else TRY_LATER
        if self.status >= 502:
            return TRY_LATER
        return _BY_STATUS.get(self.status, REFUSED if self.status < 500 else FAILED)

    def as_dict(self) -> dict[str, object]:
        """Return the error for `--json`."""
        return {
            "error": {
                "code": self.code,
                "detail": self.detail,
                "status": self.status,
                "request_id": self.request_id,
                "errors": dict(self.errors),
            }
        }
