"""Errors as the user sees them: plain words and the request's id, never a traceback."""

import logging
from collections.abc import Callable

import streamlit as st

from ui.api_client import ApiError
from ui.escaping import label
from ui.wording import error_text

log = logging.getLogger(__name__)


def show_error(error: ApiError) -> None:
    """A box with what went wrong, and what to quote when asking for help."""
    text = label(error_text(error), limit=400)
    if error.request_id:
        text += f"  \n:small[Request {label(error.request_id)}]"
    st.error(text, icon=":material/error:")


def guarded(draw: Callable[[], None]) -> bool:
    """Run `draw`; what goes wrong is shown in its place. Whether all went well.

    Streamlit's own control flow (reruns, stops) is no `Exception` and passes through.
    """
    try:
        draw()
    except ApiError as error:
        show_error(error)
        st.button("Try again", icon=":material/refresh:", key=f"again-{draw.__module__}")
    except Exception:
        log.exception("The page could not be drawn.")
        st.error("Something went wrong on this page. Please reload it.", icon=":material/error:")
    else:
        return True
    return False


def attempt(action: Callable[[], object]) -> None:
    """Run `action` in a widget's callback; an error is shown by `show_flash` in this run."""
    try:
        action()
    except ApiError as error:
        st.session_state["_flash"] = error


def show_flash() -> None:
    if error := st.session_state.pop("_flash", None):
        show_error(error)
