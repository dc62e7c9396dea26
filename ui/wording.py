"""Turns codes, states and errors into plain words. Pure functions."""

from ui.api_client import ApiError, Json

_ERRORS = {
    "unreachable": "The service does not answer. It may still be starting, or be down.",
    "no_answer": "The service took too long to answer. Please try again.",
    "broken_off": "The connection broke off in mid-answer. What had arrived is kept.",
    "unexpected": "The service answered in a way this page does not understand.",
    "provider_unavailable": "The language model cannot be reached right now. Please try again.",
    "provider_timeout": "The language model took too long. Please try again.",
    "file_empty": "This file is empty.",
    "file_missing": "No file arrived. Please choose it again.",
    "file_too_large": "This file is larger than the service accepts.",
    "unsupported_media_type": "This is not a PDF, whatever its name says.",
    "storage_full": "The service has no room left for files.",
    "idempotency_in_progress": "This is already under way. Give it a moment.",
    "turn_in_progress": "An answer is still being written here. Please wait for it.",
    "message_finished": "This answer was finished already.",
    "not_last": "Only the last question can be changed.",
    "job_finished": "This was finished already.",
    "gone": "This conversation does not exist any more.",
}
_STATUSES = {
    401: "The service does not accept this page's API key. Check API_KEY.",
    403: "This page's API key is not allowed to do that.",
    404: "This does not exist any more.",
    503: "The service cannot reach its database right now. Please try again shortly.",
}
_JOB_ERRORS = {
    "pdf_malformed": "The file is damaged and cannot be read. Save it anew and add it again.",
    "pdf_encrypted": "The file is locked with a password. Save it without one and add it again.",
    "pdf_no_text": "The pages are pictures without text (a scan?) that could not be read.",
    "pdf_too_many_pages": "The file has more pages than the service accepts. Split it.",
    "pdf_too_complex": "A page took too much time or memory to read.",
    "embedding_unavailable": "The embedding service could not be reached. Read it again later.",
    "internal_error": "Something went wrong inside the service. Read it again, or ask for help.",
}
_STAGES = {
    "queued": "Waiting for a worker",
    "planning": "Opening the file",
    "indexing": "Reading",
    "ocr": "Reading scanned pages",
}
_NOTES = {
    "attachments_not_read": "Files attached to this PDF were not read.",
    "xfa_form_not_read": "The form in this PDF (XFA) was not read.",
}


def error_text(error: ApiError) -> str:
    """Describe an error in one or two sentences for people who do not know HTTP."""
    if error.status == 429:
        wait = f" Try again in {error.retry_after:.0f} s." if error.retry_after else ""
        return f"Too many requests in a short time.{wait}"
    known = _ERRORS.get(error.code) or _STATUSES.get(error.status or 0)
    if known:
        return known
    fields = "; ".join(f"{name}: {' '.join(map(str, text))}" for name, text in error.errors.items())
    return " ".join(filter(None, [error.detail or "Something went wrong.", fields]))


def job_error_text(job: Json) -> str:
    """Say why a job failed."""
    error = job.get("error") or {}
    return _JOB_ERRORS.get(error.get("code", ""), error.get("detail") or "It failed.")


def progress_of(job: Json) -> tuple[float, str]:
    """Return the bar's value, from 0 to 1, and its text."""
    progress = job.get("progress") or {}
    percent = min(max(float(progress.get("percent") or 0), 0), 100)
    if job.get("state") == "queued":
        return percent / 100, _STAGES["queued"]
    words = [_STAGES.get(str(progress.get("stage")), "Working")]
    if total := progress.get("pages_total"):
        words.append(f"{progress.get('pages_done') or 0} of {_count(total, 'page')}")
    words.append(f"{percent:.0f} %")
    if eta := progress.get("eta_seconds"):
        words.append(f"{_duration(float(eta))} left")
    return percent / 100, " · ".join(words)


def document_text(document: Json) -> str:
    """Describe a document's state in a few words."""
    status = document.get("status")
    if status == "ready":
        pages, chunks = document.get("page_count"), document.get("chunk_count")
        counts = [_count(pages, "page")] if pages else []
        counts += [_count(chunks, "passage")] if chunks else []
        return " · ".join(["Ready", *counts])
    names = {"queued": "Waiting", "processing": "Working", "failed": "Failed"}
    return names.get(str(status), "Cancelled" if status == "cancelled" else str(status))


def notes_text(document: Json) -> list[str]:
    """Say in one sentence per kind what of a document could not be read."""
    notes = []
    for field, words in (
        ("pages_without_text", "without text"),
        ("pages_unreadable", "could not be read"),
    ):
        if pages := document.get(field):
            notes.append(f"{_count(len(pages), 'page')} {words}: {_numbers(pages)}.")
    for note in document.get("notes") or []:
        text = _NOTES.get(str(note.get("code")), note.get("detail") or "")
        notes += [text] if text else []
    return notes


def _numbers(pages: list[int], *, most: int = 8) -> str:
    """Return page numbers as `3, 5–9, 12`, and how many are left out."""
    runs: list[list[int]] = []
    for page in sorted(pages):
        if runs and page == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], page]
        else:
            runs.append([page])
    shown = ["–".join(map(str, run)) for run in runs[:most]]
    return ", ".join(shown) + (" …" if len(runs) > most else "")


def page_text(passage: Json, page: int | None = None) -> str:
    """Return `page 3`, or `page iv (sheet 4)` if the page's printed number differs."""
    page = page or passage.get("page_start")
    if not page:
        return ""
    printed = passage.get("page_label")
    if printed and str(printed) != str(page) and page == passage.get("page_start"):
        return f"page {printed} (sheet {page})"
    return f"page {page}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
