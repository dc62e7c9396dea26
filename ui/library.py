"""The documents in reach: upload, progress, list."""

import time
from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ui import state
from ui.alerts import guarded, show_error
from ui.api_client import ApiError, Json
from ui.escaping import label, one_line
from ui.wording import document_text, error_text, job_error_text, progress_of

UNFINISHED = ("queued", "processing")
WATCHED_AT_ONCE = 4
TICK_SECONDS = 1.0
# Every look counts against the key's rate limit: often at first, then less.
LOOKS_AT_FIRST = 10
LATER_SECONDS = 4.0


def show() -> None:
    """The panel, renewed each second while something is being read in. Raises ApiError."""
    _upload_field()
    found = documents()
    busy = any(item["status"] in UNFINISHED for item in found)
    st.fragment(_guarded_list, run_every=TICK_SECONDS if busy else None)()


def _guarded_list() -> None:
    guarded(_list)


def documents() -> list[Json]:
    session = state.session_id()
    return state.remembered(
        f"documents-{session}",
        partial(state.client().documents_in_reach, user_id=state.user_id(), session_id=session),
    )


def _upload_field() -> None:
    round_ = st.session_state.setdefault("_upload_round", 0)
    file = st.file_uploader(
        "Add a PDF",
        type="pdf",
        key=f"upload-{round_}",
        max_upload_size=state.config().max_upload_mb,
        label_visibility="collapsed",
    )
    here_only = state.session_id() is not None and st.checkbox(
        "For this conversation only", key="here_only"
    )
    if file is not None:
        _upload(file, here_only=here_only)
    if notice := st.session_state.pop("_upload_notice", None):
        st.info(label(notice, limit=300), icon=":material/info:")
    if problem := st.session_state.get("_upload_error"):
        st.error(label(problem, limit=300), icon=":material/error:")


def _upload(file: UploadedFile, *, here_only: bool) -> None:
    """Send the file and clear the field; the key is the file's, so a rerun sends it once."""
    st.session_state.pop("_upload_error", None)
    owner = {"session_id": state.session_id()} if here_only else {"user_id": state.user_id()}
    try:
        with st.spinner("Sending …"):
            sent = state.client().upload_document(
                file, filename=file.name, key=file.file_id.replace("-", ""), **owner
            )
    except ApiError as error:
        request = f" (request {error.request_id})" if error.request_id else ""
        st.session_state["_upload_error"] = f"{file.name}: {error_text(error)}{request}"
    else:
        if sent.duplicate:
            st.session_state["_upload_notice"] = f"{file.name} is here already."
        _watch(sent.job, after=sent.poll_after)
    st.session_state["_upload_round"] += 1
    state.forget("documents")
    st.rerun()


def _list() -> None:
    found = documents()
    unfinished = [item for item in found if item["status"] in UNFINISHED]
    finished = [_look(item) for item in unfinished[:WATCHED_AT_ONCE]]
    if any(finished):
        state.forget("documents")
        st.rerun()
    _explain_failures(found)
    with st.container(key="documents", gap="small"):
        for item in found:
            _row(item)
    if not found:
        st.caption("No documents yet. Add a PDF to ask about it.")


def _look(document: Json) -> bool:
    """Ask for the document's job if it is time to; whether it has just ended."""
    watch = state.jobs().get(document.get("job_id") or "", {})
    if not document.get("job_id") or time.monotonic() < watch.get("due", 0):
        return False
    try:
        job, after = state.client().get_job(document["job_id"])
    except ApiError as error:
        _watch(watch.get("job") or {"id": document["job_id"]}, after=error.retry_after or 5.0)
        return error.status == 404
    _watch(job, after=after)
    return job["state"] not in ("queued", "running")


def _watch(job: Json, *, after: float | None) -> None:
    """Remember a job and when to look again: when the API says, else ever less often."""
    looks = state.jobs().get(job["id"], {}).get("looks", 0) + 1
    pause = after or (TICK_SECONDS if looks <= LOOKS_AT_FIRST else LATER_SECONDS)
    # A little early: the next tick comes after a second, give or take.
    state.jobs()[job["id"]] = {"job": job, "looks": looks, "due": time.monotonic() + pause - 0.2}


def _explain_failures(found: list[Json]) -> None:
    """One call for the reasons of all that failed and were not seen failing."""
    known = state.jobs()
    failed = {item["job_id"] for item in found if item["status"] == "failed"}
    if all(known.get(job_id, {}).get("job", {}).get("error") for job_id in failed):
        return
    for job in state.remembered("failed_jobs", state.client().failed_jobs):
        known[job["id"]] = {"job": job, "looks": 1, "due": 0}


def _row(document: Json) -> None:
    with st.container(border=True, gap="xxsmall"):
        line = st.container(horizontal=True, vertical_alignment="center", wrap=False, gap="xsmall")
        line.text(one_line(document["filename"], limit=70), width="stretch")
        if line.button(
            "Delete this document",
            key=f"delete-{document['id']}",
            type="tertiary",
            icon=":material/delete:",
        ):
            _confirm_delete(document)
        _row_state(document)


def _row_state(document: Json) -> None:
    job = state.jobs().get(document.get("job_id") or "", {}).get("job") or {}
    if document["status"] in UNFINISHED:
        share, words = progress_of(job)
        st.progress(share, text=label(words))
    elif document["status"] == "failed":
        st.caption(f":red[{label(job_error_text(job), limit=200)}]")
    else:
        scope = " · this conversation" if document.get("session_id") else ""
        scope = scope or ("" if document.get("user_id") else " · shared")
        st.caption(label(document_text(document) + scope))


@st.dialog("Delete this document?")
def _confirm_delete(document: Json) -> None:
    st.text(one_line(document["filename"]))
    st.caption("Its passages can no longer be found. Answers that cite it keep their quotes.")
    if st.button("Delete", type="primary", key="confirm_delete_document"):
        try:
            state.client().delete_document(document["id"])
        except ApiError as error:
            if error.status != 404:
                show_error(error)
                return
        state.forget("documents")
        st.rerun()
