"""Answers who has a role, with the name that a document gives beside the role. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from core.answering.passages import Passage
from core.text.dates import MONTH, YEAR
from core.text.sentences import split_sentences
from core.text.synonyms import synonyms_of
from core.text.table_rows import CELL_END
from core.text.words import content_stems, words

_ASKS_ROLE = re.compile(
    r"\bwho(?:['’]s| is| are| was| were)\s+(?:(?P<whose>\S+)['’]s? )?(?P<role>[^?]+)", re.IGNORECASE
)
_ASKS_HEAD = re.compile(
    r"\bwho (?:runs?|ran|leads?|led|heads?|manages?|managed|directs?|directed|oversees|oversaw"
    r"|supervises?|(?:is|are|was|were) (?:in charge of|responsible for|running|leading|heading"
    r"|managing|at the head of|the (?:head|boss|leader) of))\s+(?P<what>[^?]+)",
    re.IGNORECASE,
)
_ASKS_CONTACT = re.compile(
    r"\bwho (?:handles?|answers?|do (?:I|we) (?:ask|contact|call)|should .{1,30} contact|to contact"
    r"|is the contact)\s+(?:for |about |on )?(?P<what>[^?]+)",
    re.IGNORECASE,
)
_ASKS_AUDITOR = re.compile(
    r"\b(?:who|which (?:firm|company))\b.*?(?<!internal )\baudit(?:s|ed|ors?)\b(?! committee)", re.I
)
_AUDITORS = ("independent registered public accounting firm", "auditor", "audited by")
# A firm that audits: `Holm & Ek LLP`.
_FIRM = re.compile(
    r"(?:[A-Z][\w’'.-]* (?:(?:&|and) )?){1,4}(?:L\.?L\.?P\b\.?|GmbH|AG|AB|SAS|LLC|Ltd|Limited)"
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
# Words for a part of a company, which its title seldom repeats.
_PART_WORDS = frozenset(
    content_stems("business division segment unit department group operations team section company")
)
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
        " registrant securities exchange the our latin america africa asia europe north south east"
        " west middle pacific international global services department ministry bank national"
        " partnership"
    )
)
_NO_PART = frozenset({"no", "the", "our", "this", "and", "tbc"})
_TITLES = r"(?:(?:Dr|Mr|Mrs|Ms|Prof|Professor|Sir|Dame|Shri|Smt)\.? )?"
_PART = r"[A-Z][^\W\d_]*(?:[’'-][A-Z]?[^\W\d_]+)*\.?"
_NAME = re.compile(
    rf"(?<![\w-]){_TITLES}{_PART}(?: (?:(?:de|der|van|von|da|al|bin) )?{_PART}){{1,3}}"
)
_MARK = re.compile(r"^\W+")
_LABEL = re.compile(r"(?P<label>[^:|]{2,60}?)\s*(?::| \| |\s[=–]\s)\s*(?P<value>.*)")
_OTHER = re.compile(r"\b(?:former|acting|no|number|id|code|date|email|phone)\b", re.IGNORECASE)
# A vice president is no president, but may be a chief financial officer too.
_LOWER = re.compile(r"\b(?P<below>vice|deputy|assistant|co)[ -]\w+", re.IGNORECASE)
_PAST = re.compile(
    r"\b(?:19|20)\d\d ?[-–] ?(?:19|20)?\d\d\b|\bfrom .{2,20}\d to .{0,12}\d"
    r"|\b(?:previously|formerly|prior to|until|before)\b",
    re.IGNORECASE,
)
_ASKS_PAST = re.compile(r"\b(?:was|were|did|ran|led|former\w*|previous\w*|before)\b", re.IGNORECASE)
# “Jo Ek, the”, “JO EK — Ms. Ek (53) has been the”, “Jo Ek was appointed our”, “Jo Ek 53 ”.
_HAS_ROLE = re.compile(
    r"(?: [–—-] (?:Mr|Mrs|Ms|Dr)\.? [\w’'-]+)?(?: \(\d\d\))?"
    r"(?:(?:,| [–—-]| \(|,? (?:as|(?:(?:has|had) )?(?:is|was|been|serves?|served|acts?|acted|works?"
    r"|worked|became)(?: (?:appointed|named|elected|promoted to))?(?: as)?))"
    r" (?:(?:the|our|its|an?|[A-Z]\w+[’']s|\d\d|age \d\d)\b,? )?"
    r"| \d\d (?=[A-Z]))"  # a list of officers with their ages
)
_CUT_NAME = re.compile(r": ?([A-Z][^\W\d_]+)$")  # its second part is on the next line
_APART = 120  # characters between a name and the end of its role
_LESS_SURE = 2  # words of the question; a name after a role may be somebody else's
_MAX_ROLES = 4  # below each other
_MAX_VALUE = 160
_ARTICLE = re.compile(r"The\b")  # at the beginning of a sentence, and of no name
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
    is_of_firm: bool = False

    def is_in(self, text: str) -> bool:
        """Whether `text` says the role, and no other one like it (`vice president`)."""
        asked = frozenset(words(self.question))
        stems = frozenset(content_stems(_without_lower(text, asked)))
        if not any(way <= stems for way in self.ways):
            return False
        return not any(one[0].casefold() not in asked for one in _OTHER.finditer(text))

    def is_past(self, text: str) -> bool:
        """Whether `text` says that somebody had the role, and the question asks who has it."""
        return _PAST.search(text) is not None and _ASKS_PAST.search(self.question) is None

    def shares(self, text: str) -> int:
        """How many of the question's words `text` has: they tell which of several is meant."""
        return len(frozenset(content_stems(text)).intersection(content_stems(self.question)))

    @property
    def longest(self) -> int:
        return max(map(len, self.ways))


