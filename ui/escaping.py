"""Makes text from documents, names and answers safe to show.

Bodies go through `st.text`, which parses nothing. Streamlit parses labels (buttons, expanders,
alerts, headings) as Markdown, so this module escapes them.
"""

import re

# A backslash escapes any ASCII punctuation (CommonMark 0.31, 2.4). Streamlit's directives,
# emoji codes and formulas start with such a character too.
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# GitHub's Markdown links bare addresses, even with escapes. A character inside prevents it.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_WORD_JOINER = "\u2060"  # has no width
_LINE_END = re.compile(r"(?<!\n)[ \t]*\r?\n(?![ \t]*\n)[ \t]*")
# Control characters, and marks that make a name look like another (Unicode TR 36, 3.2).
_DECEIVING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def one_line(text: str, *, limit: int = 120) -> str:
    """Return `text` for a list: one line of at most `limit` characters."""
    line = " ".join(_DECEIVING.sub(" ", text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def label(text: str, *, limit: int = 120) -> str:
    """Return `one_line` as Markdown that shows exactly its characters."""
    return _PUNCTUATION.sub(r"\\\1", _ADDRESS.sub(_WORD_JOINER, one_line(text, limit=limit)))


def join_lines(text: str) -> str:
    """Join the lines of a quote from a page. Empty lines stay."""
    return _LINE_END.sub(" ", text)
