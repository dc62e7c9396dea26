"""Multipart uploads, which are written to disk, hashed and measured while they arrive.

The form's parser writes a file's bytes directly into the storage's staging directory, so they
are written and hashed only once. When the request ends it removes the staged file, unless the
storage has taken it. The hourly sweep removes the files of killed processes.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import IO, Any, TypeVar, cast

from flask import Request, Response, current_app, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from core.bootstrap import Services
from core.errors import Invalid, TooLarge, Unsupported
from core.storage.staging import StagingFile, file_too_large, staging_directory
from web.http.file_names import read_file_name
from web.http.multipart import StrictForm
from web.http.request_checks import check_text, invalid
from web.http.request_state import request_state
from web.http.view_policy import declare

View = TypeVar("View", bound=Callable[..., Any])

# Allowance for boundaries, part headers and the other fields around the file.
_FORM_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024
# Drain a rejected request's body for at most this long, and stop at the client's first pause.
_DRAIN_SECONDS = 10.0
_NO_KEY_DRAIN_SECONDS = 2.0
_PAUSE_SECONDS = 0.5
FIELDS = ("user_id", "session_id", "metadata")


class UploadRequest(Request):
    """A request whose files go to the storage's staging directory."""

    form_data_parser_class = StrictForm

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._staged: list[StagingFile] = []

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        settings = cast(Services, current_app.extensions["services"]).settings
        file = StagingFile(staging_directory(settings), max_bytes=settings.max_upload_bytes)
        self._staged.append(file)
        return cast("IO[bytes]", file)

    def close(self) -> None:
        """Remove staged files. Flask calls this at the end, also if the form was malformed."""
        super().close()
        for file in self._staged:
            file.close()


def accepts_upload(view: View) -> View:
    """Let a view accept a form as large as the upload limit. Put it above `idempotent`."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        limit = current_app.extensions["services"].settings.max_upload_bytes
        request.max_content_length = limit + _FORM_BYTES
        _read_form(limit)
        request_state().is_upload = True
        return view(*args, **kwargs)

    declare(wrapper, cost="upload")
    return wrapper  # type: ignore[return-value]


def accepts_large_json(view: View) -> View:
    """Let a view accept a JSON body as large as the upload limit. Put it above `idempotent`."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        settings = current_app.extensions["services"].settings
        request.max_content_length = settings.max_upload_bytes
        return view(*args, **kwargs)

    declare(wrapper, cost="upload")
    return wrapper  # type: ignore[return-value]


def _read_form(limit: int) -> None:
    if request.mimetype != "multipart/form-data":
        if request.mimetype and request.content_length:
            raise Unsupported("An upload must be multipart/form-data.")
        raise _file_missing()
    if (request.content_length or 0) > limit + _FORM_BYTES:
        raise file_too_large(limit)
    try:
        _ = request.form
    except RequestEntityTooLarge:
        raise TooLarge("The form has too many or too large fields.") from None
    except ValueError as error:
        raise invalid("body", f"Must be valid multipart/form-data. {error}") from None


def drain(response: Response) -> Response:
    """Read for a while the data that a rejected client still sends.

    Closing a connection with unread data resets it, and then many clients report the reset
    instead of the response.
    """
    if response.status_code < 400 or request.method not in ("POST", "PUT", "PATCH"):
        return response
    if response.status_code == 408:
        return response  # the server has waited long enough for this client already
    left = 2 * current_app.extensions["services"].settings.max_upload_bytes
    seconds, body = _DRAIN_SECONDS, request.environ["wsgi.input"]
    if request_state().principal is None:
        left, seconds = min(left, _FORM_BYTES), _NO_KEY_DRAIN_SECONDS
    with suppress(Exception), _with_deadline(seconds):  # the client may disconnect at any time
        while left > 0 and (data := body.read(_READ_BYTES)):
            left -= len(data)
    return response


@contextmanager
def _with_deadline(seconds: float) -> Iterator[None]:
    """Stop reading at the client's first pause, and after `seconds` at the latest.

    A timer shuts the socket down. Checking a clock between reads of the body would be too
    late, because one `read` of the body can be many reads of the socket.
    """
    client: socket.socket | None = request.environ.get("gunicorn.socket")
    if client is None or (request.content_length is not None and not request.content_length):
        yield  # a test without a server, or a request without a body
        return
    cut = threading.Timer(seconds, _stop_reading, [client])
    cut.daemon = True
    cut.start()
    client.settimeout(_PAUSE_SECONDS)
    try:
        yield
    finally:
        cut.cancel()
        client.settimeout(None)  # as the server set it


def _stop_reading(client: socket.socket) -> None:
    with suppress(OSError):  # closed already
        client.shutdown(socket.SHUT_RD)


def _file_missing() -> Invalid:
    return Invalid(
        "The form has no file.", code="file_missing", errors={"file": ["A file is required."]}
    )


def take_file() -> FileStorage:
    """Return the form's file and check its name. Raises Invalid (`file_missing`)."""
    for name in request.files:
        if name != "file" and name not in FIELDS:
            raise invalid(name, "Unknown field.")
    given = request.files.getlist("file")
    if not given:
        raise _file_missing()
    if len(given) > 1:
        raise invalid("file", "Must not be given twice.")
    file = given[0]
    name = read_file_name(file.headers.get("Content-Disposition", ""), parsed=file.filename or "")
    file.filename = check_text(name, field="file")
    return file


def take_fields() -> dict[str, str]:
    """Return the form's other fields. Raises Invalid for text that is not UTF-8."""
    sent = [(name, value.encode("latin-1")) for name, value in request.form.items(multi=True)]
    # Browsers send a field with its own media type, such as JSON, as a file.
    sent += [
        (name, file.stream.read(_READ_BYTES))
        for name, file in request.files.items(multi=True)
        if name != "file"
    ]
    fields: dict[str, str] = {}
    for name, value in sent:
        if name in fields:
            raise invalid(name, "Must not be given twice.")
        fields[name] = _decode(name, value)
    return fields


def _decode(name: str, value: bytes) -> str:
    try:
        return check_text(value.decode(), field=name)
    except UnicodeDecodeError:
        raise invalid(name, "Must be UTF-8.") from None
