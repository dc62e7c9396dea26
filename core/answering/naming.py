"""Finds the passages of the documents that a question names. Pure."""

import re
from collections.abc import Sequence

from core.answering.passages import Passage
from core.text.abbreviations import is_short_form, names_in, stands_for
from core.text.dates import MONTH
from core.text.words import STOP_WORDS, fold, words

MIN_LETTERS = 3  # of a short name
_MONTH = re.compile(MONTH, re.IGNORECASE)
_TICKER = re.compile(r"(?<![A-Za-z])[A-Z]{3,5}(?![A-Za-z])")
_BEGINNING = 4  # letters
_OF_A_COUNTRY = ("ish", "ese", "ian", "ean", "ch")  # Spanish: the text may say Spain
_CAPITAL = re.compile(r"(?<![^\W_])[A-Z][^\W\d_]+")
_WORD = re.compile(r"[^\W_]+")


def short_names_in(text: str, unknown: Sequence[str]) -> list[str]:
    """Those of the folded words `unknown` that are short for a name in `text`: `amex`."""
    short = [word for word in unknown if is_short_form(word) and len(word) >= MIN_LETTERS]
    names = names_in(text) if short else []
    return [word for word in short if any(stands_for(word, name) for name in names)]


def passages_about(question: str, passages: Sequence[Passage]) -> list[Passage]:
    """The passages of documents that hold a name of the question; all if no document does.

    A name is a word with a capital, or any word of a question without capitals, that the passages
    write with a capital only, or that is short for several such words.
    """
    asked = _asked(question)
    capitals, small = _as_written(passages)
    names = {word for word in asked if word in capitals and word not in small}
    unknown = [word for word in asked if word not in capitals and word not in small]
    held = {
        passage.document_id
        for passage in passages
        if not names.isdisjoint(words(passage.text))
        or any(name in filename_letters(passage) for name in names)
        or short_names_in(passage.text, unknown)
    }
    return [one for one in passages if one.document_id in held] if held else list(passages)


def lacks_name(question: str, passage: Passage, passages: Sequence[Passage]) -> bool:
    """Whether a name in the question is neither in `passage` nor what its document is about."""
    return any(
        not has_name(f"{passage.heading} {passage.text}", name)
        and not is_about(passage, name, passages)
        for name in capitalised(question)
    )


def is_about(
    passage: Passage, name: str, passages: Sequence[Passage], *, share: float = 0.5
) -> bool:
    """Whether the passage's document is about the folded `name`.

    The name is in its file name or in a `share` of its passages. The beginning of a name is enough,
    because names are misspelt.
    """
    same = [one for one in passages if one.document_id == passage.document_id]
    return is_filed_under(passage, name) or (
        sum(has_name(f"{one.heading} {one.text}", name) for one in same)
        >= max(1, share * len(same))
    )


def is_named_after(passage: Passage, name: str, document: str) -> bool:
    """Whether the passage's document is named after the folded `name`, in its file name or text.

    `document` is what is known of its text: a name there may be the long form of `name`.
    """
    return is_filed_under(passage, name) or bool(short_names_in(document, [name]))


def is_filed_under(passage: Passage, name: str) -> bool:
    """Whether the document's file name has the folded `name`, or a stock's short name for it."""
    return name in filename_letters(passage) or _has_ticker(passage.filename, name)


def _has_ticker(filename: str, name: str) -> bool:
    """Whether a file name has a stock's short name for `name`: `2022_Q3_AAPL.pdf` for Apple.

    Its letters are in the name in the same order, a doubled one once.
    """
    return any(
        token[0].casefold() == name[0]
        and re.search(".*".join(re.sub(r"(.)\1+", r"\1", token.casefold())), name)
        for token in _TICKER.findall(filename)
    )


def capitalised(question: str) -> list[str]:
    """The names, folded, as their capitals tell; none in a question that is set like a title."""
    found = [word for word in _WORD.findall(question)[1:] if len(word) >= MIN_LETTERS]
    capitals = [word for word in found if word[0].isupper()]
    if 2 * len(capitals) > len(found):
        return []
    return [
        fold(word)
        for word in capitals
        if word.isalpha()
        and fold(word) not in STOP_WORDS
        and not _MONTH.fullmatch(word)
        and not word.endswith(_OF_A_COUNTRY)
    ]


def names_asked(question: str, passages: Sequence[Passage]) -> list[str]:
    """The names in the question, folded: as its capitals tell, or else those of the passages."""
    if question != question.lower():
        return capitalised(question)
    capitals, small = _as_written(passages)
    return [word for word in _asked(question) if word in capitals and word not in small]


def has_name(text: str, name: str) -> bool:
    """Whether `text` has a word with a capital that begins as the folded `name`, or is it in full.

    The beginning is enough, because names are misspelt.
    """
    begin = name[: max(_BEGINNING, len(name) - 2)]
    if any(fold(word).startswith(begin) for word in _CAPITAL.findall(text)):
        return True
    return bool(short_names_in(text, [name]))


def _asked(question: str) -> list[str]:
    """The words of the question that may be names, folded: if it uses capitals, those with one."""
    found = _WORD.findall(question)
    in_small_letters = question == question.lower()
    return [
        fold(word)
        for word in found
        if len(word) >= MIN_LETTERS
        and word.isalpha()
        and (in_small_letters or word[0].isupper())
        and fold(word) not in STOP_WORDS
        and not _MONTH.fullmatch(word)
    ]


def _as_written(passages: Sequence[Passage]) -> tuple[set[str], set[str]]:
    """The words, folded, that the passages write with a capital, and those without one."""
    capitals, small = set[str](), set[str]()
    for passage in passages:
        for word in _WORD.findall(passage.text):
            (capitals if word[0].isupper() else small).add(fold(word))
    return capitals, small


def filename_letters(passage: Passage) -> str:
    """The letters and digits of the document's file name, folded and without spaces."""
    return re.sub(r"[\W_]+", "", fold(passage.filename))
