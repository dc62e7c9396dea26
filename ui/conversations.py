"""The sidebar's list of conversations: find, open, rename, mark, export, delete."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import groupby

import streamlit as st

from ui import state
from ui.alerts import attempt, show_error
from ui.api_client import ApiError, Json, Listing
from ui.dialogs import close_dialog, dialog, open_dialog
from ui.escaping import label, one_line

FIRST_ROWS = 30
MORE_ROWS = 100
MAX_QUERY = 200  # characters
UNTITLED = "New conversation"
# Headings, bold text and code. A single * or _ may be a part of a name or a formula.
_MARKUP = re.compile(r"(?:^|(?<=\s))#{1,6}\s+|\*\*|`+")
ACTIONS = {
    "rename": ":material/edit: Rename",
    "star": ":material/star: Add to favourites",
    "unstar": ":material/star: Remove from favourites",
    "export": ":material/download: Export",
    "delete": ":material/delete: Delete",
}
# For each format: the API's name, the button's text, the file's extension and media type.
EXPORTS = (
    ("markdown", "Markdown", "md", "text/markdown"),
    ("json", "JSON", "json", "application/json"),
)


def show_new_button() -> None:
    st.button(
        "New conversation",
        icon=":material/edit_square:",
        width="stretch",
        on_click=state.open_session,
        args=(None,),
        key="new_conversation",
    )


def show() -> None:
    """Show the search field and the user's conversations. Raises ApiError."""
    query = st.text_input(
        "Search conversations",
        key="search",
        type="search",
        placeholder="Search conversations",
        label_visibility="collapsed",
    )
    if query and query.strip():
        _show_results(query.strip()[:MAX_QUERY])
    else:
        _show_all()


def sessions() -> Listing:
    limit: int = st.session_state.setdefault("_session_rows", FIRST_ROWS)
    return state.cached(
        "sessions",
        partial(state.client().list_sessions, user_id=state.user_id(), limit=limit),
    )


def favorites() -> Listing:
    return state.cached(
        "sessions-favorite",
        partial(
            state.client().list_sessions,
            user_id=state.user_id(),
            limit=MORE_ROWS,
            favorites_only=True,
        ),
    )


def find(session_id: str) -> Json | None:
    """Find a session in the list."""
    known = st.session_state.get("_memory", {}).get("sessions")
    rows = known[1].items if known else []
    return next((session for session in rows if session["id"] == session_id), None)


def title_of(session: Json) -> str:
    return one_line(session.get("title") or "", limit=80) or UNTITLED


def _show_all() -> None:
    found = sessions()
    if not found.items:
        st.caption("No conversations yet. Your first question starts one.")
        return
    starred = [session for session in found.items if session.get("is_favorite")]
    if found.total > len(found.items):  # the list may not contain older favourites
        starred = favorites().items
    others = [session for session in found.items if not session.get("is_favorite")]
    with st.container(key="conversations", gap=None):
        if starred:
            _rows("Favourites", starred)
        for day, rows in by_day(others, today=datetime.now(UTC).date()):
            _rows(day, rows)
    if found.total > len(found.items) and len(found.items) < MORE_ROWS:
        st.button("Show older", type="tertiary", on_click=_show_older, key="older")


def by_day(rows: list[Json], *, today: date) -> Iterator[tuple[str, list[Json]]]:
    """Group conversations by day. `rows` must be sorted, newest first."""

    def day_of(session: Json) -> str:
        active = str(session.get("last_message_at") or session.get("created_at") or "")
        try:
            days = (today - datetime.fromisoformat(active).date()) // timedelta(days=1)
        except ValueError:
            return "Older"
        limits = ((0, "Today"), (1, "Yesterday"), (7, "Last 7 days"), (30, "Last 30 days"))
        return next((name for limit, name in limits if days <= limit), "Older")

    for day, group in groupby(rows, key=day_of):
        yield day, list(group)


def _show_results(query: str) -> None:
    client, user = state.client(), state.user_id()
    titles = state.cached(
        f"search-titles-{query}", partial(client.list_sessions, user_id=user, q=query, limit=20)
    )
    said = state.cached(
        f"search-said-{query}", partial(client.search_messages, user_id=user, q=query)
    )
    with st.container(key="conversations", gap=None):
        if titles.items:
            _rows("Titles", titles.items)
        if said:
            st.caption("Messages")
        for hit in said:
            _open_button(
                hit["session_id"],
                text=label(plain_snippet(hit.get("snippet") or ""), limit=90),
                icon=":material/chat:",
                key=f"hit-{hit['message']['id']}",
            )
    if not titles.items and not said:
        st.caption("Nothing was found.")


