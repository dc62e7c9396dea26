"""A question and its answer: streamed, resumed, stopped, written again, rated."""

import re
import time

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.llm_server import LLMServer, Reply
from tests.functional.browser import Page
from tests.functional.page.conftest import LIGHTHOUSE, GatedDeltas
from tests.pdfs import make_pdf

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_from_upload_to_a_cited_answer_that_a_reload_keeps(page, llm, tmp_path):
    file = tmp_path / "Amber Lighthouse.pdf"
    file.write_bytes(make_pdf(LIGHTHOUSE))
    page.tab("Documents")
    page.upload(file)
    page.wait_for_text("Ready · 2 pages")
    llm.script(Reply(deltas=["Ingrid Solberg ", "built it [1]."]))
    page.ask("Who built the Amber Lighthouse?")
    page.wait(lambda: "Ingrid Solberg" in page.messages()[-1], "the answer")
    page.wait_for_text("[1] Amber Lighthouse.pdf · page 1")
    assert "Who built the Amber Lighthouse?" in page.messages()[0]
    page.wait_for_end()
    page.click(".citation[role=button]")
    page.wait(lambda: page.find("[role=dialog] img").size["width"] > 200, "the page's picture")
    assert "built in 1871 by Ingrid Solberg" in page.find(".st-key-quote").text
    address = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(address)
    page.wait_for_text("[1] Amber Lighthouse.pdf · page 1")
    assert len(page.messages()) == 2
    page.wait_for_text("Who built the Amber Lighthouse?")
    assert page.foreign_requests() == []


def ask_for_half(page: Page, llm: LLMServer, question: str) -> GatedDeltas:
    """Ask, and wait for the first half of the answer; the second comes after `release`."""
    deltas = GatedDeltas(["The first ", "words. ", "Then "], ["the last ", "words."])
    llm.script(Reply(deltas=deltas))
    page.ask(question)
    page.wait(lambda: "The first words." in page.messages()[-1], "the first words")
    return deltas


def test_an_answer_appears_while_it_is_written_and_is_requested_once(page, llm, api, user):
    asked = len(llm.answer_requests())
    deltas = ask_for_half(page, llm, "Tell me something.")
    page.driver.refresh()
    page.wait(lambda: "The first words." in page.messages()[-1], "them again, after a reload")
    assert "the last words." not in page.text()
    deltas.release()
    page.wait(lambda: "the last words." in page.messages()[-1], "the last words")
    assert len(llm.answer_requests()) == asked + 1
    session = api.list_sessions(user_id=user).items[0]
    page.wait(
        lambda: [m["status"] for m in api.recent_messages(session["id"]).items] == ["complete"] * 2,
        "two messages",
    )


def test_a_second_tab_follows_the_answer(page, llm):
    deltas = ask_for_half(page, llm, "Tell me something long.")
    address, first = page.driver.current_url, page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        page.driver.get(address)
        page.wait(lambda: "The first words." in page.messages()[-1], "them in the second tab")
        deltas.release()
        page.wait(lambda: "the last words." in page.messages()[-1], "its end")
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)
    page.wait(lambda: "the last words." in page.messages()[-1], "its end in the first tab")


def test_an_answer_can_be_stopped_regenerated_and_selected(page, llm):
    deltas = ask_for_half(page, llm, "Tell me everything.")
    page.click(".st-key-stop button")
    page.wait_for_text("You stopped this answer.")
    deltas.release()
    assert "the last words." not in page.text()
    llm.script(Reply(deltas=["Another ", "answer."]))
    page.click("[class*='st-key-again-'] button")
    page.wait(lambda: "Another answer." in page.messages()[-1], "the other answer")
    page.wait_for_text("2/2")
    page.click("[class*='st-key-answer-1-'] button")
    page.wait(lambda: "The first words." in page.messages()[-1], "the first answer again")
    page.wait_for_text("1/2")


def test_the_last_question_can_be_changed_and_an_answer_rated(page, llm, api, user):
    page.ask("Waht is it?")
    page.wait_for_text("Hello from the model.")
    page.click("[class*='st-key-edit-'] button")
    page.wait(lambda: page.find("[role=dialog] textarea"), "the field")
    named = api.list_sessions(user_id=user).items[0]["id"]
    page.wait(lambda: api.get_session(named)["title"] == "About something", "the model's title")
    time.sleep(4)  # the page looks for it 1, 3 and 7 s after the answer, and keeps the dialog
    page.press("[role=dialog] textarea", Keys.CONTROL, "a")
    page.press("[role=dialog] textarea", "What is it?")
    page.click(".st-key-send_edit button")
    page.wait(lambda: "What is it?" in page.messages()[0], "the changed question")
    page.wait(lambda: "Hello from the model." in page.messages()[1], "its answer")
    page.click("[class*='st-key-rating-'] button")
    session = api.list_sessions(user_id=user).items[0]

    def feedback() -> tuple[str | None, str | None]:
        given = api.recent_messages(session["id"]).items[-1]["feedback"] or {}
        return given.get("rating"), given.get("comment")

    page.wait(lambda: feedback()[0] == "up", "the rating")
    page.click("[class*='st-key-rating-'] button:nth-of-type(2)")
    page.wait(lambda: page.find("[role=dialog] textarea"), "what was wrong")
    page.press("[role=dialog] textarea", "Too short")
    page.click(".st-key-send_comment button")
    page.wait(lambda: feedback() == ("down", "Too short"), "it")


def test_markdown_is_drawn_with_code_tables_and_formulas(page, llm):
    table, code = "| a | b |\n| --- | --- |\n| 1 | 2 |", "```python\nprint(1)\n```"
    text = f"**Bold** and\n\n{table}\n\n{code}\n\n$E=mc^2$"
    llm.script(Reply(deltas=re.findall(r"\S*\s*", text)))
    page.ask("Show me.")
    for css in ("strong", "table", "[data-testid=stCode]", ".katex"):
        page.wait(lambda css=css: page.find(f"[data-testid=stChatMessage] {css}"), css)
    assert page.foreign_requests() == []


def test_the_field_keeps_its_focus_and_takes_what_is_typed_ahead(page, llm):
    deltas = ask_for_half(page, llm, "First question?")
    page.ask("Second question?")
    page.wait_for_text("Will be sent when the answer above is finished.")
    deltas.release()
    page.wait(lambda: len(page.messages()) == 4, "both answers")
    page.wait(lambda: "Hello from the model." in page.messages()[-1], "the second answer")
    assert "Second question?" in page.messages()[2]
    field = page.find("[data-testid=stChatInputTextArea]")
    assert page.driver.switch_to.active_element == field


def test_a_draft_survives_a_reload(page):
    page.wait(lambda: page.find("[data-testid=stChatInputTextArea]"), "the field")
    page.press("[data-testid=stChatInputTextArea]", "Not yet sent")
    page.wait(
        lambda: "Not yet sent" in str(page.driver.execute_script("return {...sessionStorage}")),
        "the draft is kept",
    )
    page.driver.refresh()
    page.wait(
        lambda: (
            page.find("[data-testid=stChatInputTextArea]").get_attribute("value") == "Not yet sent"
        ),
        "the draft",
    )


def test_the_page_reports_a_failing_model_and_retries(page, llm):
    llm.script(Reply(status=400))
    page.ask("Are you there?")
    page.wait(lambda: page.find("[data-testid=stAlert]"), "what went wrong")
    page.click_text("Try again")
    page.wait_for_text("Hello from the model.")
