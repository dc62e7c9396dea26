"""What the page remembers between two runs of its script."""

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
# Each read counts against the key's rate limit, and each click runs the script. What the page
# itself changes is read again at once; this is for what others change.
REMEMBER_SECONDS = 120.0


@st.cache_resource
def config() -> Config:
    return read_config()


@st.cache_resource
def client() -> ApiClient:
    return ApiClient(config())


def remembered(name: str, load: Callable[[], T]) -> T:
    """`load()`, or what it gave less than two minutes ago under this name.

    When loading fails, what was loaded before is given, however old. Raises ApiError when
    there is nothing.
    """
    memory: dict[str, tuple[float, Any]] = st.session_state.setdefault("_memory", {})
    found = memory.get(name)
    if found is not None and time.monotonic() - found[0] <= REMEMBER_SECONDS:
        return found[1]  # type: ignore[no-any-return]
    try:
        loaded = trouble.watched(load)
    except ApiError as error:
        if found is None or error.status == 404:
            raise
        return found[1]  # type: ignore[no-any-return]
    memory[name] = (time.monotonic(), loaded)
    return loaded


def put(name: str, value: object) -> None:
    """Remember a value that came by another way."""
    memory: dict[str, Any] = st.session_state.setdefault("_memory", {})
    memory[name] = (time.monotonic(), value)


def forget(*names: str) -> None:
    """Have all whose names begin like these read again; without a name, everything."""
    memory: dict[str, tuple[float, Any]] = st.session_state.setdefault("_memory", {})
    for name, (_, value) in tuple(memory.items()):
        if not names:
            del memory[name]
        elif name.startswith(names):
            memory[name] = (float("-inf"), value)  # kept, should reading fail


def user_id() -> str:
    """The user whose conversations are shown."""
    if config().login == "oidc":
        return str(st.user.get("sub") or "")
    if config().login == "password":
        return str(st.session_state.get("user_id") or "")
    return st.session_state.get("user_id") or st.query_params.get("user") or DEFAULT_USER


def set_user(user: str, *, session_id: str | None = None) -> None:
    """Become `user`, in this conversation of theirs or in none."""
    st.session_state["user_id"] = user
    open_session(session_id)
    if user == DEFAULT_USER or config().login != "none":
        st.query_params.pop("user", None)
    else:
        st.query_params["user"] = user
    forget()


def session_id() -> str | None:
    """The open conversation. It is in the page's address, so a reload keeps it."""
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
    """The last question of each conversation, as long as it or its error is to be shown."""
    return st.session_state.setdefault("_turns", {})  # type: ignore[no-any-return]


def watcher() -> Watcher:
    """What is heard of documents while some of them are read in."""
    if "_watcher" not in st.session_state:
        st.session_state["_watcher"] = Watcher(client())
    return st.session_state["_watcher"]  # type: ignore[no-any-return]


def reset() -> None:
    """Forget everything about the user, at the end of a visit."""
    for name in list(st.session_state):
        del st.session_state[name]
    st.query_params.clear()
