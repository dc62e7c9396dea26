"""Answers without an LLM: the sentences of the passages that answer the question."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from core.answering.agents import find_agent
from core.answering.asking import Need
from core.answering.base import AnswerStream, Question
from core.answering.cells import is_total
from core.answering.citations import strip_citations
from core.answering.comparing import Side, find_sides
from core.answering.definitions import find_definition
from core.answering.essentials import lacks_essential, lacks_measure, lacks_subject
from core.answering.figures import Figure, find_figure, is_sure, say_figure
from core.answering.identifiers import find_identifier
from core.answering.memories import (
    MAX_CHARS,
    asks_for_memory,
    find_memory,
    quote_memory,
    shorten,
)
from core.answering.naming import lacks_name, passages_about
from core.answering.passages import Passage
from core.answering.people import find_person
from core.answering.scoring import (
    MAX_PASSAGES as SENTENCE_PASSAGES,
)
from core.answering.scoring import (
    MAX_SENTENCE_CHARS,
    Scored,
    is_row_of_figures,
    rank_sentences,
    title_of,
)
from core.answering.values import find_lead
from core.embedding.base import Embedder
from core.text.dates import MONTH
from core.text.questions import without_instructions
from core.text.words import content_stems, words

NOTHING_FOUND = "I could not find anything about this in the documents in reach."
DOCUMENTS_ONLY = (
    "I answer only from documents, and none were searched for this message. "
    "Ask again with document search switched on."
)

MAX_ANTECEDENT_CHARS = 200
MAX_RELATED = 3
RELATED_CHARS = 60

MAX_SENTENCES = 4
LATE = 60  # characters of a sentence before who did it
# Per hundred characters of each sentence after the first: two short sentences contain the answer
# more often than a long one.
LENGTH_PENALTY = 0.02
HEADING_WORDS = 10
MIN_WORDS = 3
# A sentence is cut only if at least this much of it can be shown.
MIN_EXCERPT = 60
MIN_SHARE_OF_ROW = 0.6  # of the question's words, by weight
SAME_MEANING = 0.75  # cosine; of sentences that count something else it is seldom so high
NEARLY_ALL = 0.75  # of the question's words, by weight
# By how much a score is ahead that needs no further sentence, and behind that is not said.
CLEAR_MARGIN, FAR_BEHIND = 0.2, 0.3
# Calibrated on SQuAD over PDFs: questions with their document in reach, against the same
# questions without it (docs/adr/0010).
MIN_CONFIDENCE = 0.535

_PRONOUN_FIRST = re.compile(
    r"(?:(?:and|but|however|moreover|also|then|today|later|instead),? )?"
    r"(?:it|its|he|she|his|her|they|their|them|this|these|those|that|both|such"
    r"|er|sie|es|dies\w{0,2}|il|elle|ils|elles|ce|cette)\b(?! (?:is|was) (?:that|said|known)\b)",
    re.IGNORECASE,
)
# Not the names by which a document calls its author throughout.
_SHORT_NAME = re.compile(
    r"(?:The|This|That) (?!Compan|Corporation|Group|Board|Registrant|Issuer|Fund)"
    r"(?P<name>[A-Z][\w-]+)(?= [a-z])"
)
_UNFINISHED = re.compile(r"[^\d]*[^\d.!?。！？؟…;\"”’)\]]|.*:")
# Rest of headers, footers and lists: numbers, dates and titles alone, "Page 3",
# "Annual report | 3", "Item 1. Business".
_FURNITURE = re.compile(
    rf"(?:[\W\d_]|\b(?:page|date|{MONTH})\b)+"
    r"|.{0,100}\|\s*(?:page\s*)?\d{1,4}"
    r"|(?:note|item|part|section|chapter)\s+\d{1,2}\w?\b\.?[^.!?]{0,60}",
    re.IGNORECASE,
)
# “The costs were as follows (in millions):” is an answer only with what follows.
_BEFORE_TABLE = re.compile(r".*\b(?:as follows|following)\b[^.!?•]*:", re.IGNORECASE)

_SOURCE = re.compile(r"^according to [^,]{1,80},|\baccording to [^,?]+$", re.IGNORECASE)


class ExtractiveAnswerer:
    """Says a definition, a person or a figure in one line, else up to four sentences.

    All in at most 400 characters, each with its `[n]`. Documents that a question compares get a
    line each.
    Deterministic. Safe to share between threads if the embedder is.
    """

    model = "extractive-1"
    top_k = 10  # a figure's row is often not among the first five; sentences come from those

    def __init__(self, *, embedder: Embedder) -> None:
        self._embedder = embedder

    def answer(
        self, question: Question, *, should_stop: Callable[[], bool] = lambda: False
    ) -> AnswerStream:
        """Write an answer word by word. Iteration raises the errors of `Embedder.embed`."""
        stream = AnswerStream(deltas=iter(()), model=self.model)
        stream.deltas = self._write(stream, question, should_stop)
        return stream

    def compose(self, question: Question) -> str:
        """The whole answer at once."""
        if asks_for_memory(question.text) and question.memories:
            return quote_memory(question.memories[0])
        if not question.grounded:
            return find_memory(question) or DOCUMENTS_ONLY
        query = without_instructions(question.search_query or question.text)
        compared = self._compare(query, question.passages)
        if compared is not None:
            return compared
        passages = passages_about(query, question.passages)
        said = self._say_in_short(query, passages)
        if said is not None:
            return said
        nearest = [one for one in passages if one.index <= SENTENCE_PASSAGES]
        fitting = self._rank(query, nearest or passages)
        if not fitting:
            return find_memory(question) or refuse(question.passages)
        # The words of a follow-up are few, so the best sentence may be about the question before.
        is_follow_up = question.search_query not in ("", question.text)
        best = fitting[0].text
        lead = find_lead(Need.read(query), best) or _late_agent(query, best)
        if lead is not None:
            return _after_lead(lead, fitting[0])
        return join_sentences(fitting if is_follow_up else _worth_saying(fitting))

    def _compare(self, query: str, passages: Sequence[Passage]) -> str | None:
        """A line for each document that the question compares; None if it compares fewer than 2."""
        sides = find_sides(query, passages)
        lines = [line for side in sides if (line := self._line(side, MAX_CHARS // len(sides)))]
        return "\n".join(lines) if len(lines) > 1 else None

    def _line(self, side: Side, room: int) -> str | None:
        """The answer from one side's documents, after the name of the document it is from."""
        said = self._say_in_short(side.question, side.passages)
        if said is None:
            fitting = self._rank(side.question, side.passages)
            said = join_sentences(fitting[:1]) if fitting else None
        cited = [one for one in side.passages if said and said.endswith(f"[{one.index}]")]
        if said is None or not cited:
            return None
        marker = f" [{cited[0].index}]"
        named = f"{title_of(cited[0].filename)}: {said.removesuffix(marker)}"
        return f"{shorten(named, room - len(marker) - 1)}{marker}"

    def _say_in_short(self, query: str, passages: Sequence[Passage]) -> str | None:
        """The definition, person, number or figure that is asked for, None if there is none."""
        named = (
            find_definition(query, passages)
            or find_person(query, passages)
            or find_identifier(query, passages)
        )
        if named is not None:
            return f"{strip_citations(named.text)} [{named.passage.index}]"
        figure = find_figure(query, passages)
        if figure is not None and is_sure(figure, query) and not _lacks(figure, query, passages):
            return f"{say_figure(figure)} [{figure.passage.index}]"
        return None

    def _rank(self, query: str, passages: Sequence[Passage]) -> list[Scored]:
        """The sentences that may be said, best first; none if the best does not convince."""
        ranked = rank_sentences(query, passages, embedder=self._embedder)
        need = Need.read(query)
        fitting = _with_what_is_needed(ranked, need)
        if need.kind == "date" or not need.is_preference:
            about = _SOURCE.sub("", query)
            named = {one.index for one in passages if not lacks_name(about, one, passages)}
            fitting = [one for one in fitting if one.candidate.passage.index in named]
        fitting = [one for one in fitting if not _lacks_essential(one, need, passages)]
        if not fitting or not _is_convincing(fitting):
            return []
        informative = [item for item in fitting if _is_informative(item.text)] or fitting
        return [_completed(informative[0], need), *informative[1:]]

    def _write(
        self, stream: AnswerStream, question: Question, should_stop: Callable[[], bool]
    ) -> Iterator[str]:
        for word in re.findall(r"\s*\S+", self.compose(question)):
            if should_stop():
                stream.finish_reason = "cancelled"
                return
            yield word


