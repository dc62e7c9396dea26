"""The chat page: `streamlit run ui/app.py`."""

from pathlib import Path

import streamlit as st

from ui import conversation, conversations, library, login, state, trouble
from ui.alerts import guarded

# A file of ours: Streamlit's named icons are fetched from a font server for the tab.
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
    guarded(conversations.show_dialog, name="The dialog")
    guarded(library.show_dialog, name="The dialog")
    with trouble_line:
        trouble.show()


def _sidebar() -> None:
    login.show_user()
    if not state.config().api_key:
        st.warning("API_KEY is not set: the service will refuse this page.")
    chats, documents = st.tabs(["Conversations", "Documents"])
    with chats:
        guarded(conversations.show, name="The list of conversations")
    with documents:
        guarded(library.show, name="The list of documents")
    st.caption(f"[Queue](http://127.0.0.1:{state.config().flower_port}) · for operators")


main()
