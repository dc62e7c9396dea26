"""Words that a line end breaks somewhere in a document, as the document writes them elsewhere.

`wide-` at the end of a line and `body` on the next may be *wide-body* or *widebody*. Another
page may have the word within a line.
"""

import re
from collections import Counter
from collections.abc import Iterable

from core.pdf.cleaning import BROKEN_WORD, has_hyphen, unify_spaces

MAX_WORDS = 2000
_MAX_BREAKS = 20_000
_MAX_COUNTED = 200_000  # different words; a document with more is not made of words
_WORD = re.compile(r"\w+(?:-\w+)*")


def find_known_words(texts: Iterable[str]) -> list[str]:
    """In lower case, the words among `texts`' broken ones that are not joined as usual.

    `texts` are raw texts of pages. A word that is elsewhere as often with its hyphen as without
    has the hyphen.
    """
    breaks: dict[tuple[str, str], None] = {}
    counts: Counter[str] = Counter()
    for raw in texts:
        text = unify_spaces(raw)
        for match in BROKEN_WORD.finditer(text):
            if match["break"][0] != "\u00ad" and len(breaks) < _MAX_BREAKS:
                breaks.setdefault((match["head"], match["tail"]))
        if len(counts) < _MAX_COUNTED:
            counts.update(_WORD.findall(BROKEN_WORD.sub(" ", text).casefold()))
    known = (_known_word(head, tail, counts) for head, tail in breaks)
    return list(dict.fromkeys(word for word in known if word))[:MAX_WORDS]


def _known_word(head: str, tail: str, counts: Counter[str]) -> str:
    """The word as it is elsewhere; empty if that is how `clean_text` writes it anyway."""
    whole, hyphenated = f"{head}{tail}".casefold(), f"{head}-{tail}".casefold()
    usual = has_hyphen(head, tail)
    if counts[hyphenated] >= max(1, counts[whole]):
        return "" if usual else hyphenated
    # A hyphen between digits is never dropped: `12-5` is not the number 125 of another page.
    return whole if counts[whole] and usual and whole.isalpha() else ""
