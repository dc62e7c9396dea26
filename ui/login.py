"""Signs users in, by UI_LOGIN: with a typed name, a password, or an OpenID Connect provider."""

import hmac
import time

import streamlit as st

from ui import state

_WRONG_PASSWORD_SECONDS = 1.0  # slows down scripts that guess passwords


def is_known() -> bool:
    """Whether the user may see the page. If not, show the login instead."""
    config = state.config()
    if config.problem:
        st.header("This page is not set up", anchor=False)
        st.text(config.problem)
        return False
    if config.login == "oidc" and not st.user.is_logged_in:
        _oidc()
        return False
    if config.login == "password" and not st.session_state.get("_signed_in"):
        _password()
        return False
    return True


def show_user() -> None:
    """Show the user in the sidebar, with a way to sign out or change the name."""
    login = state.config().login
    if login == "none":
        st.session_state["user_field"] = state.user_id()
        st.text_input(
            "User",
            key="user_field",
            max_chars=100,
            on_change=_change_user,
            help="Conversations and documents belong to a user. Any name will do.",
        )
        return
    line = st.container(horizontal=True, vertical_alignment="center", wrap=False)
    name = st.user.get("name") or st.user.get("email") if login == "oidc" else None
    line.text(f"{name or state.user_id()}", width="stretch")
    line.button("Sign out", key="sign_out", type="tertiary", on_click=_sign_out)


def _oidc() -> None:
    st.header("Ask your documents", anchor=False)
    st.button("Sign in", type="primary", on_click=st.login, key="sign_in")


def _password() -> None:
    st.header("Ask your documents", anchor=False)
    with st.form("sign_in_form"):
        user = st.text_input("Your name", max_chars=100, autocomplete="username")
        password = st.text_input("Password", type="password", autocomplete="current-password")
        sent = st.form_submit_button("Sign in", type="primary")
    if not sent:
        return
    right = hmac.compare_digest(password.encode(), state.config().password.encode())
    if right and user.strip():
        st.session_state["_signed_in"] = True
        state.set_user(user.strip(), session_id=state.session_id())
        st.rerun()
    time.sleep(0 if right else _WRONG_PASSWORD_SECONDS)
    st.error("Please give your name." if right else "This password is wrong.")


def _sign_out() -> None:
    by_oidc = state.config().login == "oidc"
    state.reset()
    if by_oidc:
        st.logout()


def _change_user() -> None:
    state.set_user(st.session_state["user_field"].strip() or state.DEFAULT_USER)
