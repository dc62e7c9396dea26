"""axe-core finds nothing serious, in light and dark, on a desk and on a phone."""

from importlib import resources

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.llm_server import Reply
from tests.functional.browser import Page
from tests.functional.page.conftest import LIGHTHOUSE, ingest
from ui.api_client import new_key

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


EDGES = """
const button = document.querySelector('[class*=st-key-edit-] button');
const edge = (element) => element.getBoundingClientRect().right;
return [edge(button.closest('[data-testid=stChatMessage]')), edge(button)];
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_accessible(page, llm, api, user, tmp_path, width):
    page.resize(width)
    try:
        _check(page, width, state="the empty page")
        ingest(api, tmp_path, LIGHTHOUSE, name="lighthouse.pdf", user=user)
        ingest(api, tmp_path, [""], name="blank.pdf", user=user)
        page.open(f"?user={user}")
        llm.script(Reply(deltas=["## By whom\n\nIngrid ", "Solberg built it [1].\n\n`code`"]))
        page.ask("Who built the Amber Lighthouse, in which year, and on what island is it?")
        page.wait(lambda: page.find(".citation[role=button]"), "a citation")
        page.wait_for_end()
        _check(page, width, state="an answer")
        bubble, button = page.driver.execute_script(EDGES)
        assert button <= bubble, "the edit button is in its question's bubble"
        page.click(".citation[role=button]")
        page.wait(lambda: page.find("[role=dialog] img"), "the page's picture")
        _check(page, width, state="a citation")
    finally:
        page.resize(1280)
        page.prefer("")


def test_the_documents_and_dialogs_are_accessible(page, api, user, tmp_path):
    ingest(api, tmp_path, LIGHTHOUSE, name="lighthouse.pdf", user=user)
    ingest(api, tmp_path, [""], name="blank.pdf", user=user)
    session = api.create_session(user_id=user, title="About barley", key=new_key())["id"]
    page.open(f"?user={user}")
    try:
        page.tab("Documents")
        page.wait_for_text("pictures without text")
        _check(page, 1280, state="the documents")
        page.tab("Conversations")
        for entry in ("Rename", "Export", "Delete"):
            page.choose(f".st-key-menu-{session}", entry)
            page.wait(lambda: page.find("[role=dialog]"), entry)
            _check(page, 1280, state=entry)
            page.press("[role=dialog]", Keys.ESCAPE)
            page.wait(lambda: not page.find("[role=dialog]"), "the dialog is closed")
    finally:
        page.prefer("")


def _check(page: Page, width: int, *, state: str) -> None:
    """Nothing serious in light and in dark, and nothing wider than the window."""
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        assert page.driver.execute_script("return document.body.scrollWidth") <= width
        assert serious_faults(page) == [], f"{state}, {scheme}"


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds, if it is serious, in a page that does not change meanwhile."""
    while True:
        page.wait(page.is_settled, "a page that is at rest")
        faults = _found_by_axe(page)
        if not faults or page.is_settled():
            return faults


def _found_by_axe(page: Page) -> list[str]:
    page.driver.execute_script((resources.files("axe_core_python") / "axe.min.js").read_text())
    found = page.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then((result) => done(result.violations))"
    )
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
