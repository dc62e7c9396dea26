"""Text from documents, names and answers, made harmless to show.

Bodies go through `st.text`, which parses nothing. Labels (buttons, expanders,
alerts, headings) are Markdown to Streamlit, so what they hold is escaped here.
"""

import re

# A backslash takes the meaning from any ASCII punctuation (CommonMark 0.31, 2.4);
# Streamlit's own directives, emoji codes and formulas start with such a character too.
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# GitHub's Markdown links bare addresses, escaped or not, unless something stands inside.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_WORD_JOINER = "\u2060"  # of no width
_LINE_END = re.compile(r"(?<!\n)[ \t]*\r?\n(?![ \t]*\n)[ \t]*")
# Controls, and marks that let a name read otherwise than it is written (Unicode TR 36, 3.2).
_DECEIVING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def one_line(text: str, *, limit: int = 120) -> str:
    """`text` as it can stand in a list: one line of at most `limit` characters."""
    line = " ".join(_DECEIVING.sub(" ", text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def label(text: str, *, limit: int = 120) -> str:
    """`one_line`, as Markdown that shows exactly these characters and does nothing."""
    return _PUNCTUATION.sub(r"\\\1", _ADDRESS.sub(_WORD_JOINER, one_line(text, limit=limit)))


def unwrapped(text: str) -> str:
    """A quote without the line ends that its page gave it; empty lines stay."""
    return _LINE_END.sub(" ", text)