def refuse(passages: Sequence[Passage]) -> str:
    """A refusal that names up to MAX_RELATED related pages. Cites nothing."""
    related: dict[str, str] = {}
    for passage in passages:
        if about := _first_words(passage.text):
            place = f"{strip_citations(passage.filename)}, p. {passage.page_start}"
            related.setdefault(place, f"{place} (“{about}”)")
    if not related:
        return NOTHING_FOUND
    return f"{NOTHING_FOUND} Related: {'; '.join(list(related.values())[:MAX_RELATED])}"


def _first_words(text: str) -> str:
    """The beginning of the first line of at least MIN_WORDS words, to show a passage's subject."""
    for line in strip_citations(text).splitlines():
        if len(words(line)) >= MIN_WORDS:
            return shorten(" ".join(line.split()), RELATED_CHARS)
    return ""


def _with_what_is_needed(ranked: Sequence[Scored], need: Need) -> list[Scored]:
    """The sentences that have the kind of thing asked for, best first.

    There is no answer to "how many" without a number. A date or an amount may be said in words
    that nobody can list, so a sentence with nearly all of the question's words will do.
    """
    fitting = [item for item in ranked if need.is_met(item.text) and _counts(item, need)]
    if need.kind == "count":
        return fitting or [item for item in ranked if _may_count(item, need)]
    if fitting and confidence(fitting) >= MIN_CONFIDENCE:
        return [fitting[0], *(item for item in ranked if item is not fitting[0])]
    return [item for item in ranked if need.is_preference or item.share > NEARLY_ALL]


