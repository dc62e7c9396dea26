"""Addresses below a path prefix that a trusted reverse proxy names."""

from typing import Any

import pytest

from core.bootstrap import Services
from web.app import create_app

HEADERS = {"X-Forwarded-Prefix": "/rag"}


@pytest.fixture
def make_client(services: Services) -> Any:
    def make(trusted: list[str]) -> Any:
        settings = type(services.settings).model_validate(
            services.settings.model_dump() | {"trusted_proxies": trusted}
        )
        return create_app(settings, services=services).test_client()

    return make


def created(client: Any, path: str, headers: dict[str, str], key: str) -> str:
    answer = client.post(path, json={"user_id": "alice"}, headers=headers | {"X-API-Key": key})
    assert answer.status_code == 201
    location: str = answer.headers["Location"]
    return location


def test_docs_schema_and_locations_are_below_the_prefix(
    make_client: Any, services: Services
) -> None:
    client = make_client(["127.0.0.0/8"])
    key = services.settings.api_key.get_secret_value()
    assert 'src="/rag/docs/start.js"' in client.get("/docs", headers=HEADERS).text
    assert 'url: "/rag/openapi.json"' in client.get("/docs/start.js", headers=HEADERS).text
    assert client.get("/openapi.json", headers=HEADERS).json["servers"] == [{"url": "/rag"}]
    for path in ("/api/v1/sessions", "/rag/api/v1/sessions"):
        location = created(client, path, HEADERS, key)
        assert location.startswith("/rag/api/v1/sessions/")
        answer = client.get(location, headers=HEADERS | {"X-API-Key": key})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("trusted", "prefix"),
    [
        ([], "/rag"),
        (["10.0.0.0/8"], "/rag"),
        (["127.0.0.1"], "//evil.example"),
        (["127.0.0.1"], '/a"><script>'),
        (["127.0.0.1"], "rag"),
    ],
)
def test_a_prefix_that_is_untrusted_or_malformed_is_ignored(
    make_client: Any, services: Services, trusted: list[str], prefix: str
) -> None:
    client = make_client(trusted)
    headers = {"X-Forwarded-Prefix": prefix}
    assert 'src="/docs/start.js"' in client.get("/docs", headers=headers).text
    assert "/rag" not in client.get("/openapi.json", headers=headers).text
    key = services.settings.api_key.get_secret_value()
    location = created(client, "/api/v1/sessions", headers, key)
    assert location.startswith("/api/v1/sessions/")