def plain_snippet(snippet: str) -> str:
    """Return a snippet without the marks around the matches and without Markdown's marks."""
    return _MARKUP.sub("", snippet.replace("<mark>", "").replace("</mark>", ""))


def _rows(heading: str, rows: list[Json]) -> None:
    st.caption(heading)
    for session in rows:
        _row(session)


def _row(session: Json) -> None:
    favorite = bool(session.get("is_favorite"))
    chosen = session["id"] == state.session_id()
    row = "row-chosen" if chosen else "row"
    with st.container(key=f"{row}-{session['id']}", horizontal=True, wrap=False, gap=None):
        _open_button(
            session["id"],
            text=label(title_of(session)),
            icon=":material/star:" if favorite else None,
            key=f"open-{'star-' if favorite else ''}{session['id']}",
        )
        key = f"menu-{session['id']}"
        st.menu_button(
            f"More about {label(title_of(session))}",
            ["rename", "unstar" if favorite else "star", "export", "delete"],
            key=key,
            format_func=ACTIONS.__getitem__,
            type="tertiary",
            icon=":material/more_horiz:",
            on_click=_choose,
            args=(key, session),
        )


def _open_button(session_id: str, *, text: str, icon: str | None, key: str) -> None:
    st.button(
        text,
        key=key,
        type="tertiary",
        icon=icon,
        width="stretch",
        wrap=False,
        on_click=state.open_session,
        args=(session_id,),
    )


def _choose(key: str, session: Json) -> None:
    """Handle a choice in a row's menu."""
    action = st.session_state.get(key)
    if action in ("star", "unstar"):
        attempt(partial(_set_favorite, session["id"], is_favorite=action == "star"))
    elif action:
        open_dialog(DIALOGS[action], session)


def _set_favorite(session_id: str, *, is_favorite: bool) -> None:
    state.client().set_favorite(session_id, is_favorite=is_favorite)
    state.invalidate("sessions", f"session-{session_id}")


@dialog("Rename this conversation")
def _rename(session: Json) -> None:
    with st.form("rename_form", border=False):
        title = st.text_input("Title", value=session.get("title") or "", max_chars=200)
        save, cancel = _buttons("Save", "save_title")
    if save:
        _do_and_close(partial(state.client().rename_session, session["id"], title=title))
    elif cancel:
        close_dialog()


@dialog("Export this conversation")
def _export(session: Json) -> None:
    st.text(title_of(session))
    st.caption("Markdown is for reading. JSON has everything and can be imported again.")
    name = one_line(title_of(session), limit=60).replace("/", "-")
    with st.container(horizontal=True):
        for format_, words, ending, mime in EXPORTS:
            st.download_button(
                words,
                partial(state.client().export_session, session["id"], format_=format_),
                file_name=f"{name}.{ending}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"export_{format_}",
            )


@dialog("Delete this conversation?")
def _confirm_delete(session: Json) -> None:
    st.text(title_of(session))
    st.caption("Its messages are deleted, and the documents that belong to it alone.")
    with st.form("delete_form", border=False):
        delete, cancel = _buttons("Delete", "confirm_delete")
    if delete:
        state.turns().pop(session["id"], None)
        _do_and_close(partial(_delete, session["id"]))
    elif cancel:
        close_dialog()


def _buttons(action: str, key: str) -> tuple[bool, bool]:
    """Show a dialog's action and Cancel side by side; return which were clicked."""
    with st.container(key=f"{key}_line", horizontal=True):
        done = st.form_submit_button(action, type="primary", key=key)
        cancelled = st.form_submit_button("Cancel", key=f"{key}_cancel")
    return done, cancelled


def _delete(session_id: str) -> None:
    state.client().delete_session(session_id)
    if state.session_id() == session_id:
        state.open_session(None)


def _do_and_close(action: Callable[[], object]) -> None:
    """Run a dialog's action, and show an error inside the dialog."""
    try:
        action()
    except ApiError as error:
        show_error(error)
        return
    state.invalidate("sessions", "session-", "search-")
    close_dialog()


def _show_older() -> None:
    st.session_state["_session_rows"] = MORE_ROWS
    state.invalidate("sessions")


DIALOGS = {"rename": _rename, "export": _export, "delete": _confirm_delete}
