"""Which engine's text a page gets. Pure; the numbers behind it are in ADR 0002.

pdfium reads a page some ten times faster and as a rule better. Where its text
shows faults that pypdf is known not to make, pypdf reads the page too, and the
text with fewer faults stands. Decided by the page alone: no other page, and no
earlier call, has a say.
"""

import re
from collections.abc import Mapping

# Two words run together where a narrow space was overlooked: ofState, CivilSociety.
_GLUED = re.compile(r"\b([A-Za-z][a-z]+)([A-Z][a-z]{2,})")
_WORD = re.compile(r"\b[A-Za-z][a-z]+\b")
_FAULTS = (
    # The ligature lam-alef read backwards: no Arabic word begins alef, alef with hamza, lam.
    re.compile(r"\bا[إأآ]ل"),
    # Letters that only end a word, at the beginning of one: text in visual order.
    re.compile(r"\b(?:ة[\u0621-\u064a]|[ךםןףץ][\u05d0-\u05ea])"),
    # Letters of two alphabets in one word: a wrong character map.
    re.compile(
        r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff][\u0370-\u04ff]+[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"
    ),
    re.compile(r"[\u0370-\u03ff][\u0400-\u04ff]|[\u0400-\u04ff][\u0370-\u03ff]"),
)
_UNKNOWN = re.compile("[\ufffd\ue000-\uefff\x00-\x01\x03-\x08\x0e-\x1f\x7f-\x9f]")
_MAX_UNKNOWN_SHARE = 0.01
_SPACE = re.compile(r"\s+")
# A second text must not buy its fewer faults with gaps.
_MIN_CHARS_SHARE = 0.95
_MIN_WORDS_SHARE = 0.97


def count_faults(text: str) -> int:
    """How often the text shows what only a misread page shows; 0 for a sound one."""
    faults = _count_glued(text)
    if not text.isascii():  # which all but glued words need
        faults += sum(len(pattern.findall(text)) for pattern in _FAULTS)
    unknown = len(_UNKNOWN.findall(text))
    return faults + (unknown if unknown > _MAX_UNKNOWN_SHARE * len(text) else 0)


def _count_glued(text: str) -> int:
    """Pairs that the page also has apart; otherwise it is a name, as PayPal or SodaStream."""
    pairs = set(_GLUED.findall(text))
    if not pairs:
        return 0
    words = {word.casefold() for word in _WORD.findall(text)}
    return sum(one.casefold() in words and two.casefold() in words for one, two in pairs)


def wants_second_reading(pdfium_text: str | None) -> bool:
    """Whether pypdf is asked too: pdfium failed (None), or its text has faults."""
    return pdfium_text is None or count_faults(pdfium_text) > 0


def choose(texts: Mapping[str, str | None]) -> str:
    """The engine whose text stands; `texts` holds those that were asked, None for a failure."""
    ours, other = texts.get("pdfium"), texts.get("pypdf")
    if other is None:
        return "pdfium" if "pdfium" in texts else "pypdf"
    if ours is None:
        return "pypdf"
    better = count_faults(other) < count_faults(ours) and _is_complete(other, ours)
    return "pypdf" if better else "pdfium"


def _is_complete(text: str, measure: str) -> bool:
    chars, measured = (len(_SPACE.sub("", part)) for part in (text, measure))
    if chars < _MIN_CHARS_SHARE * measured:
        return False
    return len(text.split()) >= _MIN_WORDS_SHARE * len(measure.split())
