"""`make screenshots`: the README's pictures, taken from the running service.

The service is started as `make run` does, with a scripted LLM, and removed afterwards. A picture
is a PNG of 256 colours; one larger than MOST_BYTES is an error.
"""

import io
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image

from tests.fakes.llm_server import LLMServer, Recorded, Reply
from tests.functional.browser import Page, open_browser
from tests.harness import ROOT
from tests.harness.ports import free_port
from tests.harness.service import ingest, running_service
from tests.pdfs import make_pdf

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 200_000
SAMPLE = ROOT / "docs" / "examples" / "norrskar-lighthouse.pdf"
QUESTION = "Who was the last keeper, and what does the lens float on?"
ANSWER = (
    "The last keeper was **Elsa Holm**, who left the island in October 1962 when an automatic ",
    "radio beacon took over her work [1].\n\n",
    "The lens floats on 210 kilograms of mercury [2], so that a clockwork can turn it.",
)


class _LLM(LLMServer):
    def record(self, request: Recorded) -> Reply:
        is_title = request.is_for_title
        return Reply(deltas=["The last keeper and the lens"] if is_title else ANSWER)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with _service() as (page, api):
        _take_answer(page)
        _take_citation(page)
        _take_documents(page, api)


@contextmanager
def _service() -> Iterator[tuple[Page, httpx.Client]]:
    ui_port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, _LLM() as llm:
        settings = {
            "chat_provider": "openai",
            "chat_base_url": llm.base_url,
            "chat_model": "llama3.2",
            "ui_port": ui_port,
        }
        with (
            running_service(**settings) as service,
            service.client() as api,
            open_browser(Path(profile)) as driver,
        ):
            ingest(api, [SAMPLE], user_id="demo")
            page = Page(driver, f"http://127.0.0.1:{ui_port}")
            page.resize(1120, 720)
            yield page, api


def _take_answer(page: Page) -> None:
    page.open()
    page.ask(QUESTION)
    page.wait(lambda: page.find("[class*='st-key-again-'] button"), "the end of the answer")
    page.wait_for_text("The last keeper and the lens")
    _save(page, "answer")


def _take_citation(page: Page) -> None:
    page.click(".citation[role=button]")
    page.wait(lambda: page.find("[role=dialog] img").size["width"] > 200, "the page's picture")
    _save(page, "citation")


def _take_documents(page: Page, api: httpx.Client) -> None:
    pages = [f"Page {number} speaks of barley, rope and weather. " * 30 for number in range(1, 400)]
    page.open()
    page.tab("Documents")
    for name, content in (("Scan of a letter.pdf", [""]), ("Harbour rules.pdf", pages)):
        file = {"file": (name, make_pdf(content))}
        api.post("/documents", files=file, data={"user_id": "demo"}).raise_for_status()
    page.open()
    page.tab("Documents")
    page.wait_for_text("pictures without text")
    page.wait(lambda: re.search(r"[1-9]\d* %", page.text()), "a bar that has moved")
    _save(page, "documents")


def _save(page: Page, name: str) -> None:
    time.sleep(1.5)  # animations of the page
    image = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    file = IMAGES / f"{name}.png"
    image.quantize(256).save(file, optimize=True)
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        sys.exit(f"{name}.png is larger than {MOST_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main()
