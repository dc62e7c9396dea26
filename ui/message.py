"""Shows one stored message, and the actions on it."""

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui import state
from ui.alerts import attempt
from ui.api_client import Json, new_key
from ui.citations import open_citation
from ui.dialogs import close_dialog, dialog, open_dialog
from ui.escaping import label, one_line
from ui.markdown import safe_markdown
from ui.turn import Turn
from ui.wording import page_text

AVATARS = {"user": ":material/person:", "assistant": ":material/auto_stories:"}
EXTRACTIVE = "extractive"


def show_message(message: Json, *, is_last: bool, is_last_question: bool) -> None:
    sender = message["sender"]
    name = "user" if sender == "user" else "assistant"
    with st.chat_message(name, avatar=AVATARS.get(sender, ":material/info:")):
        if sender == "assistant":
            _show_answer(message, is_last=is_last)
        else:
            with show_question(message["id"], message["content"]):
                if is_last_question:
                    _icon_button(
                        "Edit",
                        ":material/edit:",
                        key=f"edit-{message['id']}",
                        on_click=open_dialog,
                        args=(_edit, message),
                    )


def show_question(message_id: str, text: str) -> DeltaGenerator:
    """Show a question's text; return the line, so that a button can be added."""
    line = st.container(key=f"question-{message_id}", horizontal=True, wrap=False)
    line.text(text)
    return line


def show_text(message_id: str, text: str, passages: list[Json]) -> None:
    """Show an answer's text. Its citations can be clicked (see ui/enhance.js)."""
    indexes = [passage.get("index") or number for number, passage in enumerate(passages, start=1)]
    with st.container(key=f"answer-{message_id}"):
        st.markdown(safe_markdown(text, citations=indexes), anchors=False)


def _show_answer(message: Json, *, is_last: bool) -> None:
    passages = message.get("retrieved_context") or []
    if message["content"]:
        show_text(message["id"], message["content"], passages)
    _show_end(message)
    show_sources(message["id"], passages)
    _actions(message, is_last=is_last)


def _show_end(message: Json) -> None:
    """Show why an answer is incomplete."""
    if message.get("finish_reason") == "cancelled":
        st.caption("You stopped this answer.")
    elif message["status"] == "interrupted":
        st.caption(":orange[This answer was interrupted.]")
    elif message["status"] == "failed":
        st.caption(":red[This answer could not be finished.]")
    elif message.get("finish_reason") == "length":
        st.caption(":orange[The model reached its limit; the answer may be cut off.]")


def show_sources(message_id: str, passages: list[Json]) -> None:
    """Show a button per cited passage."""
    if not passages:
        return
    with st.container(key=f"sources-{message_id}", horizontal=True, gap="xsmall"):
        for number, passage in enumerate(passages, start=1):
            index = passage.get("index") or number
            source = one_line(passage.get("filename") or "Passage", limit=40)
            where = " · ".join(filter(None, [f"[{index}] {source}", page_text(passage)]))
            st.button(
                label(where),
                key=f"source-{message_id}-{number}",
                on_click=open_citation,
                args=(message_id, index),
            )


def _actions(message: Json, *, is_last: bool) -> None:
    message_id = message["id"]
    with st.container(
        key=f"toolbar-{message_id}", horizontal=True, vertical_alignment="center", gap="xxsmall"
    ):
        _icon_button("Copy", ":material/content_copy:", key=f"copy-{message_id}")
        _rating(message)
        if is_last:
            how = "retry" if message["status"] in ("failed", "interrupted") else "regenerate"
            words = "Try again" if how == "retry" else "Write another answer"
            if message.get("finish_reason") == "cancelled":
                how = "regenerate"
            _icon_button(
                words,
                ":material/refresh:",
                key=f"again-{message_id}",
                on_click=_answer_again,
                args=(message, how),
            )
        _alternatives(message)
        _model(message)


def _icon_button(words: str, icon: str, *, key: str, **options: object) -> bool:
    """Show a button with an icon; screen readers read `words`."""
    return st.button(words, icon=icon, key=key, type="tertiary", help=words, **options)  # type: ignore[arg-type]


def is_extractive(message: Json) -> bool:
    """Whether the answer is quotes from documents, made without a language model."""
    return str(message.get("model") or "").startswith(EXTRACTIVE)


def _model(message: Json) -> None:
    model = message.get("model")
    if model and not is_extractive(message):
        st.caption(label(model, limit=60), width="content")


def _answer_again(message: Json, how: str) -> None:
    turn = Turn.again(state.client(), user_id=state.user_id(), message=message, how=how)
    state.turns()[message["session_id"]] = turn
    turn.start()


def _rating(message: Json) -> None:
    given = (message.get("feedback") or {}).get("rating")
    key = f"rating-{message['id']}"
    st.feedback(
        "thumbs",
        key=key,
        default={"up": 1, "down": 0}.get(str(given)),
        on_change=_rate,
        args=(message, key),
    )


def _rate(message: Json, key: str) -> None:
    rating = {1: "up", 0: "down"}.get(st.session_state.get(key))  # type: ignore[arg-type]
    attempt(partial(state.client().rate, message["id"], rating=rating))
    if rating == "down":
        open_dialog(_comment, message, rating)
    elif rating:
        st.toast("Thank you.")
    state.invalidate(f"messages-{message['session_id']}")


@dialog("What was wrong with this answer?")
def _comment(message: Json, rating: str) -> None:
    with st.form("comment_form", border=False):
        comment = st.text_area("Comment", max_chars=2000, label_visibility="collapsed")
        with st.container(horizontal=True):
            send = st.form_submit_button("Send", type="primary", key="send_comment")
            skip = st.form_submit_button("Cancel", key="skip_comment")
    if send and comment.strip():
        rate = partial(state.client().rate, message["id"], rating=rating, comment=comment.strip())
        attempt(rate)
        state.invalidate(f"messages-{message['session_id']}")
    if send or skip:
        close_dialog()


def _alternatives(message: Json) -> None:
    """Show arrows to step through the answers to one question; the chosen one becomes current."""
    others = list(message.get("alternatives") or [])
    if not others:
        return
    ids = sorted({*others, message["id"]})  # UUIDv7 sorts by time
    at = ids.index(message["id"])
    for step, words, icon in (
        (-1, "Earlier answer", ":material/chevron_left:"),
        (1, "Later answer", ":material/chevron_right:"),
    ):
        if step > 0:
            st.caption(f"{at + 1}/{len(ids)}", width="content")
        target = ids[at + step] if 0 <= at + step < len(ids) else None
        st.button(
            words,
            icon=icon,
            key=f"answer{step}-{message['id']}",
            type="tertiary",
            help=words,
            disabled=target is None,
            on_click=_select,
            args=(message["session_id"], target),
        )


def _select(session_id: str, message_id: str) -> None:
    attempt(partial(state.client().select_answer, message_id, key=new_key()))
    state.invalidate(f"messages-{session_id}")


@dialog("Change the question")
def _edit(message: Json) -> None:
    with st.form("edit_form", border=False):
        content = st.text_area("Question", value=message["content"], label_visibility="collapsed")
        with st.container(horizontal=True):
            send = st.form_submit_button("Send", type="primary", key="send_edit")
            cancel = st.form_submit_button("Cancel", key="cancel_edit")
    if send and content.strip():
        turn = Turn.edit(
            state.client(), user_id=state.user_id(), message=message, content=content.strip()
        )
        state.turns()[message["session_id"]] = turn
        turn.start()
    if cancel or (send and content.strip()):
        close_dialog()