def _without_lower(text: str, asked: frozenset[str]) -> str:
    """`text` without the roles below another one, as in `Vice President and Treasurer`."""
    return _LOWER.sub(lambda one: one[0] if one["below"].casefold() in asked else " ", text)


def find_person(question: str, passages: Sequence[Passage]) -> Person | None:
    """The naming of who has the role that is asked for, None if the question asks for none.

    It has most of the question's words. Of several, the first: `Role: Name`, `Name, role`, a name
    on the line above the role, `role Name`.
    """
    role = _read_role(question)
    if role is None:
        return None
    ways = (
        (_labelled, 0),
        (_followed, 0),
        (_signed, 0),
        (_signed_by_firm, 0),
        (_preceded, -_LESS_SURE),
    )
    found = [
        (role.shares(text) + sure, Person(text, passage))
        for passage in passages
        for say, sure in ways
        for text in say(role, passage.text)
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def _read_role(question: str) -> _Role | None:
    if found := _ASKS_CONTACT.search(question):
        about = content_stems(found["what"])
        ways = [(one, *content_stems(contact)) for one in about for contact in _CONTACTS]
        ways.append(tuple(content_stems("contact person")))
    elif _ASKS_AUDITOR.search(question):
        ways = [tuple(content_stems(one)) for one in _AUDITORS]
        return _Role(tuple(map(frozenset, ways)), question, is_of_firm=True)
    elif found := _ASKS_HEAD.search(question):
        ways = _ways_to_head(found["what"])
    elif found := _ASKS_ROLE.search(question):
        ways = _ways(_WHERE.split(found["role"])[0])
    else:
        ways = _ways_of_keywords(question)
    kept = tuple(frozenset(way) for way in ways if way)
    return _Role(kept, question) if kept else None


def _ways_to_head(what: str) -> list[tuple[str, ...]]:
    """Who heads `human resources at Acme`, or `Acme Europe`: the part is the last word there.

    All of the words tell more: `the beverage business in North America`.
    """
    telling = [one for one in content_stems(what) if one not in _PART_WORDS]
    part = [one for one in content_stems(_WHERE.split(what)[0]) if one not in _PART_WORDS]
    ways = [(*part[-1:], *content_stems(head)) for head in _HEADS]
    for several in (part, telling, telling[1:]):
        if len(several) > 1:
            ways += [(*several, *content_stems(head)) for head in _HEADS_OF_PART]
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
        if len(content_stems(found["label"])) > role.longest + _MAX_LABEL_EXTRA:
            continue
        value = found["value"] or (lines[place + 1] if place + 1 < len(lines) else "")
        value = _MARK.sub("", value)
        if value[:1].isupper():
            yield f"{_MARK.sub('', found['label'])}: {value[:_MAX_VALUE]}"


def _followed(role: _Role, text: str) -> Iterator[str]:
    """`Jo Ek, chief executive officer of Acme`, or a row that has both."""
    for sentence in _sentences(text):
        for name in _names(sentence, role):
            if CELL_END in sentence:
                cells = sentence[name.end() :].split(CELL_END)
                own = (cell for cell in cells if role.is_in(cell) and not role.is_past(cell))
                said = next(own, None)
                if said is not None and name.start() < 3:
                    yield f"{name[0]}: {_without_column(said)}"
            elif (said := _apposition(sentence[name.end() :][:_APART], role)) is not None:
                yield f"{name[0]}, {said}"


def _without_column(cell: str) -> str:
    """`Chief Executive Officer` of the cell `Title: Chief Executive Officer`."""
    _, _, value = cell.partition(": ")
    return (value or cell).strip()


def _sentences(text: str) -> Iterator[str]:
    """The sentences on one line, with the beginning of a name that is on the line before."""
    before = ""
    for segment in split_sentences(text):
        sentence = " ".join(text[segment.start : segment.end].split())
        cut = _CUT_NAME.search(before)
        yield f"{cut[1]} {sentence}" if cut else sentence
        before = sentence


def _apposition(rest: str, role: _Role) -> str | None:
    """The role that follows a name after a comma or a dash, or after `is`, `as` or the like."""
    found = _HAS_ROLE.match(rest)
    if found is None:
        return None
    said = re.split(r"[.;)”\"](?:\s|$)|, (?:who|which|and|said)\b", rest[found.end() :])[0]
    parts = said.split(", ")
    begins = [", ".join(parts[:count]).strip() for count in range(1, len(parts) + 1)]
    # What follows may tell which of several: `President, Acme International`.
    own = max(filter(role.is_in, begins), key=role.shares, default=None)
    return None if own is None or role.is_past(own) else own


def _signed(role: _Role, text: str) -> Iterator[str]:
    """A name, and on the next line the role; or as many names, and below them their roles."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    names = [
        next((one[0] for one in _names(line, role) if _is_all(line, one)), "") for line in lines
    ]
    for place, line in enumerate(lines):
        begin = " ".join(line.split()[: role.longest + _MAX_LABEL_EXTRA])
        if not place or not line[:1].isupper() or not role.is_in(begin):
            continue
        name = names[place - 1] or _name_in_order(names, place)
        if name:
            yield f"{name}, {re.split(r' [^A-Za-z&(]', line)[0]}"


def _signed_by_firm(role: _Role, text: str) -> Iterator[str]:
    """The signature of a report that names the role: `/s/ Holm & Ek LLP`."""
    if role.is_of_firm and role.is_in(text):
        for found in re.finditer(rf"/s/\s*(?P<firm>{_FIRM.pattern})", text):
            yield found["firm"]


def _is_all(line: str, name: re.Match[str]) -> bool:
    """Whether a line has a name and no further words."""
    return name.start() == 0 and not line[name.end() :].strip()[:1].isalpha()


def _name_in_order(names: Sequence[str], place: int) -> str:
    """The name for the role on a line, where two names or more are above as many roles."""
    first = next((at for at in range(place, max(0, place - _MAX_ROLES), -1) if names[at - 1]), None)
    if first is None:
        return ""
    above = list(takewhile(bool, reversed(names[:first])))[::-1]
    below = place - first
    return above[below] if len(above) > below > 0 else ""


def _preceded(role: _Role, text: str) -> Iterator[str]:
    """`our chief executive officer, Jo Ek`"""
    for sentence in _sentences(text):
        for name in _names(sentence, role):
            before = sentence[: name.start()].rstrip(" ,:").split()
            said = " ".join(before[-role.longest - 1 :])
            if role.is_in(said) and not re.search(r"[.;|]", said):
                yield f"{name[0]}, {_ARTICLE.sub('the', _MARK.sub('', said))}"


def _names(text: str, role: _Role) -> Iterator[re.Match[str]]:
    """What looks like a person's name, or a firm's, and is not in the question."""
    if role.is_of_firm:
        yield from _FIRM.finditer(text)
        return
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
