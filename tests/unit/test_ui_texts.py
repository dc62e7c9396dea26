"""The page's wording of codes and states, and its escaping of foreign texts."""

from datetime import date

import pytest

from ui.api_client import ApiError
from ui.citations import views_of
from ui.config import read_config
from ui.conversations import by_day, plain_snippet
from ui.escaping import join_lines, label, one_line
from ui.wording import (
    document_text,
    error_text,
    job_error_text,
    notes_text,
    page_text,
    progress_of,
)


def test_a_label_escapes_every_character_that_markdown_could_read():
    assert label("![x](http://a/p.png)") == r"\!\[x\]\(http\:" + "\u2060" + r"\/\/a\/p\.png\)"
    assert label("<script>:red[a] $b$ `c` *d*") == (r"\<script\>\:red\[a\] \$b\$ \`c\` \*d\*")


def test_a_label_breaks_addresses_that_markdown_would_link():
    assert label("WWW.a.b c@d.e") == "WWW\u2060\\.a\\.b c\u2060\\@d\\.e"


def test_a_label_leaves_letters_of_any_script_alone():
    assert label("Größe 漢字 עברית 🎉") == "Größe 漢字 עברית 🎉"


def test_a_line_has_no_control_characters_and_no_marks_that_reorder_text():
    assert one_line("a\r\nb\x00c\u202efdp.exe\u2066\t d") == "a b c fdp.exe d"


def test_a_quote_is_shown_without_the_line_breaks_of_its_page():
    assert join_lines("The worst\n storm came \nlate.\n\nThen calm.") == (
        "The worst storm came late.\n\nThen calm."
    )


def test_a_long_line_is_cut_with_an_ellipsis():
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
def test_errors_are_described_in_plain_words(error, text):
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


def test_a_progress_value_never_exceeds_one():
    assert progress_of({"state": "running", "progress": {"percent": 180}})[0] == 1.0


def test_documents_and_pages_are_described_in_words():
    ready = {"status": "ready", "page_count": 1, "chunk_count": 1200}
    assert document_text(ready) == "Ready · 1 page · 1,200 passages"
    assert document_text({"status": "cancelled"}) == "Cancelled"
    assert page_text({"page_start": 3, "page_end": 4}) == "page 3"
    assert page_text({"page_start": 4, "page_label": "iv"}) == "page iv (sheet 4)"
    assert page_text({"page_start": 4, "page_label": "iv"}, 5) == "page 5"
    assert page_text({}) == ""


def test_unread_parts_of_a_document_are_described():
    document = {
        "pages_without_text": [2, 3, 4, 9],
        "pages_unreadable": [7],
        "notes": [{"code": "attachments_not_read"}, {"code": "new", "detail": "As told."}],
    }
    assert notes_text(document) == [
        "4 pages without text: 2–4, 9.",
        "1 page could not be read: 7.",
        "Files attached to this PDF were not read.",
        "As told.",
    ]
    assert notes_text({}) == []


def test_each_quote_of_an_answer_is_a_separate_view():
    passages = [
        {"index": 2, "page_start": 5, "quote": "a", "quotes": [{"quote": "a", "page": 5}]},
        {"index": 3, "page_start": 1, "quote": "b"},
        {
            "index": 4,
            "page_start": 1,
            "quotes": [{"quote": "c", "page": 1}, {"quote": "d", "page": 2}],
        },
    ]
    views = views_of(passages)
    assert [(view["index"], view["quote"], view["page"]) for view in views] == [
        (2, "a", 5),
        (3, "b", 1),
        (4, "c", 1),
        (4, "d", 2),
    ]


@pytest.mark.parametrize(
    ("snippet", "shown"),
    [
        ("the <mark>harbour</mark> is deep", "the harbour is deep"),
        ("## The <mark>harbour</mark> It is **deep**.", "The harbour It is deep."),
        ("call `<mark>depth</mark>_of(a * b)` in C# 2", "call depth_of(a * b) in C# 2"),
    ],
)
def test_a_snippet_is_shown_without_marks(snippet, shown):
    assert plain_snippet(snippet) == shown


def test_conversations_are_grouped_by_day():
    rows = [{"last_message_at": f"2026-03-{day:02}T08:00:00Z"} for day in (20, 20, 19, 15, 1)] + [
        {"last_message_at": None, "created_at": "2025-01-01T00:00:00Z"}
    ]
    groups = [(name, len(found)) for name, found in by_day(rows, today=date(2026, 3, 20))]
    assert groups == [
        ("Today", 2),
        ("Yesterday", 1),
        ("Last 7 days", 1),
        ("Last 30 days", 1),
        ("Older", 1),
    ]


def test_production_refuses_a_page_without_login():
    assert "UI_LOGIN" in read_config({"APP_ENV": "production"}).problem
    assert "UI_LOGIN" in read_config({"UI_LOGIN": "anything"}).problem
    assert "UI_PASSWORD" in read_config({"UI_LOGIN": "password", "UI_PASSWORD": "short"}).problem
    for settings in (
        {},
        {"UI_LOGIN": "oidc", "APP_ENV": "production"},
        {"UI_LOGIN": "password", "UI_PASSWORD": "long enough", "APP_ENV": "production"},
    ):
        assert read_config(settings).problem == ""


def test_settings_come_from_the_environment():
    config = read_config({"PORT": "9000", "API_KEY": "k", "MAX_UPLOAD_MB": "7"})
    assert (config.api_url, config.api_key, config.max_upload_mb) == (
        "http://127.0.0.1:9000",
        "k",
        7,
    )
    assert read_config({"API_URL": "http://web:8000/", "PORT": "1"}).api_url == "http://web:8000"
    assert read_config({"MAX_UPLOAD_MB": "many"}).max_upload_mb == 50
