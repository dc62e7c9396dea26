"""Writes the contents and queries of the full-text index, from the words of `core.text.words`.

PostgreSQL's own parser cuts codes, numbers and scripts without spaces differently, so
tsvectors and tsqueries are written here, in PostgreSQL's text form (manual, 8.11).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.text.dates import MONTH_STEMS
from core.text.questions import numbered_parts
from core.text.words import index_stems, query_stems, words

VERSION = 1  # of the rules that cut words; word_index cuts chunks of older versions again

QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]{3,200})[\"“”„«»]")
_EXCLUDED = re.compile(r"(?<!\S)-(\w\S*)")
_MIN_BEGINNING = 3  # letters
_MAX_PLACE = 16_383  # a tsvector's last position
_MAX_PLACES = 256  # PostgreSQL stores no more positions per lexeme


@dataclass(frozen=True, slots=True)
class Term:
    """What a query looks for: a lexeme, or a quoted phrase. `query` is a tsquery's text."""

    name: str
    query: str


def vector_of(text: str, *, tenant_id: str) -> str:
    """The tsvector of `text`, with the tenant's lexeme (explained at `core.db.models.Chunk`)."""
    places: dict[str, list[int]] = {}
    for place, stem in index_stems(text):
        places.setdefault(stem, []).append(min(place, _MAX_PLACE))
    lexemes = [_lexeme(stem, found) for stem, found in places.items()]
    return " ".join([*lexemes, _quote(f"\x01{tenant_id}")])


def terms_of(query: str) -> list[Term]:
    """The words of `query`, then its quoted phrases and the parts it names, each once."""
    found = [Term(stem, _in_any_form(stem)) for stem in query_stems(query)]
    phrases = dict.fromkeys(QUOTED.findall(query) + numbered_parts(query))
    return found + [phrase for text in phrases if (phrase := _phrase(text))]


def query_of(query: str) -> str:
    """A tsquery's text for messages: any word, all quoted phrases, none of the `-words`.

    The last word also finds words that it begins. Empty where `query` has no word.
    """
    excluded = [stem for word in _EXCLUDED.findall(query) for stem in query_stems(word)]
    kept = _EXCLUDED.sub(" ", query)
    phrases = [phrase for text in QUOTED.findall(kept) if (phrase := _phrase(text))]
    rest = QUOTED.sub(" ", kept) if phrases else kept
    terms = [_quote(stem) for stem in query_stems(rest)]
    if rest[-1:].isalnum():
        terms += [f"{beginning}:*" for beginning in _beginnings(rest)]
    parts = [f"({phrase.query})" for phrase in phrases]
    parts += [f"({' | '.join(terms)})"] if terms else []
    return " & ".join(parts + [f"!{_quote(stem)}" for stem in excluded])


def _in_any_form(stem: str) -> str:
    """A lexeme, for a month also its other form: `august` and `aug`."""
    other = MONTH_STEMS.get(stem)
    return f"({_quote(stem)} | {_quote(other)})" if other else _quote(stem)


def _beginnings(query: str) -> list[str]:
    """The last word as typed, not stemmed: a longer word may not begin with its stem."""
    typed = words(query)[-1:]
    return [_quote(word) for word in typed if len(word) >= _MIN_BEGINNING and word.isalpha()]


def _phrase(text: str) -> Term | None:
    """The words of `text` in order, at the same distances as in `text`."""
    placed = dict(reversed(index_stems(text)))
    if len(placed) < 2:
        return None
    places = sorted(placed)
    query = _quote(placed[places[0]])
    for before, place in pairwise(places):
        query += f" <{place - before}> {_quote(placed[place])}"
    return Term(f'"{text}"', query)


def _lexeme(stem: str, places: Sequence[int]) -> str:
    return f"{_quote(stem)}:{','.join(map(str, dict.fromkeys(places[:_MAX_PLACES])))}"


def _quote(lexeme: str) -> str:
    doubled = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"
