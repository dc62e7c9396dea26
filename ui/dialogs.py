"""The open dialog, of which Streamlit allows one at a time.

A run of the whole script takes an open dialog from the page, and the focus with it, and does not
bring it back by itself. So the open dialog stays in the page's state until the user closes it, and
the page runs its script by itself, for example when an answer ends, only while no dialog is open.
"""

from collections.abc import Callable
from typing import Any, Literal

import streamlit as st

_OPEN = "_open_dialog"


def dialog(
    title: str, *, width: Literal["small", "medium", "large"] = "small"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function that draws a dialog's content into one for `open_dialog`."""
    return st.dialog(title, width=width, on_dismiss=_forget)


def open_dialog(draw: Callable[..., None], *args: Any) -> None:
    """Open a dialog instead of the one that is open, if any. `show_dialog` draws it."""
    st.session_state[_OPEN] = (draw, args)


def is_open() -> bool:
    return _OPEN in st.session_state


def show_dialog() -> None:
    """Draw the open dialog, on each run of the whole script."""
    if is_open():
        draw, args = st.session_state[_OPEN]
        draw(*args)


def close_dialog() -> None:
    """Close the dialog from a button in it, and run the script again."""
    _forget()
    st.rerun()


def redraw() -> None:
    """Run the whole script again because something changed; the end of a dialog does that too."""
    if not is_open():
        st.rerun()


def _forget() -> None:
    st.session_state.pop(_OPEN, None)
