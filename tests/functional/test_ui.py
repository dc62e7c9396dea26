"""The chat page in a real browser, over the whole service."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.llm_server import LLMServer, Recorded, Reply
from tests.functional import browser
from tests.functional.browser import Page, open_browser
from tests.functional.conftest import MakeStack
from tests.harness.ports import free_port
from tests.harness.stack import Stack
from tests.pdfs import make_pdf
from ui.api_client import ApiClient, new_key
from ui.config import Config

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

FLOWER_PORT = 5555
LIGHTHOUSE = [
    "The Amber Lighthouse was built in 1871 by Ingrid Solberg on the island of Vetla.",
    "In 1902 the keeper of the lighthouse was Tomas Eide, who kept a diary of the storms.",
]
LONG = [f"Page {number} speaks of barley, rope and weather. " * 30 for number in range(1, 161)]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="module")
def stack(make_stack: MakeStack, llm: LLMServer) -> Stack:
    """Web, worker and page, and a second web and page that use the LLM."""
    stack = make_stack()
    port = free_port()
    by_llm = {
        "PORT": str(port),
        "API_URL": f"http://127.0.0.1:{port}",
        "UI_PORT": str(free_port()),
        "CHAT_PROVIDER": "openai",
        "CHAT_BASE_URL": llm.base_url,
        "CHAT_MODEL": "test-model",
    }
    for name in ("web", "worker", "ui"):
        stack.start(name)
    for kind in ("web", "ui"):
        stack.start(f"{kind}-llm", kind=kind, env=by_llm)
    stack.wait_ready()
    stack.llm_ui_url = f"http://127.0.0.1:{by_llm['UI_PORT']}"
    return stack


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Chrome]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def user() -> str:
    """A new user name, because tests share the service."""
    return f"u{new_key()[:12]}"


@pytest.fixture
def page(driver: browser.Chrome, stack: Stack, user: str) -> Page:
    """The page with this user signed in."""
    return _open(driver, stack.ui_url, user)


@pytest.fixture
def llm_page(driver: browser.Chrome, stack: Stack, user: str) -> Page:
    return _open(driver, stack.llm_ui_url, user)


@pytest.fixture
def api(stack: Stack) -> Iterator[ApiClient]:
    client = ApiClient(Config(stack.base_url, stack.api_key, 50))
    yield client
    client.close()


def _open(driver: browser.Chrome, url: str, user: str) -> Page:
    page = _open_blank(driver, url)
    page.open(f"?user={user}")
    page.wait_for_text("Answers come from your PDFs")
    return page


def _open_blank(driver: browser.Chrome, url: str) -> Page:
    driver.get("about:blank")
    page = Page(driver, url)
    page.requests()  # forgets those of the test before
    return page


def _ingest(api: ApiClient, tmp_path: Path, pages: list[str], *, name: str, user: str) -> None:
    file = tmp_path / "upload.pdf"
    file.write_bytes(make_pdf(pages))
    with file.open("rb") as stream:
        sent = api.upload_document(stream, filename=name, user_id=user, key=new_key())
    for _ in range(900):
        state = api.get_job(sent.job["id"])["state"]
        if state not in ("queued", "running"):
            break
        time.sleep(0.1)
    assert state == "succeeded"


def test_from_upload_to_a_cited_answer_that_a_reload_keeps(page, tmp_path):
    file = tmp_path / "Amber Lighthouse.pdf"
    file.write_bytes(make_pdf(LIGHTHOUSE))
    page.tab("Documents")
    page.upload(file)
    page.wait_for_text("Ready · 2 pages")
    page.ask("Who built the Amber Lighthouse?")
    page.wait(lambda: "Ingrid Solberg" in page.messages()[-1], "the answer")
    page.wait_for_text("[1] Amber Lighthouse.pdf · page 1")
    assert "Who built the Amber Lighthouse?" in page.messages()[0]
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


def test_three_files_at_once_each_have_a_bar(page, tmp_path):
    files = []
    for number in range(3):
        files.append(tmp_path / f"part {number}.pdf")
        files[-1].write_bytes(make_pdf([f"Part {number} speaks of oats."]))
    page.upload("\n".join(map(str, files)))
    page.wait(lambda: page.find(".st-key-at_work"), "the bars beside the conversation")
    page.tab("Documents")
    page.wait(lambda: page.text().count("Ready · 1 page") == 3, "all three")
    page.wait(lambda: not page.find(".st-key-at_work"), "no bar is left")


def test_the_bar_moves_while_a_document_is_read(page, tmp_path):
    file = tmp_path / "long.pdf"
    file.write_bytes(make_pdf(LONG))
    page.tab("Documents")
    page.upload(file)
    seen = []

    def is_ready() -> bool:
        text = page.find(".st-key-documents").text
        seen.extend(re.findall(r"(\d+) of 160 pages", text))
        return "Ready · 160 pages" in text

    page.wait(is_ready, "the long document", seconds=500)
    counts = [int(count) for count in seen]
    assert counts == sorted(counts)
    assert len({count for count in counts if 0 < count < 160}) >= 2


def test_an_answer_is_drawn_token_by_token_and_asked_once(llm_page, llm, api, user):
    llm.script(Reply(deltas=[f"word{n} " for n in range(120)], delay_between=0.3))
    asked = len(answers_asked(llm))
    llm_page.ask("Tell me something.")
    llm_page.wait(lambda: "word2" in llm_page.messages()[-1], "the first words")
    assert "word119" not in llm_page.text()
    llm_page.driver.refresh()
    llm_page.wait(lambda: "word5" in llm_page.messages()[-1], "the next words, after a reload")
    assert "word119" not in llm_page.text()
    llm_page.wait(lambda: "word119" in llm_page.messages()[-1], "the last words")
    assert len(answers_asked(llm)) == asked + 1
    session = api.list_sessions(user_id=user).items[0]
    llm_page.wait(
        lambda: [m["status"] for m in api.recent_messages(session["id"]).items] == ["complete"] * 2,
        "two messages",
    )


def answers_asked(llm: LLMServer) -> list[Recorded]:
    """The requests for answers, without those for the title of a conversation."""
    asked = [request for request in llm.requests if (request.body or {}).get("stream")]
    return [request for request in asked if "Write a title" not in str(request.body)]


def test_a_second_tab_follows_the_answer(llm_page, llm):
    llm.script(Reply(deltas=[f"word{n} " for n in range(150)], delay_between=0.3))
    llm_page.ask("Tell me something long.")
    llm_page.wait(lambda: "word2" in llm_page.messages()[-1], "the first words")
    address, first = llm_page.driver.current_url, llm_page.driver.current_window_handle
    llm_page.driver.switch_to.new_window("tab")
    try:
        llm_page.driver.get(address)
        llm_page.wait(lambda: "word5" in llm_page.messages()[-1], "the answer in the second tab")
        assert "word149" not in llm_page.text()
        llm_page.wait(lambda: "word149" in llm_page.messages()[-1], "its end")
    finally:
        llm_page.driver.close()
        llm_page.driver.switch_to.window(first)


def test_an_answer_is_stopped_written_again_and_chosen(llm_page, llm, api, user):
    llm.script(Reply(deltas=[f"word{n} " for n in range(300)], delay_between=0.2))
    llm_page.ask("Tell me everything.")
    llm_page.wait(lambda: "word2" in llm_page.messages()[-1], "the first words")
    llm_page.click(".st-key-stop button")
    llm_page.wait_for_text("You stopped this answer.")
    assert "word1199" not in llm_page.text()
    llm.script(Reply(deltas=["Another ", "answer."]))
    llm_page.click("[class*='st-key-again-'] button")
    llm_page.wait(lambda: "Another answer." in llm_page.messages()[-1], "the other answer")
    llm_page.wait_for_text("2/2")
    llm_page.click("[class*='st-key-answer-1-'] button")
    llm_page.wait(lambda: "word2" in llm_page.messages()[-1], "the first answer again")
    assert "1/2" in llm_page.text()


def test_the_last_question_can_be_changed_and_an_answer_rated(llm_page, llm, api, user):
    llm_page.ask("Waht is it?")
    llm_page.wait_for_text("Hello from the model.")
    llm_page.click("[class*='st-key-edit-'] button")
    llm_page.wait(lambda: llm_page.find("[role=dialog] textarea"), "the field")
    llm_page.find("[role=dialog] textarea").send_keys(Keys.CONTROL, "a")
    llm_page.find("[role=dialog] textarea").send_keys("What is it?")
    llm_page.click(".st-key-send_edit button")
    llm_page.wait(lambda: "What is it?" in llm_page.messages()[0], "the changed question")
    llm_page.wait(lambda: "Hello from the model." in llm_page.messages()[1], "its answer")
    llm_page.click("[class*='st-key-rating-'] button")
    session = api.list_sessions(user_id=user).items[0]
    llm_page.wait(
        lambda: api.recent_messages(session["id"]).items[-1]["feedback"]["rating"] == "up",
        "the rating",
    )


def test_markdown_is_drawn_with_code_tables_and_formulas(llm_page, llm):
    table, code = "| a | b |\n| --- | --- |\n| 1 | 2 |", "```python\nprint(1)\n```"
    text = f"**Bold** and\n\n{table}\n\n{code}\n\n$E=mc^2$"
    llm.script(Reply(deltas=re.findall(r"\S*\s*", text)))
    llm_page.ask("Show me.")
    for css in ("strong", "table", "[data-testid=stCode]", ".katex"):
        llm_page.wait(lambda css=css: llm_page.find(f"[data-testid=stChatMessage] {css}"), css)
    assert llm_page.foreign_requests() == []


def test_the_field_keeps_its_focus_and_takes_what_is_typed_ahead(llm_page, llm):
    llm.script(Reply(deltas=[f"word{n} " for n in range(20)], delay_between=0.2))
    llm_page.ask("First question?")
    llm_page.wait(lambda: "word2" in llm_page.messages()[-1], "the first words")
    llm_page.ask("Second question?")
    llm_page.wait(lambda: len(llm_page.messages()) == 4, "both answers")
    llm_page.wait(lambda: "Hello from the model." in llm_page.messages()[-1], "the second answer")
    assert "Second question?" in llm_page.messages()[2]
    field = llm_page.find("[data-testid=stChatInputTextArea]")
    assert llm_page.driver.switch_to.active_element == field


def test_a_draft_survives_a_reload(page):
    page.wait(lambda: page.find("[data-testid=stChatInputTextArea]"), "the field")
    page.find("[data-testid=stChatInputTextArea]").send_keys("Not yet sent")
    page.driver.refresh()
    page.wait(
        lambda: (
            page.find("[data-testid=stChatInputTextArea]").get_attribute("value") == "Not yet sent"
        ),
        "the draft",
    )


def test_a_failing_model_is_said_and_asking_again_works(llm_page, llm):
    llm.script(Reply(status=400))
    llm_page.ask("Are you there?")
    llm_page.wait(lambda: llm_page.find("[data-testid=stAlert]"), "what went wrong")
    llm_page.click_text("Try again")
    llm_page.wait_for_text("Hello from the model.")


def test_a_file_without_text_says_why_it_failed_and_is_read_again(page, tmp_path, api, user):
    file = tmp_path / "blank.pdf"
    file.write_bytes(make_pdf([""]))  # a scan would be read by OCR
    page.tab("Documents")
    page.upload(file)
    page.wait_for_text("pictures without text")
    first = api.documents_in_reach(user_id=user, session_id=None)[0]["job_id"]
    page.choose("[class*='st-key-actions-']", "Read it again")
    page.wait(
        lambda: api.documents_in_reach(user_id=user, session_id=None)[0]["job_id"] != first,
        "another job",
    )


def test_a_file_that_is_no_pdf_says_so(page, tmp_path):
    file = tmp_path / "page.pdf"
    file.write_text("<html>not a PDF</html>")
    page.upload(file)
    page.wait_for_text("This is not a PDF")
    page.tab("Documents")
    page.wait_for_text("No documents yet")


def test_conversations_are_found_starred_renamed_and_deleted(page, api, user):
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
    page.find("[role=dialog] input").send_keys(" and oats" + Keys.ENTER)
    page.wait_for_text("About barley and oats")
    found = {item["title"]: item["is_favorite"] for item in api.list_sessions(user_id=user).items}
    assert found == {"About barley and oats": True, "About rope": False}
    page.find(".st-key-search input").send_keys("rope" + Keys.ENTER)
    page.wait_for_text("Titles")
    page.wait(lambda: "oats" not in page.find(".st-key-conversations").text, "what was sought")
    page.find(".st-key-search input").send_keys(Keys.CONTROL, "a")
    page.find(".st-key-search input").send_keys(Keys.DELETE, Keys.ENTER)
    page.choose(menu, "Delete")
    page.wait(lambda: page.find(".st-key-confirm_delete_cancel button"), "a way out")
    page.click(".st-key-confirm_delete button")
    page.wait_for_text("Answers come from your PDFs")
    assert [item["title"] for item in api.list_sessions(user_id=user).items] == ["About rope"]


def test_an_unknown_conversation_in_the_address_is_said(page, user):
    page.open(f"?user={user}&session=01890a5d-ac96-774b-bcce-b302099a8057")
    page.wait_for_text("This conversation does not exist any more.")


def test_a_newcomer_tries_the_sample(page):
    page.click(".st-key-sample button")
    page.click(".st-key-sample-0 button")
    page.wait(lambda: "Elsa Holm" in page.messages()[-1], "the answer", seconds=120)
    page.wait_for_text("[1] norrskar-lighthouse.pdf")


def test_a_second_user_sees_nothing_of_the_first(page, api, user):
    api.create_session(user_id=user, title="About secrets", key=new_key())
    page.open(f"?user={user}-other")
    page.wait_for_text("No conversations yet")
    assert "secrets" not in page.text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_accessible(page, api, user, tmp_path, scheme, width):
    _ingest(api, tmp_path, LIGHTHOUSE, name="lighthouse.pdf", user=user)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page.driver.set_window_size(width, 900)
    try:
        page.open(f"?user={user}")
        page.ask("Who built the Amber Lighthouse?")
        page.wait(lambda: page.find(".citation[role=button]"), "a citation")
        assert page.driver.execute_script("return document.body.scrollWidth") <= width
        assert serious_faults(page) == []
    finally:
        page.driver.set_window_size(1280, 900)
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def serious_faults(page: Page) -> list[str]:
    """The serious violations that axe-core finds."""
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


@dataclass
class Trap:
    """A web server that must get no request."""

    url: str = ""
    calls: list[str] = field(default_factory=list)


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            trap.calls.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        trap.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield trap
        server.shutdown()
        thread.join()


def _hostile(trap: Trap, where: str) -> str:
    address = f"{trap.url}/{where}"
    return (
        f"![a]({address}.png) www.a.example b@a.example {address} <img src={address}-html.png>"
        f"<script>document.title='taken'</script> [{where}](javascript:document.title='taken')"
        f" :red[x] <a href='{trap.url}'>l</a>"
    )


def _visible(text: str) -> str:
    return text.replace("\u2060", "")


def test_what_others_wrote_loads_links_and_runs_nothing(llm_page, llm, api, trap, user, tmp_path):
    name = _hostile(trap, "name") + ".pdf"
    page_text = f"The quince harvest of Vetla. {_hostile(trap, 'document')}"
    _ingest(api, tmp_path, [page_text], name=name, user=user)
    session = api.create_session(user_id=user, title=_hostile(trap, "title"), key=new_key())
    llm.script(Reply(deltas=[_hostile(trap, "answer"), " It was good [1]."]))
    llm_page.open(f"?user={user}&session={session['id']}")
    llm_page.ask(f"How was the quince harvest? {_hostile(trap, 'question')}")
    llm_page.click(".citation[role=button]")
    llm_page.wait(lambda: "document.png" in llm_page.find(".st-key-quote").text, "the quote")
    time.sleep(1)  # time for late requests
    assert f"![a]({trap.url}/answer.png)" in _visible(llm_page.messages()[-1])
    assert "www.a.example" in _visible(llm_page.find(".st-key-heading h3").text)
    assert trap.calls == []
    assert llm_page.foreign_requests() == []
    assert llm_page.driver.title == "Ask your documents"
    hrefs = [link.get_attribute("href") or "" for link in llm_page.find_all("a")]
    footer = f"http://127.0.0.1:{FLOWER_PORT}"
    assert [href for href in hrefs if not href.startswith((llm_page.url, footer))] == []
    assert not llm_page.find_all(f"img[src*='{trap.url}']")


@pytest.fixture
def lone_page(driver: browser.Chrome, make_stack: MakeStack) -> Iterator[tuple[Stack, Page]]:
    """A page whose API is not running yet."""
    stack = make_stack()
    stack.start("ui")
    stack.wait_ready()
    yield stack, _open_blank(driver, stack.ui_url)
    stack.stop("ui")


def test_a_service_that_is_down_is_said_and_found_when_it_is_back(lone_page):
    stack, page = lone_page
    page.open()
    page.wait_for_text("The service does not answer")
    page.wait_for_text("Trying again in")
    assert page.find("[data-testid=stChatInputTextArea]"), "the page is not blank"
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


def _draft(page: Page) -> str:
    return page.find("[data-testid=stChatInputTextArea]").get_attribute("value")


def test_a_limit_that_is_reached_is_said_and_passes_by_itself(driver, make_stack, user):
    stack = make_stack(env={"RATE_LIMIT_PER_MINUTE": "5"})
    stack.start("web")
    stack.start("ui")
    stack.wait_ready()
    page = _open_blank(driver, stack.ui_url)
    page.open(f"?user={user}")
    page.wait_for_text("No conversations yet")
    for _ in range(5):
        stack.client().get("/api/v1/sessions")
    page.ask("Is anybody there?")
    page.wait_for_text("Too many requests")
    page.wait(lambda: _draft(page) == "Is anybody there?", "the question in its field")
    page.wait(lambda: "Too many requests" not in page.text(), "the limit passes", seconds=120)
    page.find("[data-testid=stChatInputTextArea]").send_keys(Keys.ENTER)
    page.wait(lambda: len(page.messages()) == 2, "the question and its answer")


def test_a_wrong_key_is_said(driver, stack, user):
    port = free_port()
    stack.start("ui-stranger", kind="ui", env={"API_KEY": "wrong", "UI_PORT": str(port)})
    stack.wait_ready()
    page = Page(driver, f"http://127.0.0.1:{port}")
    page.open(f"?user={user}")
    page.wait_for_text("does not accept this page's API key")
    assert "Request" in page.text()
    assert stack.stop("ui-stranger") in (0, -15)


def test_a_page_with_a_password_lets_nobody_in_without_it(driver, stack, user):
    port = free_port()
    env = {"UI_LOGIN": "password", "UI_PASSWORD": "open sesame", "APP_ENV": "production"}
    stack.start("ui-password", kind="ui", env=env | {"UI_PORT": str(port)})
    stack.wait_ready()
    page = _open_blank(driver, f"http://127.0.0.1:{port}")
    driver.get(f"{page.url}/?user={user}")
    page.wait(lambda: len(page.find_all("form input, [data-testid=stForm] input")) == 2, "a form")
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
    assert user not in page.text()
    assert stack.stop("ui-password") in (0, -15)


def test_production_refuses_a_page_that_asks_for_no_name(driver, stack):
    port = free_port()
    env = {"UI_LOGIN": "none", "APP_ENV": "production", "UI_PORT": str(port)}
    stack.start("ui-open", kind="ui", env=env)
    stack.wait_ready()
    page = _open_blank(driver, f"http://127.0.0.1:{port}")
    driver.get(page.url)
    page.wait_for_text("UI_LOGIN")
    assert not page.find("[data-testid=stChatInputTextArea]")
    assert stack.stop("ui-open") in (0, -15)
