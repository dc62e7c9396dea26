"""A real OpenID Connect provider: discovery, authorization code, RS256 tokens, keys, logout.

    with OIDCServer(users={"alice-id": "Alice"}) as oidc:
        ...  # its metadata is at oidc.metadata_url, the client is CLIENT_ID and CLIENT_SECRET

`/authorize` shows one link per user. A click on a link signs in as that user.
"""

import base64
import html
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.fakes.server_thread import ServerThread

CLIENT_ID, CLIENT_SECRET = "chat-page", "a secret of the client"
_METADATA = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class _Grant:
    """The data of an authorization code. A code can be used once."""

    sub: str
    redirect_uri: str
    nonce: str | None


class OIDCServer(ServerThread):
    """Serves on a free port of 127.0.0.1 inside `with`. `users`: names by `sub`."""

    def __init__(self, *, users: Mapping[str, str]) -> None:
        self.users = users
        self.key = RSAKey.generate_key(2048, parameters={"kid": "1", "use": "sig", "alg": "RS256"})
        self.grants: dict[str, _Grant] = {}
        super().__init__(_Server(("127.0.0.1", 0), self))

    @property
    def issuer(self) -> str:
        return f"http://{self.address}"

    @property
    def metadata_url(self) -> str:
        return self.issuer + _METADATA

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def token(self, grant: _Grant) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": grant.sub,
            "name": self.users[grant.sub],
            "iat": now,
            "exp": now + 3600,
        } | ({"nonce": grant.nonce} if grant.nonce else {})
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        return {
            "id_token": signed,
            "access_token": secrets.token_urlsafe(),
            "token_type": "Bearer",
            "expires_in": 3600,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], owner: OIDCServer) -> None:
        super().__init__(address, _Handler)
        self.owner = owner


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/.well-known/openid-configuration":
                self._json(200, self.server.owner.metadata())
            case "/jwks":
                self._json(200, {"keys": [self.server.owner.key.as_dict(private=False)]})
            case "/authorize":
                self._offer_users(query)
            case "/choose":
                self._grant(query)
            case "/logout":
                self._redirect(query["post_logout_redirect_uri"])
            case _:
                self._json(404, {"error": "not_found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        grant = self.server.owner.grants.pop(form.get("code", ""), None)
        if not self._is_client(form):
            self._json(401, {"error": "invalid_client"})
        elif grant is None or grant.redirect_uri != form.get("redirect_uri"):
            self._json(400, {"error": "invalid_grant"})
        else:
            self._json(200, self.server.owner.token(grant))

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _is_client(self, form: Mapping[str, str]) -> bool:
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        given = (form.get("client_id"), form.get("client_secret"))
        return self.headers.get("Authorization") == f"Basic {basic}" or given == (
            CLIENT_ID,
            CLIENT_SECRET,
        )

    def _offer_users(self, query: Mapping[str, str]) -> None:
        links = [
            f'<p><a href="/choose?{html.escape(urlencode({**query, "sub": sub}))}">{name}</a></p>'
            for sub, name in self.server.owner.users.items()
        ]
        self._send(200, "text/html", "".join(links).encode())

    def _grant(self, query: Mapping[str, str]) -> None:
        code = secrets.token_urlsafe()
        self.server.owner.grants[code] = _Grant(
            query["sub"], query["redirect_uri"], query.get("nonce")
        )
        answer = urlencode({"code": code, "state": query["state"]})
        self._redirect(f"{query['redirect_uri']}?{answer}")

    def _redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.end_headers()

    def _json(self, status: int, body: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
