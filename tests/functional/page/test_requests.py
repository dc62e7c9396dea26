"""How many requests the page makes: an API key has a limit per minute."""

import json
from collections import Counter

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.llm_server import Reply
from tests.functional.browser import Page
from tests.functional.page.conftest import LIGHTHOUSE
from tests.harness.stack import Stack
from tests.pdfs import make_pdf

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


class _RequestLog:
    """The requests under /api/v1 that the service logged since the last call of `new`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._read = len(stack.log("web"))

    def new(self) -> list[str]:
        text = self._stack.log("web")[self._read :]
        complete = text[: text.rfind("\n") + 1]
        self._read += len(complete)
        return [words for line in complete.splitlines() if (words := _request(line))]


def _request(line: str) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if entry.get("event") != "request" or not str(entry.get("path")).startswith("/api/v1"):
        return None
    return f"{entry['method']} {entry['route']}"


def test_an_evening_of_use_stays_under_30_requests_a_minute(page, stack, llm, user, tmp_path):
    """All of this walk is more than anybody does in a minute, and it makes fewer than 30."""
    log = _RequestLog(stack)
    counts = {}

    def count(action: str) -> None:
        # The last request of an action is logged when its answer has gone out.
        page.wait(lambda: "Trying again" not in page.text(), "no trouble")
        counts[action] = log.new()

    page.open(f"?user={user}")
    page.wait_for_text("No conversations yet")
    count("open the page")
    files = []
    for number in range(3):
        files.append(tmp_path / f"part {number}.pdf")
        files[-1].write_bytes(make_pdf([*LIGHTHOUSE, f"Part {number} speaks of oats."]))
    page.upload("\n".join(map(str, files)))
    page.tab("Documents")
    page.wait(lambda: page.text().count("Ready · 3 pages") == 3, "all three")
    count("add three PDFs")
    page.tab("Conversations")
    for question in ("Who built the Amber Lighthouse?", "Who kept it?"):
        llm.script(Reply(deltas=["It was ", "Ingrid Solberg [1]."]))
        page.ask(question)
        _wait_for_end(page)
        count(question)
    page.wait_for_text("About something")
    page.click(".citation[role=button]")
    page.wait(lambda: page.find("[role=dialog] img"), "the page's picture")
    page.press("[role=dialog]", Keys.ESCAPE)
    count("open a citation")
    page.driver.refresh()
    _wait_for_end(page)
    count("reload")
    made = Counter(request for requests in counts.values() for request in requests)
    assert 10 < sum(made.values()) < 30, made


def _wait_for_end(page: Page) -> None:
    page.wait(lambda: "Ingrid Solberg" in page.messages()[-1], "the answer")
    page.wait(lambda: page.find("[class*='st-key-again-'] button"), "its end")
