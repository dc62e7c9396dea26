"""A service that is down, refuses or asks to wait; and who may use the page."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.functional.browser import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


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
    page.find("[data-testid=stChatInputTextArea]").send_keys(Keys.ENTER)
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
    page.find("[data-testid=stChatInputTextArea]").send_keys(Keys.ENTER)
    page.wait(lambda: len(page.messages()) == 2, "the question and its answer")


def test_the_page_reports_a_wrong_key(open_page, user):
    page = open_page({"API_KEY": "wrong"})
    page.open(f"?user={user}")
    page.wait_for_text("does not accept this page's API key")
    page.wait_for_text("Request")


def test_a_page_with_a_password_is_closed_without_it(open_page, user):
    env = {"UI_LOGIN": "password", "UI_PASSWORD": "open sesame", "APP_ENV": "production"}
    page = open_page(env)
    page.driver.get(f"{page.url}/?user={user}")
    page.wait(lambda: len(page.find_all("[data-testid=stForm] input")) == 2, "a form")
    for password, words in (("wrong", "This password is wrong."), ("open sesame", "Sign out")):
        name, secret = page.find_all("[data-testid=stForm] input")
        name.send_keys(Keys.CONTROL, "a")
        name.send_keys(user)
        secret.send_keys(Keys.CONTROL, "a")
        secret.send_keys(password + Keys.ENTER)
        page.wait_for_text(words)
    assert user in page.text()
    page.click(".st-key-sign_out button")
    page.wait_for_text("Your name")
    page.wait(lambda: user not in page.text(), "nothing of the user")


def test_production_refuses_a_page_that_asks_for_no_name(open_page):
    page = open_page({"UI_LOGIN": "none", "APP_ENV": "production"})
    page.driver.get(page.url)
    page.wait_for_text("UI_LOGIN")
    assert not page.find("[data-testid=stChatInputTextArea]")
