"""Cuts a text into words, in the same way for the index, queries, ranking and answers.

- A word is a run of letters with their marks, or a number with its separators.
- Case, accents, width and Unicode's normal forms make no difference (NFKC, then marks of
  Latin, Greek and Cyrillic letters removed, then case folding).
- English words are compared by their stems.
- A code is found by its parts and as a whole, however its parts are joined: `ERR-4187`,
  `err4187` and `ERR 4187` share `err` and `4187`; `10-K` and `10K` share `10k`.
- Scripts without spaces (Han, kana, Thai, Lao, Khmer) are cut into single characters;
  for the index, also into pairs of characters.
- Words without meaning of their own (`who`, `it`) are left out, but not in capitals, where
  they are names (`WHO`, `IT`).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import Stemmer

# Scripts that are written without spaces: kana, Han, Thai, Lao, Khmer.
SINGLE_CHARACTERS = (
    r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1780-\u17ff\U00020000-\U0003ffff"
)
# Combining marks of scripts whose vowels are marks: part of a word, though not letters.
_MARKS = (
    r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"
    r"\u0980-\u0983\u09bc-\u09cd\u0a01-\u0a03\u0a3c-\u0a4d\u0a81-\u0a83\u0abc-\u0acd\u0b01-\u0b03"
    r"\u0b3c-\u0b57\u0b82\u0bbe-\u0bcd\u0c00-\u0c04\u0c3e-\u0c56\u0c81-\u0c83\u0cbc-\u0cd6"
    r"\u0d00-\u0d03\u0d3b-\u0d4d\u0d81-\u0d83\u0dca-\u0ddf\u1000-\u109f"
)
# A number with its separators is one word, so that 3.5 is not 3 and 5.
NUMBER = r"\d+(?:[.,]\d+)*"
LETTERS = rf"(?:(?![{SINGLE_CHARACTERS}])[^\W\d_][{_MARKS}]*)+"
_WORD = re.compile(rf"[{SINGLE_CHARACTERS}]|{NUMBER}|{LETTERS}")
_SINGLE = re.compile(f"[{SINGLE_CHARACTERS}]")
_PART = re.compile(rf"{NUMBER}|{LETTERS}")
JOINER = r"[-‐‑‒–_/.:@&+#]"
_RUN = re.compile(
    rf"[{SINGLE_CHARACTERS}]{{1,200}}+|(?:{NUMBER}|{LETTERS})(?:{JOINER}?(?:{NUMBER}|{LETTERS})){{0,30}}+"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3}){2,}")
_VERSION = re.compile(r"v\d+(?:\.\d+)+")
_POSSESSIVE = re.compile(r"['’]s\b", re.IGNORECASE)
# Arabic vowel marks and tatweel, soft hyphen, zero-width characters: no part of a word.
_IGNORED = re.compile("[\u064b-\u065f\u0670\u0640\u00ad\u200b-\u200f\u2060\ufeff]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_UNDECOMPOSED = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"})
_LONGEST = 200  # characters of a word; PostgreSQL accepts 2,046 bytes
_LONGEST_SYMBOL = 3  # letters that make a code with a single digit: `5GB`, but not `5-year`
_MAX_SHOUTED_NAME = 3  # words of a line in capitals that may be a name


def _word_set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# The words that PostgreSQL's English dictionary leaves out: the index has none of them.
FUNCTION_WORDS = _word_set(
    "i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself"
    " she her hers herself it its itself they them their theirs themselves what which who whom"
    " this that these those am is are was were be been being have has had having do does did"
    " doing a an the and but if or because as until while of at by for with about against between"
    " into through during before after above below to from up down in out on off over under"
    " again further then once here there when where why how all any both each few more most other"
    " some such no nor not only own same so than too very s t can will just don should now"
)
STOP_WORDS = FUNCTION_WORDS | _word_set(
    "also could let many may might much must one please shall tell upon whose would"
    " der die das und ist ein eine den dem des von zu mit auf für im wer wie wo wann was"
    " le la les un une et est de du que qui dans pour par sur au aux en"
    " el los las y es una del al con por para se lo como su"
)
_ENGLISH = Stemmer.Stemmer("english")


def normalise(text: str) -> str:
    """`text` without accents and invisible marks, in NFKC; its case is kept."""
    if text.isascii():
        return text
    parted = unicodedata.normalize("NFKD", text).translate(_UNDECOMPOSED)
    return unicodedata.normalize("NFKC", _IGNORED.sub("", _ACCENTS.sub("", parted)))


def fold(text: str) -> str:
    """`text` as its words are compared: normalised and case-folded."""
    return normalise(text).casefold()


def words(text: str) -> list[str]:
    """The words of `text` in order, folded: numbers whole, scripts without spaces by character."""
    return _WORD.findall(_POSSESSIVE.sub("", fold(text)))


def content_stems(text: str) -> list[str]:
    """The stems of the words of `text` that carry meaning, in order.

    A code whose parts tell little alone (`B12`, `3M`) is one word. A name in capitals that
    looks like a stop word (`WHO`) keeps its capitals.
    """
    return [stem for unit in _units(text, STOP_WORDS) for stem in unit.stems]


def index_stems(text: str) -> list[tuple[int, str]]:
    """The stems to index for `text`, each with the position of its unit, counted from 1."""
    found = []
    for place, unit in enumerate(_units(text, FUNCTION_WORDS), start=1):
        found += [(place, stem) for stem in dict.fromkeys((*unit.stems, *unit.others))]
    return found


def query_stems(text: str) -> list[str]:
    """The stems to look up in the index for the query `text`, each once, in order."""
    found: list[str] = []
    for unit in _units(text, FUNCTION_WORDS):
        # In a script without spaces, pairs of characters are more specific than single ones.
        found += unit.others if unit.unspaced else unit.stems
    return list(dict.fromkeys(found))


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The stem of a folded word, by the English Snowball stemmer (snowballstem.org).

    PostgreSQL's English dictionary stems alike. Other scripts and numbers stay as they are.
    """
    return _ENGLISH.stemWord(word) if word.isascii() and word.isalpha() else word


