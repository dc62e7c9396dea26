"""The API in this process, with real PostgreSQL and Redis, and its callers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from core.access import keys
from core.access.keys import SCOPES
from core.bootstrap import Services, bootstrap
from core.settings import Settings, read_settings
from tests.conftest import API_KEY
from tests.fakes.llm_server import LLMServer
from tests.harness.ports import free_port
from web.app import create_app

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Caller:
    """A client with an API key; paths are below /api/v1."""

    app: Flask
    key: str
    user_id: str

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"X-API-Key": self.key, **options.pop("headers", {})}
        return self.app.test_client().open(
            f"/api/v1{path}", method=method, headers=headers, buffered=True, **options
        )

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.call("POST", path, **({"json": body} if body is not None else {}), **options)

    def put(self, path: str, body: Any) -> TestResponse:
        return self.call("PUT", path, json=body)

    def patch(self, path: str, body: Any = None) -> TestResponse:
        return self.call("PATCH", path, **({"json": body} if body is not None else {}))

    def delete(self, path: str) -> TestResponse:
        return self.call("DELETE", path)

    def new_session(self, **body: Any) -> dict[str, Any]:
        response = self.post("/sessions", {"user_id": self.user_id, **body})
        assert response.status_code == 201, response.text
        return response.get_json()

    def say(self, session_id: str, content: str = "hello", **body: Any) -> dict[str, Any]:
        response = self.post(
            f"/sessions/{session_id}/messages", {"sender": "user", "content": content, **body}
        )
        assert response.status_code == 201, response.text
        return response.get_json()


@pytest.fixture(scope="session")
def web_settings(
    new_database: Callable[[], str], redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return read_settings(
        app_env="test",
        api_key=API_KEY,
        database_url=new_database(),
        redis_url=redis_server.url,
        data_dir=tmp_path_factory.mktemp("web") / "data",
        rate_limit_per_minute=100_000,
        cors_origins=["https://app.example"],
        max_upload_mb=1,
    )


@pytest.fixture(scope="session")
def app(web_settings: Settings) -> Iterator[Flask]:
    """One app and database, without a model, for all tests here. Each test has its own tenants."""
    services = bootstrap(web_settings, pool_size=20)
    yield create_app(services=services)
    services.close()


@pytest.fixture
def make_app(web_settings: Settings) -> Iterator[Callable[..., Flask]]:
    """An app for this test only; keyword arguments change settings."""
    made: list[Services] = []
    apps: list[Flask] = []

    def make(**overrides: Any) -> Flask:
        made.append(bootstrap(web_settings.model_copy(update=overrides), pool_size=4))
        apps.append(create_app(services=made[-1]))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["live_answers"].close()
    for services in made:
        for name in ("embedder", "answerer"):
            getattr(services.__dict__.get(name), "close", lambda: None)()
        services.close()


@pytest.fixture
def fresh_app(make_app: Callable[..., Flask], new_database: Callable[[], str]) -> Flask:
    """An app with an empty database: no vectors of another model, no work of other tests."""
    return make_app(database_url=new_database())


@pytest.fixture(scope="module")
def asker_settings() -> dict[str, Any]:
    """A module's own settings for the app of `asker`."""
    return {}


@pytest.fixture
def asker(make_app: Callable[..., Flask], llm: LLMServer, asker_settings: dict[str, Any]) -> Caller:
    """The operator of an app that uses `llm`. Tests share the tenant but not the sessions."""
    endpoint = {"embedding_base_url": llm.base_url, "chat_base_url": llm.base_url}
    models = {"embedding_model": "e", "chat_model": "test-model"}
    providers = {"embedding_provider": "openai", "chat_provider": "openai"}
    app = make_app(**(endpoint | models | providers | asker_settings))
    return Caller(app, API_KEY, "asker")


@pytest.fixture
def tenant() -> str:
    return f"wonderland-{uuid4().hex[:8]}"


@pytest.fixture
def operator(app: Flask) -> Caller:
    """The caller with the key of the settings."""
    return Caller(app, API_KEY, "operator")


@pytest.fixture
def make_caller(app: Flask) -> Callable[..., Caller]:
    services: Services = app.extensions["services"]

    def make(
        user_id: str, *, tenant: str, scopes: tuple[str, ...] = SCOPES, **options: Any
    ) -> Caller:
        with services.database.transaction(tenant_id=None) as db:
            made = keys.create_key(
                db,
                tenant_id=tenant,
                name=user_id,
                scopes=scopes,
                pepper=services.settings.effective_key_pepper,
                **options,
            )
        return Caller(app, made.secret, user_id)

    return make


@pytest.fixture
def alice(make_caller: Callable[..., Caller], tenant: str) -> Caller:
    """The owner of the test's sessions and documents."""
    return make_caller("alice", tenant=tenant)


@pytest.fixture
def bob(make_caller: Callable[..., Caller], tenant: str) -> Caller:
    """Shares alice's tenant."""
    return make_caller("bob", tenant=tenant)


@pytest.fixture
def charlie(make_caller: Callable[..., Caller]) -> Caller:
    """A stranger, of another tenant."""
    return make_caller("charlie", tenant=f"elsewhere-{uuid4().hex[:8]}")


@pytest.fixture
def unknown_id() -> str:
    return str(uuid4())


@dataclass(frozen=True)
class Server:
    """The API behind gunicorn with two processes."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def client(self, key: str = API_KEY) -> httpx.Client:
        return httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"X-API-Key": key},
            timeout=30,
            trust_env=False,
        )


@pytest.fixture(scope="module")
def server_environment() -> dict[str, str]:
    """A module's own settings for `server`."""
    return {}


@pytest.fixture(scope="module")
def server(
    new_database: Callable[[], str],
    redis_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
    server_environment: dict[str, str],
) -> Iterator[Server]:
    port = free_port()
    home = tmp_path_factory.mktemp("server")
    environment = os.environ | {
        "API_KEY": API_KEY,
        "APP_ENV": "test",
        "DATABASE_URL": new_database(),
        "REDIS_URL": redis_server.url,
        "DATA_DIR": str(home / "data"),
        "PORT": str(port),
        "RATE_LIMIT_PER_MINUTE": "10000",
        "WEB_WORKERS": "2",
        "WEB_THREADS": "8",
        "EMBEDDING_PROVIDER": "openai",  # never asked: the local model takes seconds to load
        "EMBEDDING_MODEL": "none",
        **server_environment,
    }
    log = home / "log"
    command = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "web.app:create_app()"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health/ready", process, log)
            yield Server(f"http://127.0.0.1:{port}", process, log)
        finally:
            process.terminate()
            process.wait(40)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
