"""Shows the open conversation: its history, the question, the answer while it is written."""

import time
from dataclasses import dataclass
from functools import partial

import streamlit as st

from ui import conversations, dialogs, library, samples, state, trouble
from ui.alerts import attempt, guarded, show_error, show_flash
from ui.api_client import ApiError, Json, Listing
from ui.citations import find_citation
from ui.enhance import enhance
from ui.escaping import label
from ui.message import (
    AVATARS,
    is_extractive,
    show_message,
    show_question,
    show_sources,
    show_text,
)
from ui.turn import Turn

REDRAW_SECONDS = 0.2
# After the first answer, the question is a conversation's title. A language model may write a
# better title a little later. The page looks for that title after each of these waits.
TITLE_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
FIELD = "ask"


def show_field() -> None:
    """Show the question's field. The same element on every run keeps its focus and text."""
    _restore_question()
    sent = st.chat_input(
        "Ask about your documents",
        key=FIELD,
        accept_file="multiple",
        file_type="pdf",
        max_upload_size=state.config().max_upload_mb,
    )
    if not sent:
        return
    if sent.files:
        library.upload(list(sent.files), here_only=False)
    if sent.text.strip():
        _ask(sent.text.strip())
    st.rerun()


def show() -> None:
    """Raises ApiError."""
    show_flash()
    guarded(library.show_progress, name="The progress of documents", says_missing=False)
    session_id = state.session_id()
    turn = _running_turn(session_id)
    messages: list[Json] = []
    if session_id is not None:
        messages = _show_session(session_id, turn)
    elif turn is None:
        samples.welcome(_ask)
    if turn is not None:
        _show_turn(turn)
    _show_queued_question(session_id)
    find_citation(messages)
    enhance({message["id"]: message["content"] for message in messages})


def _running_turn(session_id: str | None) -> Turn | None:
    """Return the turn to show. Finish a completed turn first, and send the queued question."""
    turn = state.turns().get(session_id)
    if turn is not None and turn.finished and turn.error is None:
        _finish_turn(turn)
        return _next_question(session_id)
    if turn is None and session_id is not None:
        return _resume_turn(session_id)
    return turn


def _resume_turn(session_id: str) -> Turn | None:
    """Follow the answer that the service is writing, after a reload or in a second tab."""
    session = _session(session_id)
    active = session.get("active_message_id")
    if not active or st.session_state.get("_resumed") == active:
        return None
    st.session_state["_resumed"] = active
    turn = Turn.resume(state.client(), user_id=state.user_id(), session=session)
    state.turns()[session_id] = turn
    turn.start()
    return turn


def _show_session(session_id: str, turn: Turn | None) -> list[Json]:
    session = _session(session_id)
    _heading(session)
    history: Listing = state.cached(
        f"messages-{session_id}", partial(state.client().recent_messages, session_id)
    )
    if history.total > len(history.items):
        st.caption(f"The last {len(history.items)} of {history.total:,} messages.")
    shown = [item for item in history.items if not _is_shown_by(turn, item)]
    questions = [item["id"] for item in shown if item["sender"] == "user"]
    for number, message in enumerate(shown, start=1):
        show_message(
            message,
            is_last=turn is None and number == len(shown) and message["sender"] == "assistant",
            is_last_question=turn is None and message["id"] == questions[-1:][0]
            if questions
            else False,
        )
    return shown


def _is_shown_by(turn: Turn | None, message: Json) -> bool:
    if turn is None:
        return message["status"] == "in_progress" and not message["content"]
    return turn.includes(message) or message["status"] == "in_progress"


def _session(session_id: str) -> Json:
    """Return the open session. Close it if it was deleted or belongs to another user."""
    try:
        session: Json = state.cached(
            f"session-{session_id}", partial(state.client().get_session, session_id)
        )
    except ApiError as error:
        if error.status != 404:
            raise
        _close_unknown()
    if session["user_id"] != state.user_id():
        if state.config().login != "none":
            _close_unknown()
        state.set_user(session["user_id"], session_id=session_id)  # opened by its URL
        st.rerun()
    return session


def _close_unknown() -> None:
    state.open_session(None)
    state.invalidate("sessions")
    st.session_state["_flash"] = ApiError("gone", "This conversation does not exist any more.")
    st.rerun()


def _heading(session: Json) -> None:
    shown = conversations.find(session["id"]) or session  # the listed title may be newer
    with st.container(key="heading"):
        st.subheader(label(conversations.title_of(shown)), anchor=False)
    search: _TitleSearch | None = st.session_state.get("_title_search")
    if search and search.continues(shown):
        st.fragment(_look_for_title, run_every=search.waits[0])(time.monotonic() + search.waits[0])


@dataclass
class _TitleSearch:
    """Looks for a better title of a conversation whose title is still its question."""

    session_id: str
    question: str
    waits: list[float]

    def continues(self, session: Json) -> bool:
        title = (session.get("title") or "").rstrip("…")
        is_first = " ".join(self.question.split()).startswith(title)
        return bool(self.waits) and session["id"] == self.session_id and is_first


