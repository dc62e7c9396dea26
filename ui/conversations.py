"""The sidebar's list of conversations."""

from functools import partial

import streamlit as st

from ui import state
from ui.api_client import Json, Listing
from ui.escaping import label, one_line

FIRST_ROWS = 30
UNTITLED = "Untitled"


def show() -> None:
    """User, new conversation, and the user's conversations. Raises ApiError."""
    st.session_state["user_field"] = state.user_id()
    st.text_input(
        "User",
        key="user_field",
        max_chars=100,
        on_change=_change_user,
        help="Conversations and documents belong to a user. Any name will do.",
    )
    st.button(
        "New conversation",
        icon=":material/add:",
        width="stretch",
        on_click=state.open_session,
        args=(None,),
        key="new_conversation",
    )
    found = sessions()
    if found.items or st.session_state.get("favorites_only"):
        st.toggle(
            "Favourites only", key="favorites_only", on_change=state.forget, args=("sessions",)
        )
    if found.items:
        _rows(found)
    elif st.session_state.get("favorites_only"):
        st.caption("No favourites yet.")
    else:
        st.caption("No conversations yet. Your first question starts one.")


def sessions() -> Listing:
    limit: int = st.session_state.setdefault("_session_rows", FIRST_ROWS)
    favorites_only: bool = st.session_state.get("favorites_only", False)
    return state.remembered(
        "sessions",
        partial(
            state.client().list_sessions,
            user_id=state.user_id(),
            limit=limit,
            favorites_only=favorites_only,
        ),
    )


def title_of(session: Json) -> str:
    return one_line(session.get("title") or "", limit=80) or UNTITLED


def _rows(found: Listing) -> None:
    with st.container(key="conversations", gap=None):
        for session in found.items:
            _row(session)
    if found.total > len(found.items) and len(found.items) < 100:
        st.button("Show more", type="tertiary", on_click=_show_more)


def _row(session: Json) -> None:
    chosen = session["id"] == state.session_id()
    favorite = bool(session.get("is_favorite"))
    st.button(
        label(title_of(session)),
        key=f"open-{'star-' if favorite else ''}{session['id']}",
        type="secondary" if chosen else "tertiary",
        icon=":material/star:" if favorite else ":material/chat_bubble:",
        width="stretch",
        wrap=False,
        on_click=state.open_session,
        args=(session["id"],),
    )


def _change_user() -> None:
    state.set_user(st.session_state["user_field"].strip() or state.DEFAULT_USER)


def _show_more() -> None:
    st.session_state["_session_rows"] = 100
    state.forget("sessions")
