"""Raw page text to the text that is stored, searched and quoted. Pure and linear.

Text is brought to NFC, not NFKC: NFKC would turn m² into m2 and ½ into 1⁄2, and
a quote would no longer read as the page does. What only typesetting put there
is undone one by one: ligatures, Arabic presentation forms, Kangxi radicals
(all unfindable by whoever types the word), soft hyphens, hyphens at line ends.
"""

import re
import unicodedata

# pdfium puts U+FFFE (older: U+0002) where it joined a word broken at a line end.
_BREAK = r"(?:[\ufffe\x02]|\u00ad *\n|[-\u2010] *\n(?=[^\W\d_A-Z]))"
_BROKEN_WORD = re.compile(rf"(\w+){_BREAK}(\w+)")
_HAS_BREAK = re.compile(_BREAK)
# Control characters stand for a space more often than for nothing: fonts without a
# Unicode table give glyph numbers, and glyph 3 is the space.
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_DROPPED = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # zero width, direction marks
    "\ud800-\udfff\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]"  # surrogates, non-characters
)
# Alphabetic and Arabic presentation forms, Kangxi and CJK radicals.
_COMPATIBILITY = re.compile("[\ufb00-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\u2e80-\u2fd5]+")
_BULLETS = str.maketrans({"\uf0b7": "•", "\uf0a7": "▪", "\uf0d8": "➢", "\uf0fc": "✓"})
_SPACES = re.compile(r"[^\S\n]+")
_LINE_BREAKS = re.compile(r"\r\n?|[\u2028\u2029\x85\x0b\x0c]")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean_text(raw: str) -> str:
    """The text as stored: NFC, lines trimmed, blank lines single, words whole.

    Holds no control character but the newline, and no surrogate. Applying it
    again changes nothing.
    """
    text = _LINE_BREAKS.sub("\n", raw)
    text = _SPACES.sub(" ", text)
    text = join_broken_words(text)
    text = _CONTROLS.sub(" ", text)
    if not text.isascii():
        text = _DROPPED.sub("", text).translate(_BULLETS)
        text = _COMPATIBILITY.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        text = unicodedata.normalize("NFC", text)
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def join_broken_words(text: str) -> str:
    """Undo hyphenation at line ends: `infor-␤mation` becomes `information`.

    The hyphen stays where the page has the compound elsewhere (`wide-body`).
    """
    if not _HAS_BREAK.search(text):  # five times faster than to look behind each word
        return text
    compounds: set[str] | None = None

    def join(match: re.Match[str]) -> str:
        nonlocal compounds
        if compounds is None:
            compounds = set(re.findall(r"\w+-\w+", text.casefold()))
        compound = f"{match[1]}-{match[2]}"
        return compound if compound.casefold() in compounds else match[1] + match[2]

    return _BROKEN_WORD.sub(join, text)


def clean_line(raw: str) -> str:
    """A title as one clean line."""
    return " ".join(clean_text(raw).split())
