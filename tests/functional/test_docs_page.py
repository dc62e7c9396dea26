"""Swagger UI in a real browser: it needs no network, and uploads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.browser import Page, open_browser
from tests.functional.conftest import MakeStack
from tests.harness.stack import Stack
from tests.pdfs import make_pdf

pytestmark = pytest.mark.browser

UPLOAD = "#operations-documents-upload_document"
ANSWER = f"{UPLOAD} .live-responses-table .response"


@pytest.fixture(scope="module")
def web(make_stack: MakeStack) -> Stack:
    stack = make_stack()
    stack.start("web")
    stack.wait_ready()
    return stack


@pytest.fixture
def page(web: Stack, tmp_path: Path) -> Iterator[Page]:
    with open_browser(tmp_path / "profile", height=2000) as driver:
        page = Page(driver, web.base_url)
        driver.get(f"{web.base_url}/docs")
        yield page


def type_into(page: Page, css: str, text: str) -> None:
    page.wait(lambda: page.find(css), css)
    field = page.find(css)
    assert field is not None
    field.send_keys(text)


def authorise(page: Page, key: str) -> None:
    page.click(".auth-wrapper .authorize")
    type_into(page, ".modal-ux .auth-container input[type=text]", key)
    page.click(".modal-ux button.authorize")
    page.wait(
        lambda: any(button.text == "Logout" for button in page.find_all(".modal-ux button")),
        "it has the key",
    )
    page.click(".modal-ux .btn-done")


def test_a_file_is_uploaded_from_the_docs(web: Stack, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "walrus.pdf"
    file.write_bytes(make_pdf(["The walrus and the carpenter."]))
    authorise(page, web.api_key)
    page.click(f"{UPLOAD} .opblock-summary-control")
    page.click(f"{UPLOAD} .try-out__btn")
    type_into(page, f"{UPLOAD} input[type=file]", str(file))
    page.click(f"{UPLOAD} .execute")
    page.wait(lambda: page.find(f"{ANSWER} .response-col_status"), "the answer")
    status = page.find(f"{ANSWER} .response-col_status")
    assert status is not None
    assert status.text.startswith("202")
    (document,) = web.client().get("/api/v1/documents").json()["items"]
    assert document["filename"] == "walrus.pdf"
    assert document["size_bytes"] == file.stat().st_size
    assert (document["user_id"], document["session_id"], document["metadata"]) == (None, None, {})
    urls = page.requests()
    assert f"{web.base_url}/api/v1/documents" in urls
    assert [url for url in urls if url.startswith("http") and web.base_url not in url] == []
    assert [line for line in page.driver.get_log("browser") if line["level"] == "SEVERE"] == []
