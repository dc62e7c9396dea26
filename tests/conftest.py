"""Fixtures for every kind of test: real servers, fresh databases, settings."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg2
import pytest
import redis
from xdist.scheduler import LoadScopeScheduling

from core.db import migrate
from core.embedding.build import build
from core.settings import Settings, get_settings, read_settings
from launcher.servers import PostgresServer, RedisServer, start_postgres, start_redis
from tests.fakes.llm_server import LLMServer
from tests.harness import ROOT
from tests.harness.local_llm import LocalLLM, running_llm

API_KEY = "test-key-0123456789abcdef"
# Built once for all runs, because that takes about a minute.
MODEL_DIR = ROOT / "data" / "models"
# Runs on every processor. A measurement in each test's own data folder would take too long.
EMBEDDING_RUNTIME = "onnxruntime-int8"
NOWHERE_POSTGRES = "postgresql://nobody@127.0.0.1:1/none"
NO_BROWSER = (
    "they need chromium and chromedriver on PATH "
    "(Debian, Ubuntu: apt-get install chromium chromium-driver)"
)
NOWHERE_REDIS = "redis://127.0.0.1:1/0"


# No deadline, because a slow machine would miss it. `make unit` chooses "quick".
hypothesis.settings.register_profile("thorough", max_examples=150, deadline=None)
hypothesis.settings.register_profile("quick", max_examples=20, deadline=None)
hypothesis.settings.load_profile("thorough")

# Files whose tests share no expensive fixture: pytest-xdist may distribute their tests.
SPREAD = {"test_faults.py"}
# Directories whose files share a fixture of the session: they run in one process.
TOGETHER = ("tests/functional/page",)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Test processes for `-n auto`: more than processors, because many tests wait for a clock."""
    return min(8, 2 * (os.cpu_count() or 1))


class Scheduling(LoadScopeScheduling):
    """The tests of a file run in one process and share its fixtures.

    Not by `--dist loadgroup`: pytest-xdist 3.8 hands groups over in the ids of tests, which
    pytest 9.2 does not let it change.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if Path(file).name in SPREAD:
            return nodeid
        return next((name for name in TOGETHER if file.startswith(name)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(NO_BROWSER in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(f"{count} tests of the pages did not run: {NO_BROWSER}")


SERVERS_DIR = pytest.StashKey[Path]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the servers' files after the last test: thousands take longer than a test may."""
    if directory := session.config.stash.get(SERVERS_DIR, None):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def servers_dir(pytestconfig: pytest.Config) -> Path:
    path = Path(tempfile.mkdtemp(prefix="rag-"))
    pytestconfig.stash[SERVERS_DIR] = path
    return path


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside(servers_dir: Path) -> None:
    """Keep the caller's environment and `.env` out of the tests."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    Settings.model_config["env_file"] = None
    os.environ.update(
        APP_ENV="test",
        API_KEY=API_KEY,
        DATABASE_URL=NOWHERE_POSTGRES,
        REDIS_URL=NOWHERE_REDIS,
        DATA_DIR=str(servers_dir / "data"),
        MODEL_DIR=str(MODEL_DIR),
        EMBEDDING_RUNTIME=EMBEDDING_RUNTIME,
    )
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The local embedding model, built if this checkout has none yet."""
    build(MODEL_DIR)
    return MODEL_DIR


@pytest.fixture(scope="session")
def postgres_server(servers_dir: Path) -> Iterator[PostgresServer]:
    """PostgreSQL for the whole run. A test that stops or restarts it starts its own instead."""
    server = start_postgres(servers_dir / "postgres", durable=False)
    yield server
    server.stop("immediate")


@pytest.fixture(scope="session")
def redis_server(servers_dir: Path) -> Iterator[RedisServer]:
    """Redis for the whole run. A test that stops it starts its own instead."""
    server = start_redis(servers_dir / "redis")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def new_database(postgres_server: PostgresServer) -> Callable[[], str]:
    """Make one more migrated, empty database; gives its URL (owner `rag`). About 30 ms each."""
    template = f"template_{secrets.token_hex(4)}"
    _create_database(postgres_server, name=template, template="template1")
    migrate(_url_of(postgres_server, template))

    def create() -> str:
        name = f"test_{secrets.token_hex(4)}"
        _create_database(postgres_server, name=name, template=template)
        return _url_of(postgres_server, name)

    return create


@pytest.fixture(scope="session")
def shared_database_url(new_database: Callable[[], str]) -> str:
    """One migrated database for tests that roll back their changes (each runs in a savepoint)."""
    return new_database()


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A migrated, empty database for this test only."""
    return new_database()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of Redis, which is emptied first."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    """An LLM and embedding endpoint. A module may override it with its own replies."""
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="session")
def real_llm(servers_dir: Path) -> Iterator[LocalLLM]:
    """SmolLM2-135M with a window of 1024 tokens and one slot. Up in two seconds, 200 MB."""
    with running_llm(servers_dir / "llm.log", context_tokens=1024) as server:
        yield server


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with test defaults; keyword arguments override them. The servers need not exist."""

    def make(**overrides: object) -> Settings:
        defaults: dict[str, object] = {
            "app_env": "test",
            "api_key": API_KEY,
            "database_url": NOWHERE_POSTGRES,
            "redis_url": NOWHERE_REDIS,
            "data_dir": tmp_path / "data",
            "model_dir": MODEL_DIR,
        }
        return read_settings(**(defaults | overrides))

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings], database_url: str, redis_url: str) -> Settings:
    """Settings that point at the real servers, with a database for this test only."""
    return make_settings(database_url=database_url, redis_url=redis_url)


def _url_of(server: PostgresServer, database: str) -> str:
    url = f"{server.url.rpartition('/')[0]}/{database}"
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def create_empty_database(server: PostgresServer) -> str:
    """Create a database without tables; return its URL."""
    name = f"empty_{secrets.token_hex(4)}"
    _create_database(server, name=name, template="template1")
    return _url_of(server, name)


def _create_database(server: PostgresServer, *, name: str, template: str) -> None:
    connection = psycopg2.connect(server.admin_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} OWNER rag TEMPLATE {template}")
    finally:
        connection.close()
