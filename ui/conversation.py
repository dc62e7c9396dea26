"""The open conversation: its history, the question, the answer with what it rests on."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from ui import library, state
from ui.alerts import attempt, show_error, show_flash
from ui.api_client import ApiError, Json, Listing
from ui.conversations import title_of
from ui.escaping import label, one_line, unwrapped
from ui.turn import Turn
from ui.wording import pages_text

REDRAW_SECONDS = 0.15
AVATARS = {"user": ":material/person:", "assistant": ":material/auto_stories:"}


def show() -> None:
    """Raises ApiError."""
    show_flash()
    session_id = state.session_id()
    turn = state.turns().get(session_id)
    if turn is not None and turn.finished and turn.error is None:
        _settle(turn)
        turn = None
    question = st.chat_input(
        "Ask about your documents",
        key=f"ask-{session_id}",
        disabled=turn is not None and not turn.finished,
    )
    if question:
        _start(question, session_id=session_id)
        st.rerun()  # draws the field disabled while the answer arrives
    if session_id is not None:
        _show_session(session_id, turn)
    elif turn is None:
        _welcome()
    if turn is not None:
        _show_turn(turn)


def _show_session(session_id: str, turn: Turn | None) -> None:
    session = _session(session_id)
    if session["user_id"] != state.user_id():  # opened by its address
        state.set_user(session["user_id"], session_id=session_id)
        st.rerun()
    _toolbar(session)
    history: Listing = state.remembered(
        f"messages-{session_id}", partial(state.client().recent_messages, session_id)
    )
    if history.total > len(history.items):
        st.caption(f"The last {len(history.items)} of {history.total:,} messages.")
    for message in history.items:
        if turn is None or not turn.covers(message):
            _show_message(message)


def _session(session_id: str) -> Json:
    load = partial(state.client().get_session, session_id)
    try:
        return state.remembered(f"session-{session_id}", load)
    except ApiError as error:
        if error.status != 404:
            raise
        state.open_session(None)
        state.forget("sessions")
        st.session_state["_flash"] = ApiError("gone", "This conversation does not exist any more.")
        st.rerun()


def _start(question: str, *, session_id: str | None) -> None:
    turn = Turn(state.client(), user_id=state.user_id(), session_id=session_id, question=question)
    state.turns()[session_id] = turn
    turn.start()


def _settle(turn: Turn) -> None:
    """The turn is over: what is stored takes its place."""
    state.turns().pop(turn.session_id, None)
    state.forget("sessions", f"session-{turn.session_id}", f"messages-{turn.session_id}")


def _adopt(turn: Turn) -> bool:
    """Open the conversation that a first question has started; whether it did."""
    if turn.session_id is None or state.turns().get(None) is not turn:
        return False
    state.turns()[turn.session_id] = state.turns().pop(None)
    state.forget("sessions")
    if state.session_id() is not None:
        return False
    state.open_session(turn.session_id)
    return True


def _show_turn(turn: Turn) -> None:
    """The question and its answer as it arrives, drawn apart from the rest of the page."""
    with st.chat_message("user", avatar=AVATARS["user"]):
        st.text(turn.question)
    with st.chat_message("assistant", avatar=AVATARS["assistant"]):
        if turn.error is None:
            st.fragment(_draw_turn, run_every=REDRAW_SECONDS)(turn)
        else:
            st.text(turn.answer)
            show_error(turn.error)
    if turn.error is not None:
        st.button(
            "Try again", icon=":material/refresh:", key="retry", on_click=_retry, args=(turn,)
        )


def _draw_turn(turn: Turn) -> None:
    finished = turn.finished
    if turn.answer:
        st.text(turn.answer)
    else:
        st.caption(_waiting_words(turn))
    if _adopt(turn) or finished:
        st.rerun()


def _retry(turn: Turn) -> None:
    """Send again what may never have arrived; ask anew what was stored and failed."""
    if turn.accepted:
        _start(turn.question, session_id=turn.session_id)
        state.forget(f"messages-{turn.session_id}")
    else:
        turn.start()


def _waiting_words(turn: Turn) -> str:
    if turn.searched:
        return "Writing …"
    return "Searching your documents …" if turn.accepted else "Sending …"


def _welcome() -> None:
    st.header("Ask your documents", anchor=False)
    st.text("Answers come from your PDFs, with the page each statement is taken from.")
    if any(item["status"] == "ready" for item in library.documents()):
        st.text("Type a question below to start a conversation.")
        return
    with st.container(border=True, key="first_steps"):
        st.markdown("**1** — Open the panel on the left and add a PDF.")
        st.markdown("**2** — Wait until it says *Ready*: a few seconds for a short file.")
        st.markdown("**3** — Ask a question in the field below.")


def _toolbar(session: Json) -> None:
    line = st.container(
        key="toolbar", horizontal=True, vertical_alignment="center", wrap=False, gap="small"
    )
    line.subheader(label(title_of(session)), anchor=False)
    favorite = bool(session.get("is_favorite"))
    line.button(
        "Remove from favourites" if favorite else "Add to favourites",
        icon=":material/star:",
        key=f"favorite-{'on' if favorite else 'off'}",
        type="tertiary",
        on_click=attempt,
        args=(partial(_set_favorite, session["id"], is_favorite=not favorite),),
    )
    if line.button("Rename", icon=":material/edit:", key="rename", type="tertiary"):
        _rename(session)
    if line.button("Delete", icon=":material/delete:", key="delete", type="tertiary"):
        _confirm_delete(session)


def _set_favorite(session_id: str, *, is_favorite: bool) -> None:
    state.client().set_favorite(session_id, is_favorite=is_favorite)
    state.forget("sessions", f"session-{session_id}")


@st.dialog("Rename this conversation")
def _rename(session: Json) -> None:
    title = st.text_input("Title", value=session.get("title") or "", max_chars=200)
    if st.button("Save", type="primary", key="save_title"):
        _do_and_close(
            partial(state.client().rename_session, session["id"], title=title),
            "sessions",
            f"session-{session['id']}",
        )


@st.dialog("Delete this conversation?")
def _confirm_delete(session: Json) -> None:
    st.text(title_of(session))
    st.caption("Its messages go, and the documents that belong to it alone.")
    if st.button("Delete", type="primary", key="confirm_delete"):
        state.turns().pop(session["id"], None)
        _do_and_close(partial(_delete, session["id"]))


def _delete(session_id: str) -> None:
    state.client().delete_session(session_id)
    state.open_session(None)


def _do_and_close(action: Callable[[], object], *names: str) -> None:
    """Run a dialog's action; an error stays in the dialog."""
    try:
        action()
    except ApiError as error:
        show_error(error)
        return
    state.forget(*names)
    st.rerun()


def _show_message(message: Json) -> None:
    sender = message["sender"]
    name = "user" if sender == "user" else "assistant"
    with st.chat_message(name, avatar=AVATARS.get(sender, ":material/info:")):
        if message["content"]:
            st.text(message["content"])
        if message["status"] == "interrupted":
            st.caption(":orange[This answer was interrupted.]")
        elif message["status"] == "failed":
            st.caption(":red[This answer could not be finished.]")
        _show_passages(message)


def _show_passages(message: Json) -> None:
    passages = message.get("retrieved_context") or []
    if not passages:
        return
    with st.container(gap="xsmall"):
        for number, passage in enumerate(passages, start=1):
            index = passage.get("index") or number
            source = one_line(passage.get("filename") or "Passage", limit=80)
            where = " · ".join(filter(None, [f"[{index}] {source}", pages_text(passage)]))
            with st.expander(label(where), icon=":material/format_quote:"):
                st.text(unwrapped(passage.get("quote") or passage.get("text") or ""))
