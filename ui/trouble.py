"""Shows in one place that the service is unavailable, with a countdown to the next try."""

import time
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from ui.api_client import ApiError
from ui.dialogs import redraw
from ui.escaping import label
from ui.wording import error_text

T = TypeVar("T")

# How long to wait before the next try, in seconds, if the service does not say.
_WAIT = 5.0
_WAIT_FOR_KEY = 30.0
_TRANSIENT_CODES = ("unreachable", "no_answer", "broken_off", "unexpected")


def is_transient(error: ApiError) -> bool:
    """Whether the same request may succeed later."""
    status = error.status or 0
    return error.code in _TRANSIENT_CODES or status in (401, 403, 429) or status >= 500


def record(error: ApiError) -> None:
    """Record a transient error, until the time of the next try."""
    if is_transient(error):
        wait = _WAIT_FOR_KEY if error.status in (401, 403) else error.retry_after or _WAIT
        st.session_state["_trouble"] = (error, time.monotonic() + wait)


def call(load: Callable[[], T]) -> T:
    """Call `load`, but raise the last error until the time of the next try. Raises ApiError."""
    known = st.session_state.get("_trouble")
    if known is not None and time.monotonic() < known[1]:
        raise known[0]
    try:
        loaded = load()
    except ApiError as error:
        record(error)
        raise
    st.session_state.pop("_trouble", None)
    return loaded


def show(*, invalidate: Callable[[], None]) -> None:
    """While the service is unavailable, show a line with a countdown, then load the page again.

    `invalidate` invalidates the cache, so that the next run calls the service again.
    """
    if "_trouble" in st.session_state:
        st.fragment(_countdown, run_every=1.0)(invalidate)


def _countdown(invalidate: Callable[[], None]) -> None:
    known = st.session_state.get("_trouble")
    if known is None:
        return
    error, until = known
    left = until - time.monotonic()
    if left <= 0:
        _try_again(invalidate)
    text = label(error_text(error), limit=400)
    request = f" Request {label(error.request_id)}." if error.request_id else ""
    with st.container(
        key="trouble", horizontal=True, vertical_alignment="center", border=True, wrap=False
    ):
        st.markdown(f":material/cloud_off: {text} :small[Trying again in {left:.0f} s.{request}]")
        if st.button("Try again", key="try_now", icon=":material/refresh:"):
            _try_again(invalidate)


def _try_again(invalidate: Callable[[], None]) -> None:
    st.session_state.pop("_trouble", None)
    invalidate()
    redraw()
