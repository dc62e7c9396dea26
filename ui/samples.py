"""The empty page: an introduction, and sample questions to try."""

import io
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from ui import library, state
from ui.alerts import attempt
from ui.api_client import ApiError, new_key

SAMPLE = Path(__file__).resolve().parent / "static" / "norrskar-lighthouse.pdf"
SAMPLE_NAME = "norrskar-lighthouse.pdf"
QUESTIONS = (
    "Who was the last keeper of the lighthouse?",
    "What does the lens float on?",
    "When was the lighthouse built?",
)


def welcome(ask: Callable[[str], None]) -> None:
    """Show the first steps, and with the sample document also questions to click."""
    with st.container(key="welcome", horizontal_alignment="center"):
        _welcome(ask)


def _welcome(ask: Callable[[str], None]) -> None:
    st.header("Ask your documents", anchor=False, text_alignment="center")
    st.text(
        "Answers come from your PDFs, with the page each statement is taken from.",
        text_alignment="center",
    )
    if not state.config().has_llm:
        st.caption(
            "No language model is connected: answers are quotes from your documents. "
            "CHAT_PROVIDER=openai with CHAT_BASE_URL and CHAT_MODEL connects one.",
            text_alignment="center",
        )
    try:
        documents = library.current()
    except ApiError:
        return  # the line at the top of the page says why
    if not documents:
        _first_steps()
    elif sample := next((item for item in documents if item["filename"] == SAMPLE_NAME), None):
        _sample_questions(ask, is_ready=sample["status"] == "ready")
    else:
        st.text("Type a question below to start a conversation.", text_alignment="center")


def _first_steps() -> None:
    with st.container(border=True, key="first_steps"):
        st.markdown(":material/upload_file: Drop PDFs on this page, or add them with + below.")
        st.markdown(":material/hourglass_top: Wait for their bars: a short file takes seconds.")
        st.markdown(":material/chat: Ask a question, and click on a citation to see its page.")
    if SAMPLE.exists():
        st.button(
            "Try it with a sample document",
            icon=":material/lightbulb:",
            key="sample",
            on_click=attempt,
            args=(_add_sample,),
        )


def _add_sample() -> None:
    sent = state.client().upload_document(
        io.BytesIO(SAMPLE.read_bytes()),
        filename=SAMPLE_NAME,
        user_id=state.user_id(),
        key=new_key(),
    )
    state.watcher().put(sent.document | {"job": sent.job})
    state.invalidate("documents")


def _sample_questions(ask: Callable[[str], None], *, is_ready: bool) -> None:
    st.caption("Some questions about the sample document:", text_alignment="center")
    with st.container(key="sample_questions", horizontal_alignment="center", gap="xsmall"):
        for number, question in enumerate(QUESTIONS):
            st.button(
                question,
                key=f"sample-{number}",
                on_click=ask,
                args=(question,),
                disabled=not is_ready,
            )
