"""The list of conversations, and whose they are."""

import json
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.llm_server import Reply
from tests.functional.browser import Page
from tests.functional.page.conftest import GatedDeltas
from ui.api_client import new_key

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_conversations_can_be_found_starred_renamed_exported_and_deleted(page, api, user, tmp_path):
    made = {
        title: api.create_session(user_id=user, title=title, key=new_key())["id"]
        for title in ("About barley", "About rope")
    }
    menu = f".st-key-menu-{made['About barley']}"
    page.driver.refresh()
    page.click_text("About barley")
    page.wait(lambda: page.find(".st-key-heading h3").text == "About barley", "its heading")
    page.choose(menu, "Add to favourites")
    page.wait_for_text("Favourites")
    page.choose(menu, "Rename")
    page.wait(lambda: page.find("[role=dialog] input"), "the title's field")
    page.press("[role=dialog] input", " and oats" + Keys.ENTER)
    page.wait_for_text("About barley and oats")
    found = {item["title"]: item["is_favorite"] for item in api.list_sessions(user_id=user).items}
    assert found == {"About barley and oats": True, "About rope": False}
    _assert_exported(page, menu, tmp_path)
    page.press(".st-key-search input", "rope" + Keys.ENTER)
    page.wait_for_text("Titles")
    page.wait(lambda: "oats" not in page.find(".st-key-conversations").text, "what was sought")
    page.press(".st-key-search input", Keys.CONTROL, "a")
    page.press(".st-key-search input", Keys.DELETE, Keys.ENTER)
    page.choose(menu, "Delete")
    page.wait(lambda: page.find(".st-key-confirm_delete_cancel button"), "a way out")
    page.click(".st-key-confirm_delete button")
    page.wait_for_text("Answers come from your PDFs")
    assert [item["title"] for item in api.list_sessions(user_id=user).items] == ["About rope"]


def test_a_dialog_keeps_its_text_when_an_answer_ends(page, api, user, llm):
    session = api.create_session(user_id=user, title="About barley", key=new_key())["id"]
    menu, deltas = f".st-key-menu-{session}", GatedDeltas(["Barley ", "is "], ["a ", "grain."])
    page.open(f"?user={user}&session={session}")
    llm.script(Reply(deltas=deltas))
    page.ask("What is barley?")
    page.wait(lambda: "Barley" in page.messages()[-1], "the first words")
    page.choose(menu, "Rename")
    page.wait(lambda: page.find("[role=dialog] input"), "the title's field")
    page.press("[role=dialog] input", " and oats")
    deltas.release()
    page.wait_for_text("Barley is a grain.")
    page.wait(lambda: not page.find(".st-key-stop"), "the end of the answer")
    field = page.find("[role=dialog] input")
    assert field.get_attribute("value") == "About barley and oats"
    assert field == page.driver.switch_to.active_element
    field.send_keys(Keys.ENTER)
    page.wait(lambda: page.find(".st-key-heading h3").text == "About barley and oats", "its title")
    page.wait(lambda: not page.find("[role=dialog]"), "the dialog is closed")
    page.wait_for_end()


def test_a_closed_dialog_stays_closed(page, api, user):
    session = api.create_session(user_id=user, title="About barley", key=new_key())["id"]
    menu = f".st-key-menu-{session}"
    page.open(f"?user={user}&session={session}")
    page.choose(menu, "Rename")
    page.wait(lambda: page.find("[role=dialog] input"), "the title's field")
    page.press("[role=dialog]", Keys.ESCAPE)
    page.wait(lambda: not page.find("[role=dialog]"), "the dialog is closed")
    page.choose(menu, "Add to favourites")
    page.wait_for_text("Favourites")
    assert not page.find("[role=dialog]")


def _assert_exported(page: Page, menu: str, directory: Path) -> None:
    """Both buttons of the dialog give the service's own export."""
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(directory)}
    )
    page.choose(menu, "Export")
    page.click(".st-key-export_markdown button")
    page.click(".st-key-export_json button")
    name = "About barley and oats"
    files = [directory / f"{name}.md", directory / f"{name}.json"]
    page.wait(lambda: all(file.exists() for file in files), "both files")
    assert files[0].read_text().startswith(f"# {name}")
    assert json.loads(files[1].read_text())["session"]["title"] == name
    page.press("[role=dialog]", Keys.ESCAPE)
    page.wait(lambda: not page.find("[role=dialog]"), "the dialog is closed")


def test_the_page_reports_an_unknown_conversation_in_the_url(page, user):
    page.open(f"?user={user}&session=01890a5d-ac96-774b-bcce-b302099a8057")
    page.wait_for_text("This conversation does not exist any more.")


def test_a_new_user_can_try_the_sample(page, llm):
    llm.script(Reply(deltas=["It was ", "Elsa Holm [1]."]))
    page.click(".st-key-sample button")
    page.click(".st-key-sample-0 button")
    page.wait(lambda: "Elsa Holm" in page.messages()[-1], "the answer", seconds=120)
    page.wait_for_text("[1] norrskar-lighthouse.pdf")


def test_the_page_explains_answers_without_an_llm(open_page, user):
    page = open_page({"CHAT_PROVIDER": "extractive"})
    page.open(f"?user={user}")
    page.wait_for_text("answers are quotes from your documents")


def test_a_second_user_sees_nothing_of_the_first(page, api, user):
    api.create_session(user_id=user, title="About secrets", key=new_key())
    page.open(f"?user={user}-other")
    page.wait_for_text("No conversations yet")
    assert "secrets" not in page.text()
