"""The chat page in a real browser, over the whole service."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.llm_server import LLMServer, Reply
from tests.functional import browser
from tests.functional.browser import Page, open_browser
from tests.functional.conftest import MakeStack
from tests.harness.ports import free_port
from tests.harness.stack import Stack
from tests.pdfs import make_pdf
from ui.api_client import ApiClient, new_key
from ui.config import Config

pytestmark = pytest.mark.browser

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
    """Web, worker and page; and web and page once more, which answer by the LLM."""
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
    """Nobody else's name: tests share the service."""
    return f"u{new_key()[:12]}"


@pytest.fixture
def page(driver: browser.Chrome, stack: Stack, user: str) -> Page:
    """The page as this user finds it."""
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
    page.wait_for_text("Ask your documents")
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
    for _ in range(300):
        state = api.get_job(sent.job["id"])[0]["state"]
        if state not in ("queued", "running"):
            break
        time.sleep(0.1)
    assert state == "succeeded"


def test_from_upload_to_a_cited_answer_that_a_reload_keeps(page, tmp_path):
    file = tmp_path / "Amber Lighthouse.pdf"
    file.write_bytes(make_pdf(LIGHTHOUSE))
    page.upload(file)
    page.wait_for_text("Ready · 2 pages")
    page.ask("Who built the Amber Lighthouse?")
    page.wait(lambda: "Ingrid Solberg" in page.messages()[-1], "the answer")
    page.wait_for_text("[1] Amber Lighthouse.pdf · page 1")
    page.click("[data-testid=stExpander] summary")
    page.wait(
        lambda: "built in 1871 by Ingrid Solberg" in page.find("[data-testid=stExpander]").text,
        "the quoted passage",
    )
    assert "Who built the Amber Lighthouse?" in page.messages()[0]
    assert re.search(r"\[1\]", page.messages()[1])
    address = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(address)
    page.wait_for_text("[1] Amber Lighthouse.pdf · page 1")
    assert len(page.messages()) == 2
    assert page.foreign_requests() == []


def test_the_bar_moves_while_a_document_is_read(page, tmp_path):
    file = tmp_path / "long.pdf"
    file.write_bytes(make_pdf(LONG))
    page.upload(file)
    seen = []

    def is_ready() -> bool:
        text = page.text()
        seen.extend(re.findall(r"(\d+) of 160 pages", text))
        return "Ready · 160 pages" in text

    page.wait(is_ready, "the long document", seconds=90)
    counts = [int(count) for count in seen]
    assert counts == sorted(counts)
    assert len({count for count in counts if 0 < count < 160}) >= 2


def test_an_answer_is_drawn_token_by_token_and_asked_once(llm_page, llm, api, user):
    llm.script(Reply(deltas=[f"word{n} " for n in range(20)], delay_between=0.15))
    asked = len(llm.requests)
    llm_page.ask("Tell me something.")
    llm_page.wait(lambda: "word2" in llm_page.messages()[-1], "the first words")
    assert "word19" not in llm_page.text()
    llm_page.click(".st-key-favorites_only label")  # runs the page's script anew
    llm_page.wait(lambda: "word5" in llm_page.messages()[-1], "the next words")
    assert "word19" not in llm_page.text()
    llm_page.wait(lambda: "word19" in llm_page.messages()[-1], "the last words")
    assert len(llm.requests) == asked + 1
    session = api.list_sessions(user_id=user).items[0]
    llm_page.wait(
        lambda: [m["status"] for m in api.recent_messages(session["id"]).items] == ["complete"] * 2,
        "two messages",
    )


def test_a_failing_model_is_said_and_asking_again_works(llm_page, llm):
    llm.script(Reply(status=400))
    llm_page.ask("Are you there?")
    llm_page.wait_for_text("language model cannot be reached")
    assert "Request" in llm_page.text()
    llm_page.click_text("Try again")
    llm_page.wait_for_text("Hello from the model.")


def test_a_file_without_text_says_why_it_failed(page, tmp_path):
    file = tmp_path / "blank.pdf"
    file.write_bytes(make_pdf([""]))  # a scan would be read by OCR
    page.upload(file)
    page.wait_for_text("pictures without text")


