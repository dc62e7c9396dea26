"""Documents: added, followed, read again; and what a newcomer does first."""

import re
import signal

import pytest

from tests.pdfs import make_pdf

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


PAGE_BEGINS, BAR_BEGINS = (
    f"return document.querySelector('{css}').getBoundingClientRect().top"
    for css in ("[data-testid=stMainBlockContainer]", ".st-key-at_work")
)
LONG = [f"Page {number} speaks of barley, rope and weather. " * 30 for number in range(1, 41)]


def test_each_of_three_files_has_a_progress_bar(page, tmp_path):
    files = []
    for number in range(3):
        files.append(tmp_path / f"part {number}.pdf")
        files[-1].write_bytes(make_pdf([f"Part {number} speaks of oats."]))
    page.upload("\n".join(map(str, files)))
    page.wait(lambda: page.find(".st-key-at_work"), "the bars beside the conversation")
    page.tab("Documents")
    page.wait(lambda: page.text().count("Ready · 1 page") == 3, "all three")
    page.wait(lambda: not page.find(".st-key-at_work"), "no bar is left")


def test_the_bar_moves_during_an_ingestion(page, tmp_path):
    file = tmp_path / "long.pdf"
    file.write_bytes(make_pdf(LONG))
    page.tab("Documents")
    page.upload(file)
    seen = []

    def is_ready() -> bool:
        text = page.find(".st-key-documents").text
        seen.extend(re.findall(r"(\d+) of 40 pages", text))
        return "Ready · 40 pages" in text

    page.wait(is_ready, "the long document", seconds=500)
    counts = [int(count) for count in seen]
    assert counts == sorted(counts)
    assert len({count for count in counts if 0 < count < 40}) >= 2


def test_the_bars_stay_in_sight_in_a_long_conversation(page, stack, user, tmp_path):
    with stack.client() as client:
        session = client.post("/api/v1/sessions", json={"user_id": user}).json()["id"]
        for sender in ("user", "assistant") * 6:
            message = {"sender": sender, "content": "barley " * 200}
            client.post(f"/api/v1/sessions/{session}/messages", json=message).raise_for_status()
        stack.signal("worker", signal.SIGSTOP, group=True)
        try:
            file = {"file": ("oats.pdf", make_pdf(["Oats grow in Sund."]))}
            client.post("/api/v1/documents", files=file, data={"user_id": user}).raise_for_status()
            page.open(f"?user={user}&session={session}")
            page.wait(lambda: page.find(".st-key-at_work"), "the bar")
            page.wait(lambda: page.driver.execute_script(PAGE_BEGINS) < -900, "the end of the page")
            assert 0 <= page.driver.execute_script(BAR_BEGINS) < 450
        finally:
            stack.signal("worker", signal.SIGCONT, group=True)


def test_a_file_without_text_shows_why_it_failed_and_can_be_ingested_again(
    page, tmp_path, api, user
):
    file = tmp_path / "blank.pdf"
    file.write_bytes(make_pdf([""]))  # a scan would be read by OCR
    page.tab("Documents")
    page.upload(file)
    page.wait_for_text("pictures without text")
    first = api.documents_in_reach(user_id=user, session_id=None)[0]["job_id"]
    page.click("[class*='st-key-again-document-'] button")
    page.wait(
        lambda: api.documents_in_reach(user_id=user, session_id=None)[0]["job_id"] != first,
        "another job",
    )


def test_the_page_reports_a_file_that_is_not_a_pdf(page, tmp_path):
    file = tmp_path / "page.pdf"
    file.write_text("<html>not a PDF</html>")
    page.upload(file)
    page.wait_for_text("This is not a PDF")
    page.tab("Documents")
    page.wait_for_text("No documents yet")
