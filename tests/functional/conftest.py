"""The whole service for a test, and its logs when the test fails."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from launcher.servers import start_redis
from tests.conftest import EMBEDDING_RUNTIME, NO_BROWSER
from tests.functional import browser
from tests.functional.browser import Page
from tests.harness.stack import Stack

MakeStack = Callable[..., Stack]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.functional)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `browser` if there is none; if CI is set, they fail instead."""
    missing = not (browser.CHROMIUM and browser.CHROMEDRIVER)
    if missing and item.get_closest_marker("browser"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(NO_BROWSER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Add the processes' logs and the page's content to the report of a failed test."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Stack | Page):
                report.sections += value.describe()
    return report


@pytest.fixture(scope="module")
def make_stack(
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], str],
    model_dir: Path,
) -> Iterator[MakeStack]:
    """Make a Stack with its own database and Redis. It has no running process yet.

    `make_stack(env={...}, database_url=...)`; all processes end with the module's tests.
    """
    with ExitStack() as cleanup:
        yield stacks(tmp_path_factory, new_database, model_dir, cleanup)


def stacks(
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], str],
    model_dir: Path,
    cleanup: ExitStack,
) -> MakeStack:
    """What `make_stack` gives; the processes end with `cleanup`."""
    model = {"MODEL_DIR": str(model_dir), "EMBEDDING_RUNTIME": EMBEDDING_RUNTIME}

    def make(*, env: Mapping[str, str] | None = None, database_url: str | None = None) -> Stack:
        directory = tmp_path_factory.mktemp("stack")
        redis = start_redis(directory / "redis")
        cleanup.callback(redis.stop)
        stack = Stack(
            directory,
            database_url=database_url or new_database(),
            redis=redis,
            env=model | dict(env or {}),
        )
        cleanup.callback(stack.close)
        return stack

    return make


@pytest.fixture(scope="module")
def stack(make_stack: MakeStack) -> Stack:
    """Web and one worker, ready; shared by the tests of a module."""
    stack = make_stack()
    stack.start("web")
    stack.start("worker")
    stack.wait_ready()
    return stack
