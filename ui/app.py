"""The chat page: `streamlit run ui/app.py`."""

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

from ui import conversation, conversations, dialogs, library, login, state, trouble
from ui.alerts import guarded

# Our own file, because the browser loads Streamlit's named icons from a font server.
_HERE = Path(__file__).parent
_ICON = str(_HERE / "icon.png")


def main() -> None:
    st.set_page_config(
        page_title="Ask your documents",
        page_icon=_ICON,
        menu_items={"Get help": None, "Report a bug": None, "About": None},
    )
    st.html(f"<style>{(_HERE / 'page.css').read_text('utf-8')}</style>")
    if not login.is_known():
        return
    with st.sidebar:
        _sidebar()
    trouble_line = st.container()
    conversation.show_field()
    guarded(conversation.show, name="The conversation")
    guarded(dialogs.show_dialog, name="The dialog")
    with trouble_line:
        trouble.show(invalidate=partial(state.invalidate, ""))


def _sidebar() -> None:
    if not state.config().api_key:
        st.warning("API_KEY is not set: the service will refuse this page.")
    conversations.show_new_button()
    chats, documents = st.tabs(["Conversations", "Documents"])
    with chats:
        guarded(conversations.show, name="The list of conversations")
    with documents:
        guarded(library.show, name="The list of documents")
    with st.container(key="who"):
        login.show_user()
        _link_to_flower()


def _link_to_flower() -> None:
    """Link to Flower, except in production, where Flower may be closed."""
    config = state.config()
    if not config.is_production:
        host = urlsplit(st.context.url or "").hostname or "127.0.0.1"
        st.caption(f"[Flower: workers and queue](http://{host}:{config.flower_port})")


main()
