"""What documents, messages, names and models wrote is shown and does nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.fakes.llm_server import Reply
from tests.fakes.server_thread import ServerThread
from tests.functional.page.conftest import ingest
from ui.api_client import new_key

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


FLOWER_PORT = 5555


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

    with ServerThread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as running:
        trap.url = f"http://{running.address}"
        yield trap


def _hostile(trap: Trap, where: str) -> str:
    address = f"{trap.url}/{where}"
    return (
        f"![a]({address}.png) www.a.example b@a.example {address} <img src={address}-html.png>"
        f"<script>document.title='taken'</script> [{where}](javascript:document.title='taken')"
        f" :red[x] <a href='{trap.url}'>l</a>"
    )


def _visible(text: str) -> str:
    return text.replace("\u2060", "")


def test_text_of_others_loads_links_and_runs_nothing(page, llm, api, trap, user, tmp_path):
    name = _hostile(trap, "name") + ".pdf"
    page_text = f"The quince harvest of Vetla. {_hostile(trap, 'document')}"
    ingest(api, tmp_path, [page_text], name=name, user=user)
    session = api.create_session(user_id=user, title=_hostile(trap, "title"), key=new_key())
    llm.script(Reply(deltas=[_hostile(trap, "answer"), " It was good [1]."]))
    page.open(f"?user={user}&session={session['id']}")
    page.ask(f"How was the quince harvest? {_hostile(trap, 'question')}")
    page.wait_for_end()
    page.click(".citation[role=button]")
    page.wait(lambda: "document.png" in page.find(".st-key-quote").text, "the quote")
    time.sleep(1)  # for what might still be loaded
    assert f"![a]({trap.url}/answer.png)" in _visible(page.messages()[-1])
    assert "www.a.example" in _visible(page.find(".st-key-heading h3").text)
    assert trap.calls == []
    assert page.foreign_requests() == []
    assert page.driver.title == "Ask your documents"
    hrefs = [link.get_attribute("href") or "" for link in page.find_all("a")]
    footer = f"http://127.0.0.1:{FLOWER_PORT}"
    assert [href for href in hrefs if not href.startswith((page.url, footer))] == []
    assert not page.find_all(f"img[src*='{trap.url}']")