class _Unit(NamedTuple):
    """A word, a code, or a character of a script without spaces.

    `stems` represent it. `others` are further stems that find it: the parts of a code, or the
    pair of a character and the next one. `unspaced` is True for a character in a run of several.
    """

    stems: tuple[str, ...]
    others: tuple[str, ...] = ()
    unspaced: bool = False


def _units(text: str, stop_words: frozenset[str]) -> Iterator[_Unit]:
    for line in _POSSESSIVE.sub("", normalise(text)).splitlines():
        runs = _RUN.findall(line)
        # A line in capitals says nothing about which of its words are names.
        shouted = len(runs) > _MAX_SHOUTED_NAME and line.isupper()
        for run in runs:
            yield from _units_of_run(run, stop_words, shouted)


@lru_cache(maxsize=50_000)
def _units_of_run(run: str, stop_words: frozenset[str], shouted: bool) -> tuple[_Unit, ...]:
    """The units of a run of words without spaces. Cached, since most runs are common words."""
    if _SINGLE.match(run):
        return tuple(_characters(run))
    codes = _codes(run)
    return tuple(_unit(code, stop_words, shouted=shouted) for code in codes)


def _characters(run: str) -> Iterator[_Unit]:
    several = len(run) > 1
    for index, char in enumerate(run):
        pair = run[index : index + 2]
        yield _Unit((char,), (pair,) if len(pair) == 2 else (), several)


def _codes(run: str) -> Iterator[list[str]]:
    """The parts of a run that belong together, as a letter and a number do: `3M`, `10-K`.

    Words and numbers that tell enough alone are units of their own: `ERR-4187`, `5-year`.
    """
    code: list[str] = []
    end = 0
    for match in _PART.finditer(run):
        part = match[0]
        if code and not _belongs(code[-1], part, apart=match.start() > end):
            yield code
            code = []
        code.append(part)
        end = match.end()
    yield code


def _belongs(one: str, other: str, *, apart: bool) -> bool:
    """Whether two parts make one code. `apart` is True if a hyphen or the like is between them."""
    if len(one) > 1 and len(other) > 1:
        return False
    numbers = one[0].isdigit() + other[0].isdigit()
    return not apart or numbers == 0 or (numbers == 1 and len(one + other) <= _LONGEST_SYMBOL + 1)


def _unit(parts: Sequence[str], stop_words: frozenset[str], *, shouted: bool) -> _Unit:
    whole = "".join(parts)[:_LONGEST]
    folded = whole.casefold()
    if folded in stop_words:
        named = whole.isupper() and len(whole) > 1 and not shouted
        return _Unit((whole,) if named else ())
    if _VERSION.fullmatch(folded):
        return _number(folded.removeprefix("v"))
    if len(parts) == 1:
        return _number(folded) if folded[0].isdigit() else _Unit((stem(folded),))
    others = (part.casefold() for part in parts)
    return _Unit((folded,), tuple(stem(part) for part in others if part not in stop_words))


def _number(number: str) -> _Unit:
    """A number without thousands separators. Its parts find a version or a date too."""
    if _THOUSANDS.fullmatch(number):
        separator = "," if "," in number else "."
        return _Unit((number.replace(separator, ""),))
    parts = number.split(".")
    return _Unit((number,), tuple(parts) if len(parts) > 2 else ())
