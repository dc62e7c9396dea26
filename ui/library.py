"""The documents that the conversation can search: upload, follow, view, retry, delete, choose."""

from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ui import state
from ui.alerts import attempt, guarded, show_error
from ui.api_client import ApiError, Json, new_key
from ui.citations import show_document
from ui.dialogs import close_dialog, dialog, open_dialog, redraw
from ui.escaping import label, one_line
from ui.watcher import is_busy
from ui.wording import document_text, error_text, job_error_text, notes_text, progress_of

TICK_SECONDS = 1.0
BARS = 5
ACTIONS = {
    "preview": ":material/visibility: Look at it",
    "download": ":material/download: Download",
    "retry": ":material/refresh: Read it again",
    "cancel": ":material/cancel: Stop reading",
    "delete": ":material/delete: Delete",
}


def show() -> None:
    """Show the panel; update it every second during an ingestion. Raises ApiError."""
    _upload_field()
    found = current()
    busy = any(is_busy(item) for item in found)
    st.fragment(_guarded_list, run_every=TICK_SECONDS if busy else None)()


def current() -> list[Json]:
    """Return the searchable documents with their latest state, newest first. Raises ApiError."""
    session, watcher = state.session_id(), state.watcher()
    found = state.cached(
        f"documents-{session}",
        partial(state.client().documents_in_reach, user_id=state.user_id(), session_id=session),
    )
    watcher.want(found)
    return [watcher.latest(item) for item in found]


def chosen_ids() -> list[str] | None:
    """Return the documents that the user chose for the chat; None for all."""
    excluded: set[str] = st.session_state.setdefault("_excluded", set())
    if not excluded:
        return None
    found = current()
    ids = [item["id"] for item in found if item["id"] not in excluded]
    return ids if len(ids) < len(found) else None


def upload(files: list[UploadedFile], *, here_only: bool) -> None:
    """Send files one after the other. A failed file is reported; the others are still sent."""
    problems: list[str] = []
    notices: list[str] = []
    with st.spinner(f"Sending {len(files)} files …" if len(files) > 1 else "Sending …"):
        for file in files:
            try:
                if _send(file, here_only=here_only):
                    notices.append(f"{file.name} is here already.")
            except ApiError as error:
                request = f" (request {error.request_id})" if error.request_id else ""
                problems.append(f"{file.name}: {error_text(error)}{request}")
    st.session_state["_upload_problems"] = problems
    st.session_state["_upload_notices"] = notices
    state.invalidate("documents")


def _send(file: UploadedFile, *, here_only: bool) -> bool:
    """Send a file; return whether it was uploaded before.

    The idempotency key depends on the file, so a rerun does not send it twice.
    """
    owner = {"session_id": state.session_id()} if here_only else {"user_id": state.user_id()}
    key = file.file_id.replace("-", "")[:70]
    sent = state.client().upload_document(file, filename=file.name, key=key, **owner)
    state.watcher().put(sent.document | {"job": sent.job})
    return sent.duplicate


def _upload_field() -> None:
    round_ = st.session_state.setdefault("_upload_round", 0)
    files = st.file_uploader(
        "Add PDFs",
        type="pdf",
        key=f"upload-{round_}",
        accept_multiple_files=True,
        max_upload_size=state.config().max_upload_mb,
        label_visibility="collapsed",
    )
    here_only = state.session_id() is not None and st.checkbox(
        "For this conversation only", key="here_only"
    )
    if files:
        upload(files, here_only=here_only)
        st.session_state["_upload_round"] += 1
        st.rerun()


def show_progress() -> None:
    """Show, in the main part, the last upload's results and a bar per document in ingestion."""
    show_upload_results()
    if any(is_busy(item) for item in current()):
        st.fragment(_bars, run_every=TICK_SECONDS)()


def _bars() -> None:
    busy = [item for item in current() if is_busy(item)]
    if not busy:
        redraw()
    with st.container(key="at_work"):
        for item in busy[:BARS]:
            share, words = progress_of(item.get("job") or {})
            st.progress(share, text=label(f"{one_line(item['filename'], limit=60)} · {words}"))
        if len(busy) > BARS:
            st.caption(f"and {len(busy) - BARS} more")


def show_upload_results() -> None:
    for notice in st.session_state.get("_upload_notices") or []:
        st.info(label(notice, limit=300), icon=":material/info:")
    st.session_state["_upload_notices"] = []
    for problem in st.session_state.get("_upload_problems") or []:
        st.error(label(problem, limit=300), icon=":material/error:")


