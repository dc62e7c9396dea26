"""Shows a citation: the page's image with the quote marked, and the quote's text beside it."""

from functools import partial

import streamlit as st

from ui import state
from ui.alerts import show_error
from ui.api_client import ApiError, Json
from ui.dialogs import dialog, open_dialog
from ui.escaping import join_lines, label, one_line
from ui.wording import page_text

_MAX_PAGES = 10_000


def views_of(passages: list[Json]) -> list[Json]:
    """Return a view `{index, passage, quote, page}` per quote, in the order of the answer."""
    views = []
    for number, passage in enumerate(passages, start=1):
        first = {"quote": passage.get("quote"), "page": passage.get("page_start")}
        for quote in passage.get("quotes") or [first]:
            views.append(
                {
                    "index": passage.get("index") or number,
                    "passage": passage,
                    "quote": quote.get("quote") or passage.get("quote") or "",
                    "page": quote.get("page") or passage.get("page_start"),
                }
            )
    return views


def open_citation(message_id: str, index: int) -> None:
    """Open this citation's dialog. `find_citation` finds what it shows."""
    st.session_state["_citation"] = (message_id, index)


def find_citation(messages: list[Json]) -> None:
    """Open the dialog of the clicked citation, if any, which belongs to one of `messages`."""
    asked = st.session_state.pop("_citation", None)
    if asked is None:
        return
    message_id, index = asked
    message = next((message for message in messages if message["id"] == message_id), None)
    views = views_of((message or {}).get("retrieved_context") or [])
    at = next((at for at, view in enumerate(views) if view["index"] == index), None)
    if at is not None:
        st.session_state["_quote_at"] = at
        open_dialog(_dialog, views)


@dialog("Source", width="medium")
def _dialog(views: list[Json]) -> None:
    at = max(0, min(st.session_state.get("_quote_at", 0), len(views) - 1))
    view, passage = views[at], views[at]["passage"]
    name = one_line(passage.get("filename") or "Passage", limit=120)
    where = " · ".join(filter(None, [name, page_text(passage, view["page"])]))
    st.markdown(f"**:primary-badge[{view['index']}] {label(where, limit=200)}**")
    quote = join_lines(view["quote"] or passage.get("text") or "")
    with st.container(border=True, key="quote"):
        st.text(quote)
    if len(views) > 1:
        _steps(at, len(views))
    if passage.get("document_id") and view["page"]:
        _picture(passage["document_id"], int(view["page"]), highlight=view["quote"], name=name)


def _steps(at: int, count: int) -> None:
    with st.container(key="steps", horizontal=True, vertical_alignment="center", wrap=False):
        before = st.button(
            "Previous quote",
            icon=":material/chevron_left:",
            disabled=at == 0,
            key="previous",
            shortcut="left",
        )
        st.caption(f"Quote {at + 1} of {count}", width="content")
        behind = st.button(
            "Next quote",
            icon=":material/chevron_right:",
            disabled=at == count - 1,
            key="next",
            shortcut="right",
        )
    if before or behind:
        st.session_state["_quote_at"] = at + (1 if behind else -1)
        st.rerun(scope="fragment")


def _picture(document_id: str, page: int, *, highlight: str, name: str) -> None:
    load = partial(state.client().page_image, document_id, page, highlight=highlight)
    try:
        with st.spinner("Drawing the page …"):
            image = state.cached(f"page-{document_id}-{page}-{hash(highlight)}", load)
    except ApiError as error:
        if error.status == 404:
            st.caption("The document has been deleted. The quote above is what was kept of it.")
        else:
            show_error(error)
        return
    st.image(image, width="stretch", alt=f"Page {page} of {name}")


@dialog("Document", width="medium")
def show_document(document: Json) -> None:
    """Show a document's pages as images, one at a time."""
    name = one_line(document["filename"], limit=120)
    st.markdown(f"**{label(name)}**")
    count = int(document.get("page_count") or 1)
    page = 1
    if count > 1:
        page = int(st.number_input("Page", 1, min(count, _MAX_PAGES), 1, key="preview_page"))
        st.caption(f"of {count:,}")
    _picture(document["id"], page, highlight="", name=name)
