"""Answers who has a role, with the name that a document gives beside the role. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.answering.passages import Passage
from core.answering.tables import YEAR
from core.text.dates import MONTH
from core.text.sentences import split_sentences
from core.text.synonyms import synonyms_of
from core.text.table_rows import CELL_END
from core.text.words import content_stems, words

_ASKS_ROLE = re.compile(
    r"\bwho(?:['’]s| is| are| was| were)\s+(?:(?P<whose>\S+)['’]s? )?(?P<role>[^?]+)", re.IGNORECASE
)
_ASKS_HEAD = re.compile(
    r"\bwho (?:runs?|ran|leads?|led|heads?|manages?|directs?|oversees)\s+(?P<what>[^?]+)", re.I
)
_ASKS_CONTACT = re.compile(
    r"\bwho (?:handles?|answers?|do (?:I|we) (?:ask|contact|call)|should .{1,30} contact|to contact"
    r"|is the contact)\s+(?:for |about |on )?(?P<what>[^?]+)",
    re.IGNORECASE,
)
# A question of a few words that ends with a role: "acme chief risk officer", "mayor of Acme".
_ROLE_AT_END = re.compile(
    r"(?:\S+ )*?(?P<role>(?:[^\W\d_]+ ){0,2}(?P<noun>officer|commissioner|director"
    r"|chair(?:man|woman)?|president|secretary|treasurer|superintendent|mayor|minister|manager|investigator|editor"
    r"|auditor|c[efoti]o))(?: (?:of|at|in) .+)?",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:who|what|which|where|when|why|how|is|are|was|were|do|does|did|many|much)\b", re.I
)
_WITH_OTHERS = frozenset({"officer", "director", "manager", "minister", "editor"})
_WHEN = re.compile(rf"\b(?:in |as of )?(?:{MONTH}|{YEAR})\b", re.IGNORECASE)
_WHERE = re.compile(r"\s+(?:of|at|for|in|on|to|with|by)\s", re.IGNORECASE)
_HEADS = ("chief executive officer", "president", "head", "director", "leader", "manager")
_HEADS_OF_PART = (*_HEADS, "chief officer", "vice president")
_CONTACTS = ("contact", "enquiries", "inquiries", "relations", "office", "desk", "press")
# A capitalised word that is part of no person's name.
_NO_NAME = frozenset(
    content_stems(
        "chief officer president vice executive chairman chair chairwoman director manager managing"
        " head investigator sponsor secretary treasurer counsel board company corporation inc corp"
        " ltd llc plc group department division university hospital trust association committee"
        " relations contact investor media public note table item section part annual report fiscal"
        " year quarter age title name position signature date page financial operating senior"
        " january february march april june july august september october november december"
        " registrant securities exchange the our"
    )
)
_NO_PART = frozenset({"no", "the", "our", "this", "and", "tbc"})
_TITLES = r"(?:(?:Dr|Mr|Mrs|Ms|Prof|Professor|Sir|Dame|Shri|Smt)\.? )?"
_PART = r"[A-Z][^\W\d_]*(?:[’'-][A-Z]?[^\W\d_]+)*\.?"
_NAME = re.compile(rf"(?<![\w-]){_TITLES}{_PART}(?: (?:(?:der|van|von|da|al|bin) )?{_PART}){{1,3}}")
_MARK = re.compile(r"^\W+")
_LABEL = re.compile(r"(?P<label>[^:|]{2,60}?)\s*(?::| \| |\s[=–]\s)\s*(?P<value>.*)")
_OTHER = re.compile(
    r"\b(?:former|acting|no|number|id|code|date|email|phone)\b"
    # A vice president is no president, but may be a chief financial officer too.
    r"|\b(?P<below>vice|deputy|assistant|co)[ -](?P<role>\w+)",
    re.IGNORECASE,
)
_APART = 70  # characters between a name and the end of its role
_MAX_VALUE = 160
_MAX_LABEL_EXTRA = 2  # words of a label besides the role


@dataclass(frozen=True, slots=True)
class Person:
    """What a document says of who has a role: `text`, of `passage`."""

    text: str
    passage: Passage


@dataclass(frozen=True, slots=True)
class _Role:
    """A role's ways to be said, each as stems; the question that asks for it."""

    ways: tuple[frozenset[str], ...]
    question: str

    def is_in(self, text: str) -> bool:
        """Whether `text` says the role, and no other one like it (`vice president`)."""
        stems = frozenset(content_stems(text))
        said = [way for way in self.ways if way <= stems]
        return any(not self._is_other(text, way) for way in said)

    def _is_other(self, text: str, way: frozenset[str]) -> bool:
        asked = way.union(words(self.question))
        for found in _OTHER.finditer(text):
            below = found["below"]
            if below and way.isdisjoint(content_stems(found["role"])):
                continue
            if (below or found[0]).casefold() not in asked:
                return True
        return False


def find_person(question: str, passages: Sequence[Passage]) -> Person | None:
    """The first naming of who has the role that is asked for, None if the question asks for none.

    In this order: `Role: Name`, `Name, role`, a name on the line above the role, `role Name`.
    """
    role = _read_role(question)
    if role is None:
        return None
    for passage in passages:
        for say in (_labelled, _followed, _signed, _preceded):
            text = next(say(role, passage.text), None)
            if text is not None:
                return Person(text, passage)
    return None


