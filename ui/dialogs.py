"""Dialogs, and whether one may be open.

Streamlit closes a dialog when the whole script runs again. The page must not do that by itself
for a small thing while somebody writes in a dialog.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import streamlit as st

# Closing a dialog by its cross runs no script, so after this time it counts as closed.
OPEN_SECONDS = 60.0


def dialog(
    title: str, *, width: Literal["small", "medium", "large"] = "small"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`st.dialog`, but `may_be_open` knows about it."""

    def decorate(draw: Callable[..., None]) -> Callable[..., None]:
        @wraps(draw)
        def noted(*args: Any, **options: Any) -> None:
            st.session_state["_dialog_at"] = time.monotonic()
            draw(*args, **options)

        return st.dialog(title, width=width)(noted)

    return decorate


def note_run() -> None:
    """Note that the whole script runs, which closes a dialog unless it is drawn again."""
    st.session_state.pop("_dialog_at", None)


def may_be_open() -> bool:
    """Whether a dialog was drawn since the last run of the whole script, and lately."""
    drawn_at = st.session_state.get("_dialog_at")
    return drawn_at is not None and time.monotonic() - drawn_at < OPEN_SECONDS
