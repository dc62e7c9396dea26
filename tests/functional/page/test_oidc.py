"""Signing in by an OpenID Connect provider."""

from collections.abc import Iterator

import pytest

from tests.fakes.oidc_server import CLIENT_ID, CLIENT_SECRET, OIDCServer
from tests.functional.browser import Page
from tests.functional.page.conftest import OpenPage
from tests.harness.ports import free_port
from tests.harness.stack import Stack
from ui.api_client import ApiClient, new_key

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

ALICE, BOB = f"alice-{new_key()[:8]}", f"bob-{new_key()[:8]}"


@pytest.fixture
def oidc_page(open_page: OpenPage, stack: Stack) -> Iterator[Page]:
    """A page that signs in by a provider, which knows Alice and Bob; nobody is signed in."""
    port = free_port()
    secrets = stack.directory / ".streamlit" / "secrets.toml"
    secrets.parent.mkdir(exist_ok=True)
    with OIDCServer(users={ALICE: "Alice Amber", BOB: "Bob Barley"}) as provider:
        secrets.write_text(
            "[auth]\n"
            f'redirect_uri = "http://127.0.0.1:{port}/oauth2callback"\n'
            'cookie_secret = "a long secret that signs the cookie of the page"\n'
            f'client_id = "{CLIENT_ID}"\n'
            f'client_secret = "{CLIENT_SECRET}"\n'
            f'server_metadata_url = "{provider.metadata_url}"\n'
        )
        env = {"UI_LOGIN": "oidc", "APP_ENV": "production", "UI_PORT": str(port)}
        page = open_page(env)
        yield page
        page.driver.delete_all_cookies()
    secrets.unlink()


def _sign_in(page: Page, name: str) -> None:
    page.click(".st-key-sign_in button")
    page.click_text(name, "a")
    page.wait_for_text("Sign out")


def test_the_provider_decides_who_the_user_is(oidc_page: Page, api: ApiClient) -> None:
    page = oidc_page
    secret = api.create_session(user_id=BOB, title="What Bob hides", key=new_key())["id"]
    page.driver.get(f"{page.url}/?user={BOB}&session={secret}")
    page.wait(lambda: page.find(".st-key-sign_in button"), "the way in")
    assert "Bob" not in page.text()
    page.driver.get(f"{page.url}/?user={BOB}")
    _sign_in(page, "Alice Amber")
    page.wait_for_text("No conversations yet")
    assert "Alice Amber" in page.text()
    page.ask("Who am I?")
    page.wait(lambda: "Hello from the model." in page.messages()[-1], "the answer")
    assert api.list_sessions(user_id=ALICE).total == 1
    assert api.list_sessions(user_id=BOB).total == 1


def test_nobody_can_take_another_users_name_and_signing_out_clears_the_page(
    oidc_page: Page, api: ApiClient
) -> None:
    page = oidc_page
    secret = api.create_session(user_id=BOB, title="What Bob hides", key=new_key())["id"]
    page.driver.get(page.url)
    _sign_in(page, "Alice Amber")
    for address in (f"?user={BOB}", f"?user={BOB}&session={secret}", f"?session={secret}"):
        page.open(address)
        page.wait_for_text("Answers come from your PDFs")
        assert "hides" not in page.text()
    page.press("[data-testid=stChatInputTextArea]", "A draft of Alice")
    page.click(".st-key-sign_out button")
    page.wait(lambda: page.find(".st-key-sign_in button"), "the way in")
    assert "Alice" not in page.text()
    assert "A draft of Alice" not in str(page.driver.execute_script("return {...sessionStorage}"))
    page.driver.refresh()
    _sign_in(page, "Bob Barley")
    page.wait_for_text("What Bob hides")
    assert "Alice" not in page.text()
    page.wait(lambda: page.find("[data-testid=stChatInputTextArea]"), "the question's field")
    assert not page.find("[data-testid=stChatInputTextArea]").get_attribute("value")