def _read_role(question: str) -> _Role | None:
    if found := _ASKS_CONTACT.search(question):
        about = content_stems(found["what"])
        ways = [(one, *content_stems(contact)) for one in about for contact in _CONTACTS]
    elif found := _ASKS_HEAD.search(question):
        ways = _ways_to_head(found["what"])
    elif found := _ASKS_ROLE.search(question):
        ways = _ways(_WHERE.split(found["role"])[0])
    else:
        ways = _ways_of_keywords(question)
    kept = tuple(frozenset(way) for way in ways if way)
    return _Role(kept, question) if kept else None


def _ways_to_head(what: str) -> list[tuple[str, ...]]:
    """Who heads `human resources at Acme`, or `Acme Europe`: the part is the last word there."""
    part = content_stems(_WHERE.split(what)[0])
    ways = [(*part[-1:], *content_stems(head)) for head in _HEADS]
    if len(part) > 1:
        ways = [(*part, *content_stems(head)) for head in _HEADS_OF_PART] + ways
    return ways


def _ways_of_keywords(question: str) -> list[tuple[str, ...]]:
    """The role that a question of keywords ends with, and with fewer of the words before it."""
    found = _ROLE_AT_END.fullmatch(" ".join(_WHEN.sub(" ", question).split()).rstrip("?. "))
    if found is None or _ASKS.search(question):
        return []
    role = found["role"].split()
    fewest = 2 if found["noun"].casefold() in _WITH_OTHERS else 1
    return [
        way for size in range(len(role), fewest - 1, -1) for way in _ways(" ".join(role[-size:]))
    ]


def _ways(role: str) -> list[tuple[str, ...]]:
    """The role's stems, and with each part said otherwise (`CEO`)."""
    stems = tuple(content_stems(role))
    ways = [stems] if stems else []
    for word, others in synonyms_of(stems).items():
        for other in others:
            ways.append((*(one for one in stems if one != word), *other))
    return ways


def _labelled(role: _Role, text: str) -> Iterator[str]:
    """`Principal investigator: Dr. Anna Holm`, also with the name on the next line."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for place, line in enumerate(lines):
        found = _LABEL.fullmatch(line)
        if found is None or not role.is_in(found["label"]):
            continue
        if len(content_stems(found["label"])) > max(map(len, role.ways)) + _MAX_LABEL_EXTRA:
            continue
        value = found["value"] or (lines[place + 1] if place + 1 < len(lines) else "")
        value = _MARK.sub("", value)
        if value[:1].isupper():
            yield f"{_MARK.sub('', found['label'])}: {value[:_MAX_VALUE]}"


def _followed(role: _Role, text: str) -> Iterator[str]:
    """`Jo Ek, chief executive officer of Acme`, or a row that has both."""
    for segment in split_sentences(text):
        sentence = " ".join(text[segment.start : segment.end].split())
        for name in _names(sentence, role):
            rest = sentence[name.end() : name.end() + _APART]
            if CELL_END in sentence:
                cells = sentence[name.end() :].split(CELL_END)
                said = next((cell for cell in cells if role.is_in(cell)), None)
                if said is not None and name.start() < 3:
                    yield f"{name[0]}: {said.strip()}"
            elif (said := _apposition(rest, role)) is not None:
                yield f"{name[0]}, {said}"


def _apposition(rest: str, role: _Role) -> str | None:
    """The role that follows a name after a comma or a dash, or after `is` or `as`."""
    found = re.match(
        r"(?:(?:,| [–-]| \(|,? (?:is|was|serves? as|as)) (?:(?:the|our|its|\d\d|age \d\d)\b,? )?"
        r"| \d\d (?=[A-Z]))",  # a list of officers with their ages
        rest,
    )
    if found is None:
        return None
    said = re.split(r"[.;)”\"](?:\s|$)|, (?:who|which|and|said)\b", rest[found.end() :])[0]
    parts = said.split(", ")
    for count in range(1, len(parts) + 1):
        if role.is_in(", ".join(parts[:count])):
            return ", ".join(parts[:count]).strip()
    return None


def _signed(role: _Role, text: str) -> Iterator[str]:
    """A name, and on the next line the role."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for above, line in pairwise(lines):
        begin = " ".join(line.split()[: max(map(len, role.ways)) + _MAX_LABEL_EXTRA])
        if not line[:1].isupper() or not role.is_in(begin):
            continue
        name = next(iter(_names(above, role)), None)
        if name is not None and name.start() == 0 and not above[name.end() :].strip()[:1].isalpha():
            yield f"{name[0]}, {re.split(r' [^A-Za-z&(]', line)[0]}"


def _preceded(role: _Role, text: str) -> Iterator[str]:
    """`our chief executive officer, Jo Ek`"""
    for segment in split_sentences(text):
        sentence = " ".join(text[segment.start : segment.end].split())
        for name in _names(sentence, role):
            before = sentence[: name.start()].rstrip(" ,:").split()
            said = " ".join(before[-max(map(len, role.ways)) - 1 :])
            if role.is_in(said) and not re.search(r"[.;|]", said):
                yield f"{name[0]}, {_MARK.sub('', said)}"


def _names(text: str, role: _Role) -> Iterator[re.Match[str]]:
    """What looks like a person's name, and is not in the question."""
    asked = set(content_stems(role.question))
    start = 0
    while found := _NAME.search(text, start):
        first, _, _ = found[0].partition(" ")
        if not asked.union(_NO_NAME).isdisjoint(content_stems(first)):
            start = found.start() + len(first)  # "Superintendent Elsa Holm"
            continue
        start = found.end()
        stems, own = set(content_stems(found[0])), words(found[0])
        if _NO_PART.isdisjoint(own) and stems.isdisjoint(_NO_NAME) and stems.isdisjoint(asked):
            yield found