def _guarded_list() -> None:
    guarded(_list, name="The list of documents")


def _list() -> None:
    found = current()
    if not found:
        st.caption("No documents yet. Add a PDF to ask about it, or drop it anywhere on this page.")
        return
    with st.container(key="documents", gap="small"):
        for item in found:
            _row(item)
    if st.session_state.get("_excluded"):
        st.caption("Answers use the ticked documents only.")


def _row(document: Json) -> None:
    with st.container(border=True, gap="xxsmall", key=f"document-{document['id']}"):
        line = st.container(horizontal=True, vertical_alignment="center", wrap=False, gap="xsmall")
        name = one_line(document["filename"], limit=70)
        if document.get("status") == "ready":
            line.checkbox(
                f"Use {label(name)} in answers",
                value=document["id"] not in st.session_state.setdefault("_excluded", set()),
                key=f"use-{document['id']}",
                label_visibility="collapsed",
                on_change=_choose_for_chat,
                args=(document["id"],),
            )
        line.text(name, width="stretch")
        _menu(line, document, name)
        _row_state(document)


def _choose_for_chat(document_id: str) -> None:
    excluded: set[str] = st.session_state.setdefault("_excluded", set())
    (excluded.discard if st.session_state[f"use-{document_id}"] else excluded.add)(document_id)


def _menu(line: st.delta_generator.DeltaGenerator, document: Json, name: str) -> None:
    busy = is_busy(document)
    actions = ["cancel"] if busy else ["retry"]
    if document.get("page_count"):
        actions.insert(0, "preview")
    key = f"actions-{document['id']}"
    line.menu_button(
        f"More about {label(name)}",
        [*actions, "download", "delete"],
        key=key,
        format_func=ACTIONS.__getitem__,
        type="tertiary",
        icon=":material/more_horiz:",
        on_click=_choose,
        args=(key, document),
    )


def _choose(key: str, document: Json) -> None:
    """Handle a choice in a document's menu."""
    action, client = st.session_state.get(key), state.client()
    if action == "retry":
        _ingest_again(document["id"])
    elif action == "cancel" and document.get("job_id"):
        attempt(partial(client.cancel_job, document["job_id"], key=new_key()))
    elif action in DIALOGS:
        open_dialog(DIALOGS[action], document)
        return
    state.watcher().clear()
    state.invalidate("documents")


def _ingest_again(document_id: str) -> None:
    attempt(partial(state.client().reingest, document_id, key=new_key()))
    state.watcher().clear()
    state.invalidate("documents")


def _row_state(document: Json) -> None:
    job = document.get("job") or {}
    if is_busy(document):
        share, words = progress_of(job)
        st.progress(share, text=label(words))
    elif document["status"] == "failed":
        st.markdown(f":small[:red[{label(job_error_text(job), limit=200)}]]")
        st.button(
            "Read it again",
            key=f"again-document-{document['id']}",
            icon=":material/refresh:",
            on_click=_ingest_again,
            args=(document["id"],),
        )
    else:
        scope = " · this conversation" if document.get("session_id") else ""
        scope = scope or ("" if document.get("user_id") else " · shared")
        st.caption(label(document_text(document) + scope))
    for note in notes_text(document):
        st.markdown(f":small[:orange[{label(note, limit=200)}]]")


@dialog("Download")
def _download(document: Json) -> None:
    name = one_line(document["filename"], limit=200)
    st.text(name)
    st.download_button(
        "Download the PDF",
        partial(state.client().download, document["id"]),
        file_name=name.replace("/", "-"),
        mime="application/pdf",
        icon=":material/download:",
        type="primary",
        on_click="ignore",
    )


@dialog("Delete this document?")
def _confirm_delete(document: Json) -> None:
    st.text(one_line(document["filename"]))
    st.caption("Its passages can no longer be found. Answers that cite it keep their quotes.")
    with st.container(horizontal=True):
        delete = st.button("Delete", type="primary", key="confirm_delete_document")
        if st.button("Cancel", key="keep_document"):
            close_dialog()
    if delete:
        try:
            state.client().delete_document(document["id"])
        except ApiError as error:
            if error.status != 404:
                show_error(error)
                return
        state.invalidate("documents")
        close_dialog()


DIALOGS = {"preview": show_document, "download": _download, "delete": _confirm_delete}
