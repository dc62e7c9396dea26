"""A service that does not answer, or not now: said in one place, with a countdown."""

import time
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from ui.api_client import ApiError
from ui.escaping import label
from ui.wording import error_text

T = TypeVar("T")

# How long to wait before trying again, in seconds, where the service does not say.
_WAIT = 5.0
_WAIT_FOR_KEY = 30.0
_TRANSIENT_CODES = ("unreachable", "no_answer", "broken_off", "unexpected")


def is_passing(error: ApiError) -> bool:
    """Whether the same request may succeed later."""
    status = error.status or 0
    return error.code in _TRANSIENT_CODES or status in (401, 403, 429) or status >= 500


def note(error: ApiError) -> None:
    """Remember that the service is in trouble, until the time to try again."""
    if is_passing(error):
        wait = _WAIT_FOR_KEY if error.status in (401, 403) else error.retry_after or _WAIT
        st.session_state["_trouble"] = (error, time.monotonic() + wait)


def watched(load: Callable[[], T]) -> T:
    """`load()`, unless the service asked to be left alone: then its last error. Raises ApiError."""
    known = st.session_state.get("_trouble")
    if known is not None and time.monotonic() < known[1]:
        raise known[0]
    try:
        loaded = load()
    except ApiError as error:
        note(error)
        raise
    st.session_state.pop("_trouble", None)
    return loaded


def show(*, forget: Callable[[], None]) -> None:
    """One line with a countdown, while there is trouble; then the page is read and drawn anew.

    `forget` has everything read again, which tells whether the trouble is over.
    """
    if "_trouble" in st.session_state:
        st.fragment(_countdown, run_every=1.0)(forget)


def _countdown(forget: Callable[[], None]) -> None:
    known = st.session_state.get("_trouble")
    if known is None:
        return
    error, until = known
    left = until - time.monotonic()
    if left <= 0:
        _try_again(forget)
    text = label(error_text(error), limit=400)
    request = f" Request {label(error.request_id)}." if error.request_id else ""
    with st.container(
        key="trouble", horizontal=True, vertical_alignment="center", border=True, wrap=False
    ):
        st.markdown(f":material/cloud_off: {text} :small[Trying again in {left:.0f} s.{request}]")
        if st.button("Try again", key="try_now", icon=":material/refresh:"):
            _try_again(forget)


def _try_again(forget: Callable[[], None]) -> None:
    st.session_state.pop("_trouble", None)
    forget()
    st.rerun()
