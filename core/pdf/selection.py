"""Chooses the engine whose text a page gets. Pure; ADR 0002 has the measurements.

pdfium reads a page some ten times faster than pypdf, and usually better. If its text
has faults that pypdf does not make, pypdf reads the page too, and the text with fewer
faults is used. The choice depends only on the page, not on other pages or earlier calls.
"""

import re
from collections.abc import Mapping

# Two words are joined because a narrow space was overlooked: ofState, CivilSociety.
_GLUED = re.compile(r"\b([A-Za-z][a-z]+)([A-Z][a-z]{2,})")
# The same without the beginning of the word. It starts with the capital, which is rare.
_MAY_BE_GLUED = re.compile(r"[A-Z](?<=[a-z][A-Z])[a-z]{2}")
_WORD = re.compile(r"\b[A-Za-z][a-z]+\b")
_FAULTS = (
    # A reversed lam-alef ligature: no Arabic word begins with alef, alef with hamza, lam.
    re.compile(r"\bا[إأآ]ل"),
    # A final letter at the beginning of a word: the text is in visual order.
    re.compile(r"\b(?:ة[\u0621-\u064a]|[ךםןףץ][\u05d0-\u05ea])"),
    # Letters of two alphabets in one word: the character map is wrong.
    re.compile(
        r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff][\u0370-\u04ff]+[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"
    ),
    re.compile(r"[\u0370-\u03ff][\u0400-\u04ff]|[\u0400-\u04ff][\u0370-\u03ff]"),
)
_ALPHABETS = re.compile("[\u0370-\u04ff\u0590-\u06ff]")  # those of the faults
_UNKNOWN = re.compile("[\ufffd\ue000-\uefff\x00-\x01\x03-\x08\x0e-\x1f\x7f-\x9f]")
_MAX_UNKNOWN_SHARE = 0.01
_SPACE = re.compile(r"\s+")
# A second text with fewer faults must not have gaps.
_MIN_CHARS_SHARE = 0.95
_MIN_WORDS_SHARE = 0.97
_MAX_NAMES = 2


def count_faults(text: str) -> int:
    """The number of faults that only a misread page has; 0 for a correct text."""
    faults = _count_glued(text)
    if _ALPHABETS.search(text):  # other texts can only have joined words
        faults += sum(len(pattern.findall(text)) for pattern in _FAULTS)
    may_be_unknown = not text.replace("\n", " ").isprintable() or "\ufffd" in text
    unknown = len(_UNKNOWN.findall(text)) if may_be_unknown else 0
    return faults + (unknown if unknown > _MAX_UNKNOWN_SHARE * len(text) else 0)


def _count_glued(text: str) -> int:
    """Joined words that are also on the page separately. Others are names, such as PayPal.

    One or two words in capitals may be names even then: InDesign.
    """
    # Faster than a search that begins at each word of the page.
    lines = {_line_at(text, found.start()) for found in _MAY_BE_GLUED.finditer(text)}
    pairs = {pair for line in lines for pair in _GLUED.findall(line)}
    if not pairs:
        return 0
    words = {word.casefold() for word in _WORD.findall(text)}
    glued = [pair for pair in pairs if all(part.casefold() in words for part in pair)]
    may_be_names = len(glued) <= _MAX_NAMES and all(first[0].isupper() for first, _ in glued)
    return 0 if may_be_names else len(glued)


def _line_at(text: str, place: int) -> str:
    """The line of the text with the character number `place`."""
    end = text.find("\n", place)
    return text[text.rfind("\n", 0, place) + 1 : end if end >= 0 else len(text)]


def wants_second_reading(pdfium_text: str | None) -> bool:
    """Whether pypdf should read the page too: pdfium failed (None), or its text has faults."""
    return pdfium_text is None or count_faults(pdfium_text) > 0


def choose(texts: Mapping[str, str | None]) -> str:
    """The engine whose text is used. `texts` are by engine, None for a failure."""
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
