"""Shows errors to the user: plain words and the request's id, never a traceback."""

import logging
from collections.abc import Callable

import streamlit as st

from ui import trouble
from ui.api_client import ApiError
from ui.escaping import label
from ui.wording import error_text

log = logging.getLogger(__name__)


def show_error(error: ApiError) -> None:
    """Show a box with the error, and the request's id to quote in a request for help."""
    text = label(error_text(error), limit=400)
    if error.request_id:
        text += f"  \n:small[Request {label(error.request_id)}]"
    st.error(text, icon=":material/error:")


def guarded(draw: Callable[[], None], *, name: str, says_missing: bool = True) -> None:
    """Draw one part of the page; an error in it does not affect the other parts.

    A transient error is shown by the line at the top of the page, which tries again by itself.
    With `says_missing`, a caption also says that this part is missing. Streamlit's control flow
    (reruns, stops) is not an `Exception` and passes through.
    """
    try:
        draw()
    except ApiError as error:
        if trouble.is_transient(error):
            trouble.record(error)
            if says_missing:
                st.caption(f"{name} cannot be shown right now.")
        else:
            show_error(error)
    except Exception:
        log.exception("A part of the page could not be drawn.")
        st.error(f"{name} could not be drawn. Please reload the page.", icon=":material/error:")


def attempt(action: Callable[[], object]) -> None:
    """Run `action` in a widget's callback. `show_flash` shows its error in this run."""
    try:
        action()
    except ApiError as error:
        st.session_state["_flash"] = error


def show_flash() -> None:
    if error := st.session_state.pop("_flash", None):
        show_error(error)