def _completed(item: Scored, need: Need) -> Scored:
    """The sentence, followed by the next one if only that says what is asked of the same subject.

    “The tower is the highest of the town. It is 41 metres tall.”
    """
    one = item.candidate
    if need.form not in ("year", "number") or need.fits(one.text) or not need.fits(one.after):
        return item
    both = f"{one.text} {one.after}"
    if _PRONOUN_FIRST.match(one.after) is None or len(both) > MAX_SENTENCE_CHARS:
        return item
    return replace(item, candidate=replace(one, text=both))


def _lacks_essential(item: Scored, need: Need, passages: Sequence[Passage]) -> bool:
    one = item.candidate
    near = f"{one.before} {one.text} {one.after}"
    return lacks_essential(need, near, one.passage, passages)


def _lacks(figure: Figure, query: str, passages: Sequence[Passage]) -> bool:
    """Whether a figure measures something else, or is the total of something else."""
    cell = figure.cell
    near = " ".join((cell.section, cell.row, *cell.columns, *cell.heading, figure.passage.heading))
    if lacks_measure(Need.read(query), near):
        return True
    same = [one.text for one in passages if one.document_id == figure.passage.document_id]
    return is_total(cell) and lacks_subject(query, near, figure.passage, " ".join(same))


def _may_count(item: Scored, need: Need) -> bool:
    """Whether the sentence has a number, and means what is asked or has nearly all of its words."""
    if not need.has_number(item.text) or need.names_one(item.text):
        return False
    named = need.names_counted(frozenset(item.candidate.stems)) and item.share > NEARLY_ALL
    return named or item.cosine > SAME_MEANING


def _counts(item: Scored, need: Need) -> bool:
    """Whether the sentence, or the one before it, names what is counted."""
    before = content_stems(item.candidate.before)
    return need.names_counted(frozenset(item.candidate.stems).union(before))


def confidence(ranked: Sequence[Scored]) -> float:
    """How well the best sentence fits the question; too low for an answer below MIN_CONFIDENCE."""
    return ranked[0].cosine + 0.3 * ranked[0].share