def test_a_file_that_is_no_pdf_says_so(page, tmp_path):
    file = tmp_path / "page.pdf"
    file.write_text("<html>not a PDF</html>")
    page.upload(file)
    page.wait_for_text("This is not a PDF")
    page.wait_for_text("No documents yet")


def test_conversations_are_listed_starred_renamed_and_deleted(page, api, user):
    for title in ("About barley", "About rope"):
        api.create_session(user_id=user, title=title, key=new_key())
    page.driver.refresh()
    page.click_text("About barley")
    page.wait(lambda: page.find(".st-key-toolbar h3").text == "About barley", "its heading")
    page.click(".st-key-favorite-off button")
    page.wait(lambda: page.find(".st-key-favorite-on"), "the star")
    page.click(".st-key-rename button")
    page.wait(lambda: page.find("[role=dialog] input"), "the title's field")
    page.find("[role=dialog] input").send_keys(" and oats" + Keys.TAB)
    page.click(".st-key-save_title button")
    page.wait(lambda: "About barley and oats" in page.text(), "the new title")
    found = {item["title"]: item["is_favorite"] for item in api.list_sessions(user_id=user).items}
    assert found == {"About barley and oats": True, "About rope": False}
    page.click(".st-key-delete button")
    page.click(".st-key-confirm_delete button")
    page.wait_for_text("Ask your documents")
    assert [item["title"] for item in api.list_sessions(user_id=user).items] == ["About rope"]


def test_an_unknown_conversation_in_the_address_is_said(page, user):
    page.open(f"?user={user}&session=01890a5d-ac96-774b-bcce-b302099a8057")
    page.wait_for_text("This conversation does not exist any more.")


@dataclass
class Trap:
    """A web server that nobody should call."""

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
    llm_page.wait_for_text("Ready ·")
    llm_page.ask(f"How was the quince harvest? {_hostile(trap, 'question')}")
    llm_page.wait_for_text("[1] ")
    llm_page.click("[data-testid=stExpander] summary")
    llm_page.wait(
        lambda: "document.png" in llm_page.find("[data-testid=stExpander]").text, "the quote"
    )
    llm_page.click(".st-key-delete button")
    llm_page.wait(lambda: llm_page.find("[role=dialog]"), "the dialog")
    time.sleep(1)  # for what might still be loaded
    assert f"![a]({trap.url}/answer.png)" in llm_page.messages()[-1]
    assert "www.a.example" in _visible(llm_page.find(".st-key-toolbar h3").text)
    assert trap.calls == []
    assert llm_page.foreign_requests() == []
    assert llm_page.driver.title == "Ask your documents"
    hrefs = [link.get_attribute("href") or "" for link in llm_page.find_all("a")]
    assert [href for href in hrefs if not href.startswith(llm_page.url)] == []
    assert not llm_page.find_all(f"img[src*='{trap.url}']")


@pytest.fixture
def lone_page(driver: browser.Chrome, make_stack: MakeStack) -> Iterator[tuple[Stack, Page]]:
    """A page whose API is not there yet."""
    stack = make_stack()
    stack.start("ui")
    stack.wait_ready()
    yield stack, _open_blank(driver, stack.ui_url)
    stack.stop("ui")


def test_a_service_that_is_down_is_said_and_found_when_it_is_back(lone_page):
    stack, page = lone_page
    page.open()
    page.wait_for_text("The service does not answer")
    assert "Traceback" not in page.text()
    assert not page.find_all("[data-testid=stException]")
    stack.start("web")
    stack.wait_ready()
    page.click_text("Try again")
    page.wait_for_text("Ask your documents")
    stack.kill("web")
    page.ask("Still there?")
    page.wait_for_text("The service does not answer")
    assert "Still there?" in page.messages()[0]
    assert not page.find_all("[data-testid=stException]")
    assert page.foreign_requests() == []


def test_a_wrong_key_is_said(driver, stack, user):
    port = free_port()
    stack.start("ui-stranger", kind="ui", env={"API_KEY": "wrong", "UI_PORT": str(port)})
    stack.wait_ready()
    page = Page(driver, f"http://127.0.0.1:{port}")
    page.open(f"?user={user}")
    page.wait_for_text("does not accept this page's API key")
    assert "Request" in page.text()
    assert stack.stop("ui-stranger") in (0, -15)
