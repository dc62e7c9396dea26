"""A service that refuses the page, and who may use the page."""

import pytest
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


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