def _look_for_title(due: float) -> None:
    if time.monotonic() >= due - 0.5 and not dialogs.is_open():
        del st.session_state["_title_search"].waits[0]
        state.invalidate("sessions")
        st.rerun()


def _ask(question: str) -> None:
    """Send a question, or queue it while an answer is being written."""
    session_id = state.session_id()
    turn = state.turns().get(session_id)
    if turn is not None and not turn.finished:
        st.session_state.setdefault("_queue", {})[session_id] = question
        return
    new = Turn.ask(
        state.client(),
        user_id=state.user_id(),
        session_id=session_id,
        question=question,
        document_ids=library.chosen_ids(),
    )
    state.turns()[session_id] = new
    new.start()


def _next_question(session_id: str | None) -> Turn | None:
    question = st.session_state.get("_queue", {}).pop(session_id, None)
    if question is not None:
        _ask(question)
    return state.turns().get(session_id)


def _show_queued_question(session_id: str | None) -> None:
    question = st.session_state.get("_queue", {}).get(session_id)
    if question is not None:
        with st.chat_message("user", avatar=AVATARS["user"]):
            show_question("queued", question)
        st.caption("Will be sent when the answer above is finished.", text_alignment="right")


def _restore_question() -> None:
    """Put a question that did not reach the service back into the field."""
    session_id = state.session_id()
    turn = state.turns().get(session_id)
    if turn is None or not turn.finished or turn.error is None or turn.accepted:
        return
    if turn.question and st.session_state.get("_draft_given") != id(turn):
        st.session_state["_draft_given"] = id(turn)
        st.session_state[FIELD] = turn.question
    state.turns().pop(session_id)
    if trouble.is_transient(turn.error):
        trouble.record(turn.error)
    else:
        st.session_state["_flash"] = turn.error


def _finish_turn(turn: Turn) -> None:
    """Drop a completed turn, so that the page shows its stored messages instead."""
    session_id = turn.session_id
    state.turns().pop(session_id, None)
    state.invalidate("sessions", "search-", f"session-{session_id}", f"messages-{session_id}")
    if turn.position == 1 and not is_extractive(turn.stored_answer or {}):
        waits = list(TITLE_WAITS)
        st.session_state["_title_search"] = _TitleSearch(str(session_id), turn.question, waits)


def _open_new_session(turn: Turn) -> bool:
    """Open the conversation that a first question created; return whether there was one."""
    if turn.session_id is None or state.turns().get(None) is not turn:
        return False
    state.turns()[turn.session_id] = state.turns().pop(None)
    state.invalidate("sessions")
    if state.session_id() is not None:
        return False
    state.open_session(turn.session_id)
    return True


def _show_turn(turn: Turn) -> None:
    """Show the question and the arriving answer, in a fragment that redraws by itself."""
    with st.chat_message("user", avatar=AVATARS["user"]):
        show_question("running", turn.question)
    with st.chat_message("assistant", avatar=AVATARS["assistant"]):
        if turn.error is None:
            st.fragment(_draw_turn, run_every=REDRAW_SECONDS)(turn)
        else:
            show_text("failed", turn.answer, turn.passages)
            show_error(turn.error)
    if turn.error is not None:
        st.button(
            "Try again", icon=":material/refresh:", key="retry", on_click=_retry, args=(turn,)
        )


def _draw_turn(turn: Turn) -> None:
    finished = turn.finished
    if turn.answer:
        show_text("running", turn.answer, turn.passages)
    else:
        st.caption(_waiting_words(turn))
    if turn.passages and turn.answer:
        show_sources("running", _cited(turn))
    if not finished:
        st.button(
            "Stopping …" if turn.stopping else "Stop",
            icon=":material/stop_circle:",
            key="stop",
            disabled=turn.stopping or not turn.accepted,
            on_click=attempt,
            args=(turn.stop,),
        )
    if _open_new_session(turn) or finished:
        dialogs.redraw()


def _cited(turn: Turn) -> list[Json]:
    """Return the passages that the text so far cites."""
    return [passage for passage in turn.passages if f"[{passage.get('index')}]" in turn.answer]


def _retry(turn: Turn) -> None:
    """Answer a stored question again. A question that was not stored is back in the field."""
    session_id = turn.session_id
    state.turns().pop(session_id, None)
    state.invalidate(f"messages-{session_id}", f"session-{session_id}")
    if session_id is None or turn.position is None:
        return
    attempt(partial(_answer_again, session_id, turn.position))


def _answer_again(session_id: str, position: int) -> None:
    history = state.client().recent_messages(session_id)
    failed = next(item for item in history.items if item["position"] == position + 1)
    again = Turn.again(state.client(), user_id=state.user_id(), message=failed, how="retry")
    state.turns()[session_id] = again
    again.start()


def _waiting_words(turn: Turn) -> str:
    if turn.searched:
        return "Writing …"
    return "Searching your documents …" if turn.accepted else "Sending …"
