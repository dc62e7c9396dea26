"""The chat page: `streamlit run ui/app.py`."""

from pathlib import Path

import streamlit as st

from ui import conversation, conversations, library, state
from ui.alerts import guarded

# A file of ours: Streamlit's named icons are fetched from a font server for the tab.
_ICON = str(Path(__file__).with_name("icon.png"))
# Fixed text, no data. Wide buttons centre their labels, those with an icon need none that
# is seen (but one that is read out), and a sidebar begins far down.
_STYLE = """<style>
.st-key-conversations button { padding: 0.4rem; }
.st-key-conversations button, .st-key-conversations button * { justify-content: flex-start; }
.st-key-conversations button { text-align: left; }
.st-key-documents button { min-height: 1.5rem; width: 1.5rem; padding: 0; }
.st-key-documents [data-testid="stProgress"] p { font-size: 0.8rem; }
.st-key-toolbar button p, .st-key-documents button p { position: absolute; clip-path: inset(50%); }
.st-key-documents [data-testid="stText"] { font-size: 0.9rem; font-weight: 600; }
[data-testid="stText"] { white-space: pre-wrap; overflow-wrap: anywhere; }
.st-key-favorite-on [data-testid="stIconMaterial"],
[class*="st-key-open-star-"] [data-testid="stIconMaterial"] {
  color: #c98a00; font-variation-settings: "FILL" 1;
}
[data-testid="stSidebarHeader"] { height: 2.75rem; margin-bottom: 0; }
[data-testid="stMainBlockContainer"] { padding-top: 3.5rem; }
</style>"""


def main() -> None:
    st.set_page_config(
        page_title="Ask your documents",
        page_icon=_ICON,
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
    st.subheader("Documents", anchor=False)
    library.show()


main()
