"""One running stack and one browser for all tests of the chat page."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.llm_server import LLMServer, Recorded, Reply
from tests.functional import browser
from tests.functional.browser import Page, open_browser
from tests.functional.conftest import stacks
from tests.harness.ports import free_port
from tests.harness.stack import Stack
from tests.pdfs import make_pdf
from ui.api_client import ApiClient, new_key
from ui.config import Config

OpenPage = Callable[..., Page]

LIGHTHOUSE = [
    "The Amber Lighthouse was built in 1871 by Ingrid Solberg on the island of Vetla.",
    "In 1902 the keeper of the lighthouse was Tomas Eide, who kept a diary of the storms.",
]


class GatedDeltas(Sequence[str]):
    """Deltas of which the second half is sent once the test calls `release`.

    So a test can look at an answer in the middle, however slow the machine is. The service holds
    the last delta of the first half back, since it may be the beginning of a citation.
    """

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self._deltas, self._first_held = [*before, *after], len(before)
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def __len__(self) -> int:
        return len(self._deltas)

    def __getitem__(self, at: Any) -> Any:
        return self._deltas[at]

    def __iter__(self) -> Iterator[str]:
        for at, delta in enumerate(self._deltas):
            if at == self._first_held:
                self._released.wait(600)
            yield delta


class PageLLM(LLMServer):
    """Answers requests for titles itself, so that scripted replies are only for answers."""

    def record(self, request: Recorded) -> Reply:
        if request.is_for_title:
            # As late as a real model's: the page has shown the answer's end by then.
            return Reply(deltas=["About something"], delay=2.0)
        return super().record(request)


@pytest.fixture(scope="session")
def llm() -> Iterator[LLMServer]:
    with PageLLM() as server:
        yield server


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], str],
    model_dir: Path,
    llm: LLMServer,
) -> Iterator[Stack]:
    """Web, worker and page, with the LLM server."""
    env = {
        "CHAT_PROVIDER": "openai",
        "CHAT_BASE_URL": llm.base_url,
        "CHAT_MODEL": "test-model",
        "CHAT_TIMEOUT_SECONDS": "600",  # held answers wait for the browser
        "RANGE_PAGES": "4",
    }
    with ExitStack() as cleanup:
        make = stacks(tmp_path_factory, new_database, model_dir, cleanup)
        stack = make(env=env)
        for name in ("web", "worker", "ui"):
            stack.start(name)
        stack.wait_ready()
        yield stack


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Chrome]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def user() -> str:
    """A new user name per test, because tests share the service."""
    return f"u{new_key()[:12]}"


@pytest.fixture
def page(driver: browser.Chrome, stack: Stack, user: str) -> Page:
    """The page as this user finds it."""
    page = blank_page(driver, stack.ui_url)
    page.open(f"?user={user}")
    page.wait_for_text("Answers come from your PDFs")
    return page


@pytest.fixture
def open_page(driver: browser.Chrome, stack: Stack) -> Iterator[OpenPage]:
    """Start one more page on the same service: `open_page({"UI_LOGIN": …})`; nothing is opened."""
    started = []

    def start(env: Mapping[str, str]) -> Page:
        name, port = f"ui-{len(started)}-{new_key()[:6]}", env.get("UI_PORT") or str(free_port())
        stack.start(name, kind="ui", env={**env, "UI_PORT": port})
        started.append(name)
        stack.wait_ready()
        return blank_page(driver, f"http://127.0.0.1:{port}")

    yield start
    for name in started:
        assert stack.stop(name) in (0, -15)


@pytest.fixture
def api(stack: Stack) -> Iterator[ApiClient]:
    client = ApiClient(Config(stack.base_url, stack.api_key, 50))
    yield client
    client.close()


def blank_page(driver: browser.Chrome, url: str) -> Page:
    driver.get("about:blank")
    page = Page(driver, url)
    page.requests()  # forgets those of the test before
    return page


def ingest(api: ApiClient, tmp_path: Path, pages: list[str], *, name: str, user: str) -> str:
    """Upload a PDF with these pages and wait for the end of its job; the document's id."""
    file = tmp_path / "upload.pdf"
    file.write_bytes(make_pdf(pages))
    with file.open("rb") as stream:
        sent = api.upload_document(stream, filename=name, user_id=user, key=new_key())
    until = time.monotonic() + 300
    while (state := api.get_job(sent.job["id"])["state"]) in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert state in ("succeeded", "failed")
    return str(sent.document["id"])
