"""What the page remembers between two runs of its script."""

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from ui.api_client import ApiClient
from ui.config import Config, read_config
from ui.turn import Turn

T = TypeVar("T")

DEFAULT_USER = "demo"
# Each read counts against the key's rate limit, and each click runs the script.
REMEMBER_SECONDS = 20.0


@st.cache_resource
def config() -> Config:
    return read_config()


@st.cache_resource
def client() -> ApiClient:
    return ApiClient(config())


def remembered(name: str, load: Callable[[], T]) -> T:
    """`load()`, or what it gave less than 20 s ago under this name."""
    memory: dict[str, tuple[float, Any]] = st.session_state.setdefault("_memory", {})
    found = memory.get(name)
    if found is None or time.monotonic() - found[0] > REMEMBER_SECONDS:
        found = memory[name] = (time.monotonic(), load())
    return found[1]


def forget(*names: str) -> None:
    """Have all whose names begin like these read again; without a name, everything."""
    memory: dict[str, Any] = st.session_state.setdefault("_memory", {})
    for name in tuple(memory):
        if not names or name.startswith(names):
            del memory[name]


def user_id() -> str:
    return st.session_state.get("user_id") or st.query_params.get("user") or DEFAULT_USER


def set_user(user: str, *, session_id: str | None = None) -> None:
    """Become `user`, in this conversation of theirs or in none."""
    st.session_state["user_id"] = user
    open_session(session_id)
    if user == DEFAULT_USER:
        st.query_params.pop("user", None)
    else:
        st.query_params["user"] = user
    forget()


def session_id() -> str | None:
    """The open conversation: it stands in the address, so a reload keeps it."""
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


def jobs() -> dict[str, Any]:
    """Jobs by id, as last seen."""
    return st.session_state.setdefault("_jobs", {})  # type: ignore[no-any-return]
