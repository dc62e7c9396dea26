"""Restores the path prefix that a reverse proxy removed, from its `X-Forwarded-Prefix`."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from core.settings import Network

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Only characters that need no escaping in a page or a header.
_PREFIX = re.compile(r"(?:/[\w.~-]+)+", re.ASCII)


class ForwardedPrefix:
    """WSGI middleware that puts the app below the prefix that a trusted proxy names.

    The prefix becomes SCRIPT_NAME. If the proxy left it in the path, it is removed there. It is
    added to a `Location` on this host. The header is ignored if its sender is not trusted, or
    if it is not a plain path.
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
        return self._app(environ, _prefix_locations(prefix, start_response))

    def _is_trusted(self, address: str) -> bool:
        try:
            client = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(client in network for network in self._trusted)


def _prefix_locations(prefix: str, start_response: "StartResponse") -> "StartResponse":
    def start(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        moved = [(name, _with_prefix(prefix, name, value)) for name, value in headers]
        return start_response(status, moved, exc_info)

    return start


def _with_prefix(prefix: str, name: str, value: str) -> str:
    here = value.startswith("/") and not value.startswith(("//", f"{prefix}/"))
    return f"{prefix}{value}" if name.lower() == "location" and here else value
