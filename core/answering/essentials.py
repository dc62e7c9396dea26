"""Tells what an answer with a value cannot do without: what is measured, and of whom. Pure.

A sentence that says nothing of Minnesota does not tell how many people work there, and one that
says nothing of an average does not tell the average pay, however well it fits otherwise.
"""

import re
from collections.abc import Sequence

from core.answering.asking import ASKS, Need
from core.answering.cells import FILLER
from core.answering.naming import capitalised, has_name, is_about, is_named_after
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
    stem(measure): tuple((stem(word),) for word in said.split())
    for measure, said in {
        "average": "mean median typical typically avg",
        "price": "cost sell sold fee fare rate charge worth",
        "fare": "cost price fee ticket",
        "rent": "lease",
        "age": "old aged years",
        "capacity": "seat hold holds accommodate up",
        "occupancy": "occupied full",
        "population": "inhabitants residents people living lived",
        "temperature": "degrees hot cold warm",
        "mortality": "death deaths died die",
        "churn": "attrition cancel cancelled",
    }.items()
}
_VERBS_TOO = frozenset(["pay", "rent", "age"])
_BEFORE_NOUN = frozenset(
    words("a an the its their his her our your of in average mean median annual monthly")
)
_PEOPLE = frozenset(["people", "person", "persons", "men", "women", "children"])
# A product or a model with a number: `N95`, `737-10`, `777X`; but no year, quarter or report.
_CODE = re.compile(
    r"(?<![\w.,$€£-])(?!(?:FY|CY|Q|H)\d|\d\dK\b|\d\d[QF]\b)"
    r"(?:[A-Z]+\d{2,}|\d{2,}[A-Z]+|\d{3}-\d{1,3})(?![\w-])"
)
_PLACE = re.compile(r"\b(?P<before>in|at) (?:the )?(?P<place>(?:[A-Z][\w’'-]+(?: |\b)){1,4})")
# Money of one who buys, not of a company; it needs no word for a price.
_PRICE = re.compile(r"[$€£¥₹] ?\d[\d.,]*(?![\d.,]* ?(?:thousand|million|billion|crore))", re.I)
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
    if _PRICE.search(said):
        near += " price fare rent"
    if need.kind == "other" and need.form == "number" and not need.has_number(said):
        return True
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
    asked, stems = content_stems(need.question), frozenset(content_stems(near))
    # A word that the question has besides the measure does not tell the measure: `seat capacity`.
    others = {
        word: [way for way in ways if way[0] not in asked] for word, ways in _SAID_OTHERWISE.items()
    }
    told, ways = _measures(need.question) + _deeds(need.question), synonyms_of(asked)
    return not all(is_said(word, stems, ways) or is_said(word, stems, others) for word in told)


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
    """Whether a model's number, or the place that the question names, is not near.

    The document may be about the place: named after it, or with it in all passages. Half of them
    will do for `at Acme`, because a company's report seldom says its name.
    """
    same = [one.text for one in passages if one.document_id == passage.document_id]
    for code in map(_letters, _CODE.findall(question)):
        if code not in _letters(near) and not all(code in _letters(text) for text in same):
            return True
    return any(
        not has_name(near, name)
        and not is_named_after(passage, name, " ".join(same))
        and not (len(same) > 1 and all(has_name(text, name) for text in same))
        and not (preposition == "at" and is_about(passage, name, passages))
        for preposition, name in _places(question)
    )


def _letters(text: str) -> str:
    """The letters and digits, folded: `401(k)` and `401K` are one code."""
    return re.sub(r"[\W_]+", "", fold(text))


def _places(question: str) -> list[tuple[str, str]]:
    """The names after `in` or `at`, folded, each with its preposition: `in New Mexico`."""
    names = capitalised(question)
    return [
        (found["before"].casefold(), name)
        for found in _PLACE.finditer(question)
        for name in words(found["place"])
        if name in names
    ]
