"""Turns raw page text into the text that is stored, searched and quoted. Pure, linear time.

Text is normalised to NFC, not NFKC: NFKC turns m² into m2 and ½ into 1⁄2, so a quote
would differ from the page. Typographic forms that keep a word from being found are
replaced one by one: ligatures, Arabic presentation forms, Kangxi radicals, soft hyphens,
hyphens at line ends.
"""

import re
import unicodedata
from collections.abc import Collection

# pdfium writes U+FFFE (older versions: U+0002) where it joined a word broken at a line end.
_BREAK = r"(?P<break>[\ufffe\x02]|\u00ad *\n|[-\u2010] *\n)"
# Possessive: a search that gives back letters of a word is quadratic in the word's length.
BROKEN_WORD = re.compile(rf"\b(?P<head>\w++){_BREAK}(?P<tail>[^\W_]\w*)")
HAS_BREAK = re.compile(_BREAK)
_COMPOUND = re.compile(r"\w+(?:-\w+)+")
# Parts of words that always have a hyphen, wherever the line ends.
_HYPHENATED_HEADS = frozenset(
    ("self", "non", "ex", "all", "half", "quasi", "of", "the", "to", "and", "by", "at")
)
_HYPHENATED_TAILS = frozenset(
    ("based", "related", "term", "owned", "led", "driven", "specific", "friendly", "old")
)
_MIN_CAPITALS = 8  # letters; a shorter word in capitals keeps its hyphen: INFOR-MATION, EU-USA
# A control character is usually a space: fonts without a Unicode table yield glyph
# numbers, and glyph 3 is the space.
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_DROPPED = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # zero width, direction marks
    "\ud800-\udfff\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]"  # surrogates, non-characters
)
# Alphabetic and Arabic presentation forms, Kangxi and CJK radicals.
_COMPATIBILITY = re.compile("[\ufb00-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\u2e80-\u2fd5]+")
_BULLETS = {"\uf0b7": "•", "\uf0a7": "▪", "\uf0d8": "➢", "\uf0fc": "✓"}
_BULLET = re.compile("[\uf0a7\uf0b7\uf0d8\uf0fc]")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")  # not single spaces, which are already right
_LINE_BREAKS = re.compile(r"\r\n?|[\u2028\u2029\x85\x0b\x0c]")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean_text(raw: str, *, known_words: Collection[str] = ()) -> str:
    """The text as it is stored: NFC, trimmed lines, single blank lines, joined words.

    It has no surrogates, and no control characters except newlines. The function is
    idempotent. `known_words` are those of `core.pdf.known_words`.
    """
    is_plain = raw.replace("\n", " ").isprintable()  # has no controls and no special spaces
    text = join_broken_words(raw if is_plain else unify_spaces(raw), known_words)
    if not is_plain:
        text = _CONTROLS.sub(" ", text)
        text = _BULLET.sub(lambda match: _BULLETS[match[0]], _DROPPED.sub("", text))
    if not text.isascii():
        text = _COMPATIBILITY.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        text = unicodedata.normalize("NFC", text)
        is_plain = is_plain and text.replace("\n", " ").isprintable()
    if not is_plain or any(spaces in text for spaces in ("  ", " \n", "\n ")):
        text = "\n".join(" ".join(line.split()) for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", text).strip()


def unify_spaces(raw: str) -> str:
    """The text with `\\n` as its only line break and single spaces."""
    return _SPACES.sub(" ", _LINE_BREAKS.sub("\n", raw))


def join_broken_words(text: str, known_words: Collection[str] = ()) -> str:
    """Undo hyphenation at line ends: `infor-␤mation` becomes `information`.

    The hyphen stays if it is part of the word: beside a digit or a capital (`COVID-19`,
    `non-EU`), in a word that has its hyphen elsewhere on the page or in the document
    (`wide-body`), or beside a part that usually has a hyphen (`self-employed`, `long-term`).
    """
    if not HAS_BREAK.search(text):  # five times faster than a search after each word
        return text
    folded = text.casefold()
    compounds: set[str] | None = None

    def is_compound(word: str) -> bool:
        nonlocal compounds
        if word not in folded:  # most are not, and a search for all compounds is slow
            return False
        if compounds is None:
            compounds = set(_COMPOUND.findall(folded))
        return word in compounds

    def join(match: re.Match[str]) -> str:
        head, tail = match["head"], match["tail"]
        hyphenated = f"{head}-{tail}"
        if is_compound(hyphenated.casefold()) or hyphenated.casefold() in known_words:
            return hyphenated
        if match["break"][0] == "\u00ad":  # a soft hyphen is never part of the word
            return head + tail
        if (head + tail).casefold() in known_words:
            return head + tail
        return hyphenated if has_hyphen(head, tail) else head + tail

    return BROKEN_WORD.sub(join, text)


def has_hyphen(head: str, tail: str) -> bool:
    """Whether the hyphen at a line end is part of the word, as far as its two parts tell."""
    if (head + tail).isalpha() and head.isupper() and tail.isupper():
        return len(head + tail) < _MIN_CAPITALS
    beside = head[-1] + tail[0]
    if any(char.isdigit() or char.isupper() for char in beside) or len(head) == 1:
        return True
    return head.casefold() in _HYPHENATED_HEADS or tail.casefold() in _HYPHENATED_TAILS


def clean_line(raw: str) -> str:
    """A title as one clean line."""
    return " ".join(clean_text(raw).split())
