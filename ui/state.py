"""The page's state between two runs of its script."""

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from ui import trouble
from ui.api_client import ApiClient, ApiError
from ui.config import Config, read_config
from ui.turn import Turn
from ui.watcher import Watcher

T = TypeVar("T")

DEFAULT_USER = "demo"
# The script runs at each click, and each read counts in the key's rate limit, so reads are
# cached. The page's own changes invalidate the cache; this time is for changes by others.
CACHE_SECONDS = 120.0


@st.cache_resource
def config() -> Config:
    return read_config()


@st.cache_resource
def client() -> ApiClient:
    return ApiClient(config())


def cached(name: str, load: Callable[[], T]) -> T:
    """Return the value cached under this name in the last two minutes, or call `load`.

    If loading fails, return the old value, whatever its age. Raises ApiError if there is none.
    """
    memory: dict[str, tuple[float, Any]] = st.session_state.setdefault("_memory", {})
    found = memory.get(name)
    if found is not None and time.monotonic() - found[0] <= CACHE_SECONDS:
        return found[1]  # type: ignore[no-any-return]
    try:
        loaded = trouble.call(load)
    except ApiError as error:
        if found is None or error.status == 404:
            raise
        return found[1]  # type: ignore[no-any-return]
    memory[name] = (time.monotonic(), loaded)
    return loaded


def put(name: str, value: object) -> None:
    """Store a value in the cache."""
    memory: dict[str, Any] = st.session_state.setdefault("_memory", {})
    memory[name] = (time.monotonic(), value)


def invalidate(*names: str) -> None:
    """Make the page load all values again whose names begin with these; without names, all."""
    memory: dict[str, tuple[float, Any]] = st.session_state.setdefault("_memory", {})
    for name, (_, value) in tuple(memory.items()):
        if not names:
            del memory[name]
        elif name.startswith(names):
            memory[name] = (float("-inf"), value)  # kept for the case that loading fails


def user_id() -> str:
    """Return the user whose conversations are shown."""
    if config().login == "oidc":
        return str(st.user.get("sub") or "")
    if config().login == "password":
        return str(st.session_state.get("user_id") or "")
    return st.session_state.get("user_id") or st.query_params.get("user") or DEFAULT_USER


def set_user(user: str, *, session_id: str | None = None) -> None:
    """Switch to `user`, and open the conversation `session_id` or none."""
    st.session_state["user_id"] = user
    open_session(session_id)
    if user == DEFAULT_USER or config().login != "none":
        st.query_params.pop("user", None)
    else:
        st.query_params["user"] = user
    invalidate()


def session_id() -> str | None:
    """Return the open conversation. It is in the page's URL, so a reload keeps it."""
    try:
        return str(uuid.UUID(st.query_params.get("session", "")))
    except ValueError:
        return None


def open_session(session: str | None) -> None:
    if session is None:
        st.query_params.pop("session", None)
    else:
        st.query_params["session"] = session


def turns() -> dict[str | None, Turn]:
    """Return each conversation's turn, while the turn or its error is shown."""
    return st.session_state.setdefault("_turns", {})  # type: ignore[no-any-return]


def watcher() -> Watcher:
    """Return the watcher, which has the latest state of documents in ingestion."""
    if "_watcher" not in st.session_state:
        st.session_state["_watcher"] = Watcher(client())
    return st.session_state["_watcher"]  # type: ignore[no-any-return]


def reset() -> None:
    """Clear the user's state when the user signs out."""
    for name in list(st.session_state):
        del st.session_state[name]
    st.query_params.clear()
