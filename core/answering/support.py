"""How much of an answer its passages support: each figure, date and name is looked up there.

A statement is a sentence of the answer; what it claims must be in a passage that it cites. A
sentence without a marker is checked against all passages that the answer cites. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from core.answering.citations import citing_statements, strip_citations
from core.answering.passages import Passage
from core.text.dates import MONTH
from core.text.sentences import split_sentences
from core.text.words import STOP_WORDS, fold, stem, words

_DATE = re.compile(
    rf"\b{MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\.? {MONTH}\.?,? \d{{4}}\b",
    re.IGNORECASE,
)
_FIGURE = re.compile(
    r"(?<![\w.,])\d+(?:[.,]\d+)*"
    r"(?:\s?(?P<scale>thousand|million|billion|mn|bn)\b|(?P<percent> ?%))?",
    re.IGNORECASE,
)
_CODE = re.compile(r"\b(?=[^\W_]*\d)(?=[^\W_]*[^\W\d_])\w+(?:[-/.]\w+)*")
_NAME = re.compile(
    r"\b[A-Z][\w’'-]+(?:\s+(?:(?:of|de|van|von|and|the|&)\s+)?[A-Z][\w’'-]+)*|\b[A-Z]{2,}\b"
)
# Digits that two figures must share for one to be a rounding of the other.
_LEAST_DIGITS = 2
_MOST_DIGITS = 14  # of a figure; two of them fit into a Decimal's precision


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure, date or name that a statement of an answer says, and whether a passage has it."""

    kind: str  # figure, date or name
    text: str
    supported: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of an answer, the passages it was checked against, and what it claims."""

    text: str
    passages: tuple[int, ...]
    claims: tuple[Claim, ...]

    @property
    def supported(self) -> bool:
        return all(claim.supported for claim in self.claims)

    def as_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "passages": list(self.passages),
            "supported": self.supported,
            "claims": [
                {"kind": one.kind, "text": one.text, "supported": one.supported}
                for one in self.claims
            ],
        }


@dataclass(frozen=True, slots=True)
class Support:
    """The statements of an answer with their claims."""

    statements: tuple[Statement, ...] = ()

    @property
    def share(self) -> float | None:
        """The share of the claims that are supported; None if nothing is claimed."""
        claims = [claim for one in self.statements for claim in one.claims]
        return sum(claim.supported for claim in claims) / len(claims) if claims else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "share": self.share,
            "statements": [one.as_dict() for one in self.statements if one.claims],
        }


def measure_support(answer: str, passages: Sequence[Passage], *, question: str = "") -> Support:
    """Look the claims of `answer` up in the passages it cites.

    Names that the question already has are no claims of the answer. An answer that cites
    nothing claims nothing.
    """
    by_index = {passage.index: _Source.read(passage) for passage in passages}
    cited = [index for index in citing_statements(answer) if index in by_index]
    if not cited:
        return Support()
    asked = frozenset(_name_stems(question))
    made = (
        _check(text, own or tuple(cited), by_index, asked)
        for text, own in _statements(answer, by_index)
    )
    return Support(tuple(made))


@dataclass(frozen=True, slots=True)
class _Source:
    """A passage's text in the forms that claims are looked up in."""

    folded: str
    numbers: frozenset[Decimal]
    percents: frozenset[Decimal]
    stems: frozenset[str]
    dates: frozenset[tuple[str, ...]]

    @classmethod
    def read(cls, passage: Passage) -> "_Source":
        text = f"{passage.text}\n{' '.join(words(passage.filename.replace('_', ' ')))}"
        figures = list(_figures(text))
        return cls(
            " ".join(fold(text).split()),
            frozenset(number for _, number, _ in figures),
            frozenset(number for _, number, match in figures if match["percent"]),
            frozenset(_name_stems(text)),
            frozenset(_date_key(found[0]) for found in _DATE.finditer(text)),
        )


