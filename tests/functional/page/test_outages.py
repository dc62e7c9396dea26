"""The page beside a service that is down or asks to wait, which takes minutes."""

import signal
import time

import pytest
from selenium.webdriver.common.keys import Keys

from tests.functional.browser import Page
from ui.api_client import new_key

pytestmark = [pytest.mark.browser, pytest.mark.faults, pytest.mark.timeout(600)]

FADED = """
return [...document.querySelectorAll('[data-stale="true"]')]
    .filter((one) => getComputedStyle(one).opacity < 1).map((one) => one.innerText);
"""


def test_the_page_reports_a_service_that_is_down_and_recovers(page, stack, user):
    page.driver.get("about:blank")
    stack.kill("web")
    page.open(f"?user={user}")
    page.wait_for_text("The service does not answer")
    page.wait_for_text("Trying again in")
    page.wait(lambda: page.find("[data-testid=stChatInputTextArea]"), "a page that is not blank")
    assert not page.find_all("[data-testid=stException]")
    stack.start("web")
    stack.wait_ready()
    page.wait_for_text("Answers come from your PDFs")
    page.wait_for_text("No conversations yet")
    page.wait(lambda: "Trying again" not in page.text(), "no trouble any more")
    stack.kill("web")
    page.ask("Still there?")
    page.wait_for_text("The service does not answer")
    page.wait(lambda: _draft(page) == "Still there?", "the question in its field")
    assert not page.find_all("[data-testid=stException]")
    assert page.foreign_requests() == []
    stack.start("web")
    stack.wait_ready()
    page.wait(lambda: "Trying again" not in page.text(), "no trouble any more")
    page.press("[data-testid=stChatInputTextArea]", Keys.ENTER)
    page.wait(lambda: "Hello from the model." in page.messages()[-1], "the answer")


def _draft(page: Page) -> str:
    return page.find("[data-testid=stChatInputTextArea]").get_attribute("value")


def test_the_page_reports_a_rate_limit_and_recovers(open_page, stack, user):
    scopes = ["read", "write", "chat", "documents"]
    made = stack.client().post(
        "/api/v1/keys", json={"name": user, "scopes": scopes, "rate_limit_per_minute": 6}
    )
    key = made.json()["key"]
    page = open_page({"API_KEY": key})
    page.open(f"?user={user}")
    page.wait_for_text("No conversations yet")
    for _ in range(6):
        stack.client(key=key).get("/api/v1/sessions")
    page.ask("Is anybody there?")
    page.wait_for_text("Too many requests")
    page.wait(lambda: _draft(page) == "Is anybody there?", "the question in its field")
    page.wait(lambda: "Too many requests" not in page.text(), "the limit passes", seconds=180)
    page.press("[data-testid=stChatInputTextArea]", Keys.ENTER)
    page.wait(lambda: len(page.messages()) == 2, "the question and its answer")


def test_text_is_not_faded_while_the_service_is_slow(page, stack, api, user):
    api.create_session(user_id=user, title="About barley", key=new_key())
    page.driver.refresh()
    page.wait_for_text("About barley")
    stack.signal("web", signal.SIGSTOP, group=True)
    try:
        page.click_text("About barley")
        page.wait(lambda: page.find("[data-stale=true]"), "a page that waits for the service")
        time.sleep(2)  # Streamlit's fading begins after half a second and takes one
        assert page.driver.execute_script(FADED) == []
    finally:
        stack.signal("web", signal.SIGCONT, group=True)
    page.wait(page.is_settled, "the page drawn again")