def join_sentences(ranked: Sequence[Scored]) -> str:
    """The best sentences, best first, each with its marker, in at most MAX_CHARS.

    A sentence whose subject is a pronoun (“It is 41 metres tall”) is shown together with the
    sentence before it in the passage, because after another one it would mean something else.
    """
    parts: list[str] = []
    shown: list[str] = []
    left = MAX_CHARS
    for item in _in_order(ranked):
        if any(item.text in one or one in item.text for one in [*shown, *parts]):
            continue  # a list and its items
        marker = f" [{item.candidate.passage.index}]"
        room = left - len(marker) - bool(parts)
        text = _self_contained(item, shown)
        if text is None or (
            parts and len(text) > room and (room < MIN_EXCERPT or text != item.text)
        ):
            continue
        text = shorten(text, room)
        place = _place(item, shown)
        parts.insert(place, text + marker)
        shown.insert(place, item.text)
        left = room - len(text)
        if len(parts) == MAX_SENTENCES:
            break
    return " ".join(parts)


def _late_agent(query: str, text: str) -> str | None:
    """Who did what is asked, if the sentence says other things first."""
    agent = find_agent(query, text)
    return agent if agent is not None and text.find(agent) > LATE else None


def _after_lead(lead: str, item: Scored) -> str:
    """The sentence after the value of it that is meant."""
    marker = f" [{item.candidate.passage.index}]"
    return f"{shorten(f'{lead} – {item.text}', MAX_CHARS - len(marker))}{marker}"


def _is_convincing(ranked: Sequence[Scored]) -> bool:
    """Whether the best sentence answers. A table's row of figures must have more of the words."""
    if is_row_of_figures(ranked[0].text) and ranked[0].share < MIN_SHARE_OF_ROW:
        return False
    return confidence(ranked) >= MIN_CONFIDENCE


def _worth_saying(ranked: Sequence[Scored]) -> list[Scored]:
    """The best sentence, and those of its document that may be what was meant instead.

    Alone where it is far ahead: what else the passages say is then beside the point.
    """
    best, *others = ranked
    if others and best.score - others[0].score > CLEAR_MARGIN:
        return [best]
    near = best.score - FAR_BEHIND
    document = best.candidate.passage.document_id
    return [best] + [
        one for one in others if one.score > near and one.candidate.passage.document_id == document
    ]


def _place(item: Scored, shown: Sequence[str]) -> int:
    """The index at which to insert a sentence: after the one that explains its pronoun, or last."""
    before = item.candidate.before
    if _needs(item.text, before) and before in shown:
        return shown.index(before) + 1
    return len(shown)


def _self_contained(item: Scored, shown: Sequence[str]) -> str | None:
    """The sentence, after the one that explains its pronoun; None if both cannot be shown."""
    before = item.candidate.before
    if not _needs(item.text, before) or before in shown:
        return item.text
    if len(before) > MAX_ANTECEDENT_CHARS:
        return None if shown else item.text
    return f"{before} {item.text}"


def _needs(text: str, before: str) -> bool:
    """Whether `text` begins with a pronoun, or a short form of a name, that `before` explains.

    “The District employs …” is short for “The Long Beach Unified School District”.
    """
    if not before:
        return False
    short = _SHORT_NAME.match(text)
    if short is not None:
        return bool(re.search(rf"\b[A-Z][\w’'-]+ {re.escape(short['name'])}\b", before))
    return _PRONOUN_FIRST.match(text) is not None


def _in_order(ranked: Sequence[Scored]) -> list[Scored]:
    first, *others = ranked
    return [first, *sorted(others, key=_worth, reverse=True)]


def _worth(item: Scored) -> float:
    return item.score - LENGTH_PENALTY * len(item.text) / 100


def _is_informative(text: str) -> bool:
    """False for titles, which repeat the question without an answer, and for page furniture."""
    if _FURNITURE.fullmatch(text) or _BEFORE_TABLE.fullmatch(text):
        return False
    if len(words(text)) < MIN_WORDS and not any(char.isdigit() for char in text):
        return False
    return _UNFINISHED.fullmatch(text) is None or len(text.split()) > HEADING_WORDS
