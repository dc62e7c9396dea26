"""What kind of thing a question asks for, and which words the answer must have. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.text.synonyms import synonyms_of
from core.text.table_rows import CELL_END
from core.text.words import FUNCTION_WORDS, content_stems, stem, words

Kind = Literal["count", "money", "percent", "amount", "measure", "time", "date", "other"]
Form = Literal["year", "range", "number", "name", "any"]

# A question without these is made of keywords and may ask for any value.
ASKS = re.compile(
    r"\?|\b(?:who|whom|whose|what|which|where|when|why|how|is|are|was|were|does?|did|has|have|can)\b",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b(?:1\d|20)\d\d\b")
_NUMBER = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty"
    r"|half|third|quarter|dozen|hundred|thousand|million|billion)s?\b|[٠-٩一二三四五六七八九十百千]",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"[$€£¥₹]\s?\(?\d|\b\d[\d.,]*\s?(?:dollars|euros?|pounds|cents|million|billion|thousand|crore"
    r"|USD|EUR|GBP)\b|\b(?:\w+teen|\w+ty|one|two|three|four|five|six|seven|eight|nine|ten|eleven"
    r"|twelve|hundred|thousand|few) (?:dollars|euros?|pounds|cents|shillings|francs)\b",
    re.IGNORECASE,
)
# A third and a quarter of something, but not the third quarter of a year.
_PERCENT = re.compile(
    r"%|\bper ?cent|\bpercentage points?\b|\bhalf\b|\b(?:one|a|two|three)[ -](?:third|quarter)s?\b",
    re.IGNORECASE,
)
_RANGE = re.compile(r"\d ?[-–—] ?\d|\bfrom \S*\d\S* to \S*\d|\bbetween \S*\d\S* and \S*\d")
_MONTH = re.compile(
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november"
    r"|december)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"\b(?:how many|(?:^|the |total )number of)\b(?P<what>.*?)(?=\b(?:did|does|do|are|were|is|was"
    r"|has|have|had|will|can|could|would|work|live|use|there|in|at|on|of|for|by|from|with|that|who"
    r"|which|end|need|needs|require|receive|received|own|owned|sell|sold|buy|bought|die|died|kill"
    r"|killed|lose|lost|win|won|make|made|serve|served|attend|attended)\b|[?.,;]|$)|\b(?P<staff>headcount)\b",
    re.IGNORECASE,
)
_ASKS_MONEY = re.compile(
    r"\bhow much (?:money|did .* (?:pay|cost|spend|earn|raise)|does .* (?:pay|cost|spend|earn))"
    r"|\b(?:price|cost|fee|salary|wage|rent|fare)s?\b(?! (?:of living|index))"
    r"|\bworth\b(?!while)|\b(?:monthly|annual|weekly|hourly) pay\b",
    re.IGNORECASE,
)
# Mostly money in business documents, but not always: "how much did it rain".
_ASKS_SUM = re.compile(
    r"\bhow (?:much|large|big) (?:did|does|do|has|have|had|was|were|is|are)\b(?!.*\bweigh)",
    re.IGNORECASE,
)
_ASKS_PERCENT = re.compile(
    r"\b(?:what|which) (?:percent|percentage|share|proportion)\b|\bmarket share\b"
    r"|\bpercentage of\b"
    r"|\b(?:churn|unemployment|retention|turnover|response|success|survival|vacancy|mortality"
    r"|literacy|inflation) rate\b",
    re.IGNORECASE,
)
_ASKS_DATE = re.compile(
    r"\bwhen (?:did|was|were|is|are|does|do|will)\b|\b(?:what|which) (?:year|date|day|month)\b"
    r"|\b(?:by|until|since) when\b|\bdeadline\b|\b(?:due|closing|effective|expir\w+) date\b",
    re.IGNORECASE,
)
_ASKS_CLOCK = re.compile(
    r"\b(?:at )?what time\b|\b(?:start|starting|opening|closing|check-?in|check-?out) times?\b"
    r"|\b(?:opening|office|business|visiting) hours\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(
    r"\b\d{1,2}(?::\d\d)? ?[ap]\.?m\b|\b\d{1,2}[:.]\d\d\b|\bnoon\b|\bmidnight\b", re.I
)
_LENGTHS = (
    r"(?:mm|cm|km|m|ft|in|mi|met(?:re|er)s?|kilomet(?:re|er)s?|centimet(?:re|er)s?|miles?"
    r"|feet|foot|inch(?:es)?|yards?|stor(?:ey|ie)s?|fathoms?|characters?|bytes|lines|pages|words)"
)
_SPEEDS = r"(?:mph|kph|km/h|m/s|knots?|miles (?:an|per) hour|kilomet(?:re|er)s (?:an|per) hour|rpm)"
_DURATIONS = r"(?:(?:milli)?seconds?|minutes?|hours?|days?|weeks?|months?|years?|h|min|s|ms)"
_WEIGHTS = r"(?:kg|g|mg|lbs?|pounds?|tons?|tonnes?|grams?|kilograms?|ounces?|oz)"
_AMOUNT = r"(?:\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand))"
_MEASURED = (
    (r"how (?:tall|high|deep|wide|far|thick)|(?:height|width|depth|thickness|length|distance) of",
     _LENGTHS),
    (r"how long (?:is|was|are) the (?:bridge|river|road|wall|tunnel|ship|track|line|route|coast)",
     _LENGTHS),
    (r"how long|how old|(?:duration|lifespan) of", _DURATIONS),
    (r"how fast|(?:at )?(?:what|which) speed|speed of", _SPEEDS),
    (r"how heavy|(?:weight|mass) of|how much (?:does|do|did) .{1,60} weigh", _WEIGHTS),
)  # fmt: skip
_MEASURES_ASKED = tuple(
    (
        re.compile(rf"\b(?:{asked})\b", re.IGNORECASE),
        re.compile(
            rf"{_AMOUNT}[\d.,]*(?:[- ](?:thousand|million|hundred))?\)?[- ]?{units}\b", re.I
        ),
    )
    for asked, units in _MEASURED
)
_ASKS_RANGE = re.compile(r"\brange\b(?! of (?:products|services))", re.IGNORECASE)
_ASKS_TIME = re.compile(r"\bwhen\b|\b(?:what|which) (?:decade|century|time)\b", re.IGNORECASE)
_ASKS_AMOUNT = re.compile(
    r"\b(?:how (?:many|much|long|far|old|tall|high|large|often|big|deep|fast)"
    r"|(?:what|which)(?:['’]s)? (?:(?:is|was|are|were) )?(?:the )?(?:\w+ ){0,2}(?:percent"
    r"|percentage|number|population|amount|price|share|level|size|value|rate|dose|limit|average|total)"
    r"|percentage|(?:what|which) (?:(?:was|were|is|are) )?(?:the )?(?:\w+ ){0,2}(?:sales|revenues?"
    r"|income|profits?|earnings|expenses?|debts?|assets|liabilit(?:y|ies)|dividends?|deposits?"
    r"|costs?|charges?|losses|gains?))\b",
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
    content_stems(
        "million billion thousand dollar square foot feet mile percent time year pound ton tonne"
        " kilogram gram litre liter gallon barrel metre meter acre hectare hour minute second day"
        " week month degree megawatt gigabyte megabyte"
    )
)


_PLURAL = re.compile(r"\w{2,}[^\Ws'’]s|people|men|women|children|staff|personnel|headcount")
YEAR_ALONE = re.compile(r"(?<![\d,.])(?:1[5-9]|20)\d\d(?![\d,.]*\d)")
# Years, and codes: `H2O`, `COVID-19`.
_NO_COUNT = re.compile(rf"{YEAR_ALONE.pattern}|\b[^\W\d]+-?\d\w*")
_EACH = frozenset({"one", "each", "every", "per"})
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
        if _ASKS_SUM.search(question):
            return cls(question, "amount", "number")
        if _ASKS_CLOCK.search(question):
            return cls(question, "time", "number")
        if _measure(question):
            return cls(question, "measure", "number")
        return cls(question, "other", _form(question))

    @property
    def is_preference(self) -> bool:
        """Whether a sentence without the kind may answer too, because it may be said in words."""
        return self.kind not in ("count", "money", "percent")

    def is_met(self, text: str) -> bool:
        """Whether `text` has a thing of the kind."""
        match self.kind:
            case "count":
                return _counts(text, self.counted, plural=self._is_plural)
            case "money":
                return bool(_MONEY.search(text)) or CELL_END in text
            case "amount":
                return bool(_MONEY.search(text)) or self.has_number(text)
            case "percent":
                return bool(_PERCENT.search(text)) or CELL_END in text
            case "time":
                return bool(_CLOCK.search(text))
            case "measure":
                return bool((units := _measure(self.question)) and units.search(text))
            case "date":
                return bool(_YEAR.search(text) or _MONTH.search(text) or _NUMBER.search(text))
            case _:
                return True

    def fits(self, text: str) -> bool:
        """Whether `text` has the form asked for: a year, a number, or a name that is new."""
        match self.form:
            case "year":
                return bool(_YEAR.search(text))
            case "range":
                return bool(_RANGE.search(text))
            case "number":
                return self.has_number(text)
            case "name":
                asked = self.question.casefold()
                found = (name.strip('"“(').casefold() for name in _CAPITALISED.findall(text))
                return any(name not in asked for name in found)
            case _:
                return False

    def has_number(self, text: str) -> bool:
        """Whether `text` has a number besides years and the question's own: `401(k)`."""
        known = frozenset(re.findall(r"\d+", self.question))
        unknown = re.sub(r"\d+", lambda one: "" if one[0] in known else one[0], text)
        return bool(_NUMBER.search(YEAR_ALONE.sub(" ", unknown)))

    def names_one(self, text: str) -> bool:
        """Whether `text` names only one of the things counted: `the 8710 respirator`.

        `One judge from each state` may count them all the same.
        """
        found = words(text)
        named = [at for at, word in enumerate(found) if stem(word) == self.counted]
        return bool(named) and all(_is_one(found, at, plural=self._is_plural) for at in named)

    @property
    def _is_plural(self) -> bool:
        """Whether the question names what is counted in a plural that ends with an s."""
        return any(stem(one) == self.counted and one.endswith("s") for one in words(self.question))

    def names_counted(self, stems: frozenset[str]) -> bool:
        """Whether the thing counted is among `stems`, by its name or another one."""
        if not self.counted or self.counted in stems:
            return True
        others = synonyms_of([self.counted]).get(self.counted, frozenset())
        return any(stems.issuperset(other) for other in others)


