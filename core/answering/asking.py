"""What kind of thing a question asks for, and which words the answer must have. Pure."""

import re
from dataclasses import dataclass
from typing import Literal

from core.text.synonyms import synonyms_of
from core.text.table_rows import CELL_END
from core.text.words import FUNCTION_WORDS, content_stems, stem, words

Kind = Literal["count", "money", "percent", "date", "other"]
Form = Literal["year", "number", "name", "any"]

_YEAR = re.compile(r"\b(?:1\d|20)\d\d\b")
_NUMBER = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty"
    r"|half|third|quarter|dozen|hundred|thousand|million|billion)s?\b|[٠-٩一二三四五六七八九十百千]",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"[$€£¥₹]\s?\(?\d|\b\d[\d.,]*\s?(?:dollars|euros?|pounds|cents|million|billion|thousand|crore"
    r"|USD|EUR|GBP)\b",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"%|\bper ?cent|\bpercentage points?\b|\b(?:half|third|quarter)s?\b", re.I)
_MONTH = re.compile(
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november"
    r"|december)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"\b(?:how many|(?:^|the |total )number of)\b(?P<what>.*?)(?=\b(?:did|does|do|are|were|is|was"
    r"|has|have|had|will|can|could|would|work|live|use|there|in|at|on|of|for|by|from|with|that|who"
    r"|which|end)\b|[?.,;]|$)|\b(?P<staff>headcount)\b",
    re.IGNORECASE,
)
_ASKS_MONEY = re.compile(
    r"\bhow much (?:money|did .* (?:pay|cost|spend|earn|raise)|does .* (?:pay|cost|spend|earn))"
    r"|\b(?:price|cost|fee|salary|wage|rent|fare)s?\b(?! (?:of living|index))",
    re.IGNORECASE,
)
_ASKS_PERCENT = re.compile(
    r"\b(?:what|which) (?:percent|percentage|share|proportion)\b|\bmarket share\b"
    r"|\bpercentage of\b",
    re.IGNORECASE,
)
_ASKS_DATE = re.compile(
    r"\bwhen (?:did|was|were|is|are|does|do|will)\b|\b(?:what|which) (?:year|date|day|month)\b"
    r"|\b(?:by|until|since) when\b",
    re.IGNORECASE,
)
_ASKS_TIME = re.compile(r"\bwhen\b|\b(?:what|which) (?:decade|century|time)\b", re.IGNORECASE)
_ASKS_AMOUNT = re.compile(
    r"\b(?:how (?:many|much|long|far|old|tall|high|large|often|big|deep|fast)"
    r"|(?:what|which) (?:percent|percentage|number|population|amount|price|share)|percentage)\b",
    re.IGNORECASE,
)
_ASKS_NAME = re.compile(
    r"\b(?:who|whom|whose|where|which [^\W\d_]+|what (?:city|country|state|place|region|group"
    r"|company|organi[sz]ation|person|king|queen|university|river|war|battle|firm|bank|software"
    r"|product|brand))\b",
    re.IGNORECASE,
)
_CAPITALISED = re.compile(r"(?<=[\w,;:(\"“] )\W?[A-Z]\w+")
# Units and measures after "how many": the number is given in them, it does not count them.
_MEASURES = frozenset(
    content_stems("million billion thousand dollar square foot feet mile percent time year")
)


_YEAR_ALONE = re.compile(r"(?<![\d,.])(?:1[5-9]|20)\d\d(?![\d,.]*\d)")
_NEAR = 5  # words between a number and what it counts
_SAID = 4  # words from "were" to the number
_SAYING = frozenset(["is", "are", "was", "were", "total", "totaled", "reached", "numbered"])


@dataclass(frozen=True, slots=True)
class Need:
    """What an answer must have: a thing of `kind`, and for a count the stem of what is counted.

    A good answer also has the `form`: the kinds are the forms without which there is no answer.
    """

    question: str
    kind: Kind
    form: Form
    counted: str = ""

    @classmethod
    def read(cls, question: str) -> "Need":
        if _ASKS_PERCENT.search(question):
            return cls(question, "percent", "number")
        if found := _COUNTED.search(question):
            return cls(question, "count", "number", _last_noun(found["what"] or "employees"))
        if _ASKS_DATE.search(question):
            return cls(question, "date", "year")
        if _ASKS_MONEY.search(question):
            return cls(question, "money", "number")
        return cls(question, "other", _form(question))

    def is_met(self, text: str) -> bool:
        """Whether `text` has a thing of the kind."""
        match self.kind:
            case "count":
                return _counts(text, self.counted)
            case "money":
                return bool(_MONEY.search(text)) or CELL_END in text
            case "percent":
                return bool(_PERCENT.search(text)) or CELL_END in text
            case "date":
                return bool(_YEAR.search(text) or _MONTH.search(text) or _NUMBER.search(text))
            case _:
                return True

    def fits(self, text: str) -> bool:
        """Whether `text` has the form asked for: a year, a number, or a name that is new."""
        match self.form:
            case "year":
                return bool(_YEAR.search(text))
            case "number":
                return bool(_NUMBER.search(text))
            case "name":
                asked = self.question.casefold()
                found = (name.strip('"“(').casefold() for name in _CAPITALISED.findall(text))
                return any(name not in asked for name in found)
            case _:
                return False

    def has_number(self, text: str) -> bool:
        """Whether `text` has a number besides years."""
        return bool(_NUMBER.search(_YEAR_ALONE.sub(" ", text)))

    def names_counted(self, stems: frozenset[str]) -> bool:
        """Whether the thing counted is among `stems`, by its name or another one."""
        if not self.counted or self.counted in stems:
            return True
        others = synonyms_of([self.counted]).get(self.counted, frozenset())
        return any(stems.issuperset(other) for other in others)


def _form(question: str) -> Form:
    if _ASKS_TIME.search(question):
        return "year"
    if _ASKS_AMOUNT.search(question):
        return "number"
    return "name" if _ASKS_NAME.search(question) else "any"


def _counts(text: str, counted: str) -> bool:
    """Whether a number is close before what is counted, or is said of it: `employees: 156`."""
    found = words(_YEAR_ALONE.sub(" ", text))
    names = {counted} | {way[0] for way in synonyms_of([counted]).get(counted, ()) if len(way) == 1}
    for place, word in enumerate(found):
        if counted and stem(word) not in names:
            continue
        before = found[max(0, place - _NEAR) : place]
        after = found[place + 1 : place + 1 + 2 * _NEAR]
        if any(map(_NUMBER.match, before if counted else found)):
            return True
        said = next((at for at, one in enumerate(after) if one in _SAYING), len(after))
        if any(map(_NUMBER.match, after[said : said + _SAID])):
            return True
    return CELL_END in text and bool(_NUMBER.search(text))


def _last_noun(text: str) -> str:
    """The stem of what is counted: the last telling word after "how many"."""
    telling = [word for word in words(text) if word not in FUNCTION_WORDS]
    stems = [one for word in telling for one in content_stems(word)]
    kept = [one for one in stems if one not in _MEASURES and one.isalpha()]
    return kept[-1] if kept else ""
