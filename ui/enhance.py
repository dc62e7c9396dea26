"""Adds to the page what Streamlit lacks, by a small script (enhance.js)."""

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from ui.citations import open_citation

_NAME = "rag_chat_enhance"


@st.cache_resource
def _component():  # type: ignore[no-untyped-def]  # Streamlit gives its renderer no public type
    script = Path(__file__).with_name("enhance.js").read_text("utf-8")
    return st.components.v2.component(_NAME, js=script)


def enhance(texts: Mapping[str, str]) -> None:
    """Make citations, copying, dropping files, drafts and the sidebar on phones work.

    `texts` maps message ids to the texts for the copy buttons. A click on a citation opens it
    in the next run.
    """
    _component()(key="enhance", data={"texts": dict(texts)}, on_citation_change=_open)


def _open() -> None:
    chosen = (st.session_state.get("enhance") or {}).get("citation") or {}
    if chosen.get("message") and chosen.get("index"):
        open_citation(str(chosen["message"]), int(chosen["index"]))
