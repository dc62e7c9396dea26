"""A path prefix that a reverse proxy took off, by its `X-Forwarded-Prefix`."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from core.settings import Network

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Nothing that a page or a header would have to escape.
_PREFIX = re.compile(r"(?:/[\w.~-]+)+", re.ASCII)


class ForwardedPrefix:
    """WSGI middleware: everything lies below the prefix that a trusted proxy names.

    The prefix becomes SCRIPT_NAME. It is taken off the path if the proxy left it there, and
    put before a `Location` on this host. The header of anybody else, and one that is no plain
    path, is ignored.
    """

    def __init__(self, app: "WSGIApplication", *, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "").strip().rstrip("/")
        if not _PREFIX.fullmatch(prefix) or not self._is_trusted(environ.get("REMOTE_ADDR", "")):
            return self._app(environ, start_response)
        environ["SCRIPT_NAME"] = prefix
        path = environ.get("PATH_INFO", "")
        if path == prefix or path.startswith(f"{prefix}/"):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"
        return self._app(environ, _below(prefix, start_response))

    def _is_trusted(self, address: str) -> bool:
        try:
            client = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(client in network for network in self._trusted)


def _below(prefix: str, start_response: "StartResponse") -> "StartResponse":
    def start(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        moved = [(name, _moved(prefix, name, value)) for name, value in headers]
        return start_response(status, moved, exc_info)

    return start


def _moved(prefix: str, name: str, value: str) -> str:
    here = value.startswith("/") and not value.startswith(("//", f"{prefix}/"))
    return f"{prefix}{value}" if name.lower() == "location" and here else value
