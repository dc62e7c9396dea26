"""Tells what an answer with a value cannot do without: what is measured, and of whom. Pure.

A sentence that says nothing of Minnesota does not tell how many people work there, and one that
says nothing of an average does not tell the average pay, however well it fits otherwise.
"""

import re
from collections.abc import Sequence

from core.answering.asking import ASKS, Need
from core.answering.cells import FILLER
from core.answering.naming import capitalised, has_name, is_named_after
from core.answering.passages import Passage
from core.text.synonyms import is_said, synonyms_of
from core.text.words import FUNCTION_WORDS, content_stems, fold, stem, words

# What numbers measure. A number that measures something else is no answer.
_MEASURES = frozenset(
    content_stems(
        "average median price fare rent salary wage pay age capacity churn attrition occupancy"
        " population temperature turnout mortality unemployment inflation"
    )
)
# Words that say the same of a number, but are no synonyms elsewhere.
_SAID_OTHERWISE = {
    "averag": (("mean",), ("median",), ("typic",), ("avg",)),
    "price": (("cost",), ("sell",), ("sold",), ("fee",), ("fare",), ("rate",), ("charg",)),
}
_VERBS_TOO = frozenset(["pay", "rent", "age"])
_BEFORE_NOUN = frozenset(
    words("a an the its their his her our your of in average mean median annual monthly")
)
_PEOPLE = frozenset(["people", "person", "persons", "men", "women", "children"])
# A product or a model with a number: `N95`, `737-10`, `777X`.
_CODE = re.compile(r"(?<![\w.,$€£-])(?:[A-Z]+\d{2,}|\d{2,}[A-Z]+|\d{3}-\d{1,3})(?![\w-])")
_PLACE = re.compile(r"\b(?:in|at) (?:the )?((?:[A-Z][\w’'-]+(?: |\b)){1,4})")
_MARKET_SHARE = re.compile(r"\bmarket shares?\b|\bshares? of (?:[\w’'-]+ ){0,4}market", re.I)


def asks_for_value(need: Need) -> bool:
    """Whether a number, an amount or a date answers. Keywords alone may ask for one too."""
    named = need.kind != "other" or need.form == "number"
    return named or ASKS.search(need.question) is None


def lacks_essential(need: Need, said: str, passage: Passage, passages: Sequence[Passage]) -> bool:
    """Whether an answer to a question for a value leaves out what is measured, or where.

    `said` is the answer with the sentences around it. The passage's heading and the name of its
    document count too.
    """
    if not asks_for_value(need):
        return False
    near = f"{said} {passage.heading} {re.sub(r'[^A-Za-z0-9]+', ' ', passage.filename)}"
    if _MARKET_SHARE.search(need.question) and not _MARKET_SHARE.search(near):
        return True
    return lacks_measure(need, near) or _lacks_name(need.question, near, passage, passages)


def lacks_subject(question: str, near: str, passage: Passage, document: str) -> bool:
    """Whether a total is said of something that it is not said of: a name, or any keyword.

    `near` is all that a table says of the total, `document` the text of its passages.
    """
    if ASKS.search(question):
        names = [stem(name) for name in capitalised(question)]
    else:
        names = [word for word in content_stems(question) if word.isalpha() and word not in FILLER]
    stems, ways = frozenset(content_stems(near)), synonyms_of(content_stems(question))
    return any(
        not is_said(name, stems, ways) and not is_named_after(passage, name, document)
        for name in names
    )


def lacks_measure(need: Need, near: str) -> bool:
    """Whether `near` does not say what the question measures, or what the people counted did."""
    stems, ways = frozenset(content_stems(near)), synonyms_of(content_stems(need.question))
    told = _measures(need.question) + _deeds(need.question)
    return not all(
        is_said(word, stems, ways) or is_said(word, stems, _SAID_OTHERWISE) for word in told
    )


def _measures(question: str) -> list[str]:
    """The stems of the nouns that tell what is measured: `average`, `price`."""
    asked = words(question)
    return [
        stem(word)
        for place, word in enumerate(asked)
        if stem(word) in _MEASURES and (word not in _VERBS_TOO or _is_noun(asked, place))
    ]


def _is_noun(asked: Sequence[str], place: int) -> bool:
    """Whether a word of a question that may be a verb is a noun: after `the`, `average` or `of`."""
    return not _BEFORE_NOUN.isdisjoint(asked[max(0, place - 2) : place])


def _deeds(question: str) -> list[str]:
    """The stem of what people do that are counted: `drown` of “How many people drown?”."""
    asked = words(question)
    place = next((at for at, word in enumerate(asked) if word in _PEOPLE), None)
    if place is None or asked[:2] != ["how", "many"]:
        return []
    done = (word for word in asked[place + 1 :] if word not in FUNCTION_WORDS)
    return [stem(word) for word in done][:1]


def _lacks_name(question: str, near: str, passage: Passage, passages: Sequence[Passage]) -> bool:
    """Whether a model's number, or the place that the question ends with, is not near.

    The document may be about the place: named after it, or with it in all passages.
    """
    if any(code not in near for code in _CODE.findall(question)):
        return True
    same = [one.text for one in passages if one.document_id == passage.document_id]
    return any(
        not has_name(near, name)
        and not is_named_after(passage, name, " ".join(same))
        and not (len(same) > 1 and all(has_name(text, name) for text in same))
        for name in _places(question)
    )


def _places(question: str) -> list[str]:
    """The names after `in` or `at`, folded: `in New Mexico`, `at the Aria`."""
    names = capitalised(question)
    found = [fold(word) for place in _PLACE.findall(question) for word in place.split()]
    return [word for word in found if word in names]