def _measure(question: str) -> re.Pattern[str] | None:
    """What the answer to a question for a length, a weight or a duration has."""
    return next((units for asks, units in _MEASURES_ASKED if asks.search(question)), None)


def _form(question: str) -> Form:
    if _ASKS_RANGE.search(question):
        return "range"
    if _ASKS_TIME.search(question):
        return "year"
    if _ASKS_AMOUNT.search(question):
        return "number"
    return "name" if _ASKS_NAME.search(question) else "any"


def _counts(text: str, counted: str, *, plural: bool) -> bool:
    """Whether a number is close before what is counted, or is said of it: `employees: 156`.

    If `plural`, the name of one thing counts nothing: `8710 respirator` is a product.
    """
    found = words(_NO_COUNT.sub(" ", text))
    names = {counted} | {way[0] for way in synonyms_of([counted]).get(counted, ()) if len(way) == 1}
    for place, word in enumerate(found):
        if counted and (
            stem(word) not in names
            or _is_one(found, place, plural=plural and stem(word) == counted)
        ):
            continue
        before = found[max(0, place - _NEAR) : place]
        after = found[place + 1 : place + 1 + 2 * _NEAR]
        if any(map(_NUMBER.match, before if counted else found)):
            return True
        said = next((at for at, one in enumerate(after) if one in _SAYING), len(after))
        if any(map(_NUMBER.match, after[said : said + _SAID])):
            return True
    return CELL_END in text and bool(_NUMBER.search(text))


def _is_one(found: Sequence[str], at: int, *, plural: bool) -> bool:
    """Whether the word is the name of one thing, where things are counted in a `plural`."""
    before = found[max(0, at - 1) : at]
    return plural and not found[at].endswith("s") and _EACH.isdisjoint(before)


def _last_noun(text: str) -> str:
    """The stem of what is counted: the last telling word after "how many".

    A plural ends it, because a verb may follow: how many `people` need help.
    """
    telling = [word for word in words(text) if word not in FUNCTION_WORDS]
    end = next((at for at in range(len(telling)) if _ends_noun(telling, at)), len(telling))
    stems = [one for word in telling[: end + 1] for one in content_stems(word)]
    kept = [one for one in stems if one not in _MEASURES and one.isalpha()]
    return kept[-1] if kept else ""


def _ends_noun(telling: Sequence[str], at: int) -> bool:
    """Whether a word is a plural, and the next one is none: `sales` of `sales staff` is no end."""
    is_plural = _PLURAL.fullmatch(telling[at]) is not None and stem(telling[at]) not in _MEASURES
    return is_plural and not any(map(_PLURAL.fullmatch, telling[at + 1 : at + 2]))