def _statements(answer: str, known: Mapping[int, _Source]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The sentences of an answer without markers, each with the passages that it cites."""
    citing: dict[str, list[int]] = {}
    for index, statements in citing_statements(answer).items():
        for statement in statements:
            citing.setdefault(_key(statement), []).append(index)
    bare = strip_citations(answer)
    for segment in split_sentences(bare):
        text = " ".join(bare[segment.start : segment.end].split())
        indexes = (index for index in citing.get(_key(text), ()) if index in known)
        if text:
            yield text, tuple(indexes)


def _key(statement: str) -> str:
    return " ".join(words(strip_citations(statement)))


def _check(
    text: str, indexes: Sequence[int], sources: Mapping[int, _Source], asked: frozenset[str]
) -> Statement:
    own = [sources[index] for index in indexes]
    claims = tuple(
        Claim(kind, said, any(_holds(source, kind, said) for source in own))
        for kind, said in _claims(text, asked)
    )
    return Statement(text, tuple(indexes), claims)


def _claims(text: str, asked: frozenset[str]) -> Iterator[tuple[str, str]]:
    """What a statement claims: dates, then the figures outside them, then names."""
    for found in _DATE.finditer(text):
        yield "date", found[0]
    rest = _DATE.sub(" ", text)
    for said, _, _ in _figures(rest):
        yield "figure", said
    for found in _NAME.finditer(_FIGURE.sub(" ", rest)):
        name = _without_first_word(found[0]) if _begins_sentence(found) else found[0]
        stems = _name_stems(name)
        if stems and not asked.issuperset(stems):
            yield "name", name


def _begins_sentence(found: re.Match[str]) -> bool:
    """Whether the name's capital may be only that of its sentence."""
    before = found.string[: found.start()].rstrip(' "“‘(*-•')
    return not before or before[-1] in ".!?:\n"


def _without_first_word(name: str) -> str:
    """A sentence's first word has a capital in any case; `Elsa Holm` and `NASA` are names."""
    first, _, rest = name.partition(" ")
    if rest and first.casefold() not in STOP_WORDS and not first.endswith("ly"):
        return name
    return name if first.isupper() and len(first) > 1 else rest


def _name_stems(text: str) -> list[str]:
    return [stem(word) for word in words(text) if word not in STOP_WORDS and not word.isdigit()]


def _holds(source: _Source, kind: str, said: str) -> bool:
    if " ".join(fold(said).split()) in source.folded and kind != "figure":
        return True
    if kind == "date":
        return _date_key(said) in source.dates
    if kind == "name":
        return source.stems.issuperset(_name_stems(said))
    return any(_has_number(source, number, match) for _, number, match in _figures(said))


def _has_number(source: _Source, number: Decimal, match: re.Match[str]) -> bool:
    if number in (source.percents if match["percent"] and source.percents else source.numbers):
        return True
    digits = sum(char.isdigit() for char in match[0])
    if not match["scale"] or digits < _LEAST_DIGITS:
        return False
    return any(_rounds_to(known, number) for known in source.numbers)


def _rounds_to(known: Decimal, said: Decimal) -> bool:
    """Whether `said` is `known` in another unit, rounded: 1.9 of billions is 1,878 of millions."""
    exponent = said.as_tuple().exponent
    step = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    return any(known.scaleb(-shift).quantize(step) == said for shift in (3, 6, 9))


def _figures(text: str) -> Iterator[tuple[str, Decimal, re.Match[str]]]:
    for found in _FIGURE.finditer(text):
        digits = re.match(r"[\d.,]+", found[0])
        number = _number(digits[0] if digits else "")
        if number is not None:
            yield found[0].strip(), number, found


def _number(digits: str) -> Decimal | None:
    """The number that `digits` write, with commas between thousands or for the decimals."""
    if len(digits) > _MOST_DIGITS:
        return None
    if re.fullmatch(r"\d+,\d{1,2}", digits):
        digits = digits.replace(",", ".")
    elif digits.count(".") > 1:
        digits = digits.replace(".", "")
    try:
        return Decimal(digits.replace(",", ""))
    except InvalidOperation:
        return None


def _date_key(text: str) -> tuple[str, ...]:
    """A date's parts whatever their order: month by its first letters, day, year."""
    month = re.search(MONTH, text, re.IGNORECASE)
    numbers = sorted(int(part) for part in re.findall(r"\d+", text))
    return ((month[0][:3].lower() if month else ""), *map(str, numbers))
