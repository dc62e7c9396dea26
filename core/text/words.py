"""Words of a text, for comparing question, passage and answer without an index."""

import re
import unicodedata
from functools import lru_cache

# Scripts written without spaces, whose words are single characters: kana, Han, Thai, Lao, Khmer.
SINGLE_CHARACTERS = (
    r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1780-\u17ff\U00020000-\U0003ffff"
)
_WORD = re.compile(
    rf"[{SINGLE_CHARACTERS}]"
    # Numbers with their separators stay whole, so that 3.5 is not 3 and 5.
    r"|\d+(?:[.,]\d+)*"
    r"|[^\W\d_]+"
)
_POSSESSIVE = re.compile(r"['’]s\b")
# Arabic vowel marks and tatweel, soft hyphen, zero-width characters: never part of a word's match.
_IGNORED = re.compile("[\u064b-\u065f\u0670\u0640\u00ad\u200b-\u200f\u2060\ufeff]")


def _word_set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


STOP_WORDS = _word_set(
    "a about above after again against all also am an and any are as at be because been before"
    " being below between both but by can could did do does doing down during each few for from"
    " further had has have having he her here hers him his how i if in into is it its just let"
    " many may me might more most much must my no nor not now of off on once one only or other"
    " our out over own please same shall she should so some such tell than that the their them"
    " then there these they this those through to too under until up us very was we were what"
    " when where which while who whom whose why will with would you your s t"
    " der die das und ist ein eine den dem des von zu mit auf für im in wer wie wo wann was"
    " le la les un une et est de du des en que qui dans pour par sur au aux"
    " el los las y es una del al con por para se lo como su"
)


def words(text: str) -> list[str]:
    """The words of `text` in order: NFKC, case-folded, numbers whole, CJK by character."""
    return _WORD.findall(_POSSESSIVE.sub("", fold(text)))


def fold(text: str) -> str:
    """`text` as its words are compared: NFKC, case-folded, without marks inside words."""
    if text.isascii():
        return text.casefold()
    return _IGNORED.sub("", unicodedata.normalize("NFKC", text).casefold())


def content_stems(text: str) -> list[str]:
    """The stems of the words of `text` that carry meaning (no stop words), in order."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A light English stem: plural, -ed, -ing, -ly and a final e or y removed.

    After Harman's S-stemmer (1991) and the first steps of Porter's (1980); words of other
    scripts, numbers and short words stay as they are.
    """
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    word = _singular(word)
    for suffix in ("ingly", "edly", "ing", "ed", "ly"):
        base = word.removesuffix(suffix)
        if base != word and len(base) >= 3 and re.search("[aeiouy]", base):
            return _undouble(base).rstrip("ey") or base
    return word[:-1] if len(word) > 4 and word[-1] in "ey" else word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _undouble(base: str) -> str:
    return base[:-1] if base[-1] == base[-2] and base[-1] not in "lsz" else base
