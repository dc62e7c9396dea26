"""What the page makes of codes, states and texts that others wrote."""

import pytest

from ui.api_client import ApiError
from ui.config import read_config
from ui.escaping import label, one_line, unwrapped
from ui.turn import _title
from ui.wording import document_text, error_text, job_error_text, pages_text, progress_of


def test_a_label_escapes_every_character_that_markdown_could_read():
    assert label("![x](http://a/p.png)") == r"\!\[x\]\(http\:" + "\u2060" + r"\/\/a\/p\.png\)"
    assert label("<script>:red[a] $b$ `c` *d*") == (r"\<script\>\:red\[a\] \$b\$ \`c\` \*d\*")


def test_a_label_breaks_what_would_be_linked():
    assert label("WWW.a.b c@d.e") == "WWW\u2060\\.a\\.b c\u2060\\@d\\.e"


def test_a_label_leaves_letters_of_any_script_alone():
    assert label("Größe 漢字 עברית 🎉") == "Größe 漢字 עברית 🎉"


def test_a_line_holds_no_control_and_no_mark_that_turns_text_around():
    assert one_line("a\r\nb\x00c\u202efdp.exe\u2066\t d") == "a b c fdp.exe d"


def test_a_quote_is_shown_without_its_page_s_line_ends():
    assert unwrapped("The worst\n storm came \nlate.\n\nThen calm.") == (
        "The worst storm came late.\n\nThen calm."
    )


def test_a_long_line_is_cut_and_says_so():
    assert one_line("x" * 50, limit=10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ApiError("rate_limited", "x", 429, retry_after=7), "Try again in 7 s"),
        (ApiError("unauthorized", "x", 401), "API key"),
        (ApiError("unreachable", "x"), "does not answer"),
        (ApiError("unsupported_media_type", "x", 415), "not a PDF"),
        (ApiError("whatever", "", 500), "Something went wrong."),
        (ApiError("invalid", "Wrong.", 400, errors={"title": ["Too long."]}), "title: Too long."),
    ],
)
def test_errors_are_said_in_plain_words(error, text):
    assert text in error_text(error)


def test_a_failed_job_says_why_in_plain_words():
    assert "password" in job_error_text({"error": {"code": "pdf_encrypted", "detail": "x"}})
    assert job_error_text({"error": {"code": "new_code", "detail": "As told."}}) == "As told."
    assert job_error_text({"error": None}) == "It failed."


def test_progress_names_stage_pages_and_time_left():
    running = {
        "state": "running",
        "progress": {
            "stage": "indexing",
            "pages_total": 40,
            "pages_done": 10,
            "percent": 25.0,
            "eta_seconds": 90,
        },
    }
    assert progress_of(running) == (
        0.25,
        "Reading · 10 of 40 pages · 25 % · 2 min left",
    )
    assert progress_of({"state": "queued", "progress": {}}) == (0.0, "Waiting for a worker")
    assert progress_of({}) == (0.0, "Working · 0 %")


def test_a_bar_is_never_more_than_full():
    assert progress_of({"state": "running", "progress": {"percent": 180}})[0] == 1.0


def test_documents_and_pages_in_words():
    ready = {"status": "ready", "page_count": 1, "chunk_count": 1200}
    assert document_text(ready) == "Ready · 1 page · 1,200 passages"
    assert document_text({"status": "cancelled"}) == "Cancelled"
    assert pages_text({"page_start": 3, "page_end": 3}) == "page 3"
    assert pages_text({"page_start": 3, "page_end": 4}) == "pages 3–4"
    assert pages_text({}) == ""


def test_a_title_is_the_first_question_cut_at_a_word():
    assert _title("What  is\nthis?") == "What is this?"
    assert _title("word " * 30) == "word " * 11 + "word…"


def test_settings_come_from_the_environment():
    config = read_config({"PORT": "9000", "API_KEY": "k", "MAX_UPLOAD_MB": "7"})
    assert (config.api_url, config.api_key, config.max_upload_mb) == (
        "http://127.0.0.1:9000",
        "k",
        7,
    )
    assert read_config({"API_URL": "http://web:8000/", "PORT": "1"}).api_url == "http://web:8000"
    assert read_config({"MAX_UPLOAD_MB": "many"}).max_upload_mb == 50
