"""The chat page: `streamlit run ui/app.py`."""

import streamlit as st

from ui import conversation, conversations, library, state
from ui.alerts import guarded

# Fixed text, no data: Streamlit centres the labels of wide buttons.
_STYLE = """<style>
.st-key-conversations button { justify-content: flex-start; text-align: left; }
.st-key-documents [data-testid="stText"] { font-weight: 600; overflow-wrap: anywhere; }
[data-testid="stText"] { white-space: pre-wrap; overflow-wrap: anywhere; }
</style>"""


def main() -> None:
    st.set_page_config(
        page_title="Ask your documents",
        page_icon=":material/auto_stories:",
        menu_items={"Get help": None, "Report a bug": None, "About": None},
    )
    st.html(_STYLE)
    with st.sidebar:
        well = guarded(_sidebar)
    if well:
        guarded(conversation.show)


def _sidebar() -> None:
    if not state.config().api_key:
        st.warning("API_KEY is not set: the service will refuse this page.")
    conversations.show()
    st.subheader("Documents", anchor=False, divider="gray")
    library.show()


main()
