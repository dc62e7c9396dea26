"""Writes the contents and queries of the full-text index, from the words of `core.text.words`.

PostgreSQL's own parser cuts codes, numbers and scripts without spaces differently, so
tsvectors and tsqueries are written here, in PostgreSQL's text form (manual, 8.11).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.text.dates import MONTH_STEMS
from core.text.questions import numbered_parts
from core.text.synonyms import equivalents_of
from core.text.words import index_stems, query_stems, words

VERSION = 1  # of the rules that cut words; word_index cuts chunks of older versions again

QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]{3,200})[\"“”„«»]")
_EXCLUDED = re.compile(r"(?<!\S)-(\w\S*)")
_MIN_BEGINNING = 3  # letters
_MAX_PLACE = 16_383  # a tsvector's last position
_MAX_PLACES = 256  # PostgreSQL stores no more positions per lexeme


@dataclass(frozen=True, slots=True)
class Term:
    """What a query looks for: a lexeme in its `forms`, or a quoted phrase.

    `query` is a tsquery's text. `forms` is the number of lexemes of a tsquery of alternatives, 1
    for any other one.
    """

    name: str
    query: str
    forms: int = 1


def vector_of(text: str, *, tenant_id: str) -> str:
    """The tsvector of `text`, with the tenant's lexeme (explained at `core.db.models.Chunk`)."""
    places: dict[str, list[int]] = {}
    for place, stem in index_stems(text):
        places.setdefault(stem, []).append(min(place, _MAX_PLACE))
    lexemes = [_lexeme(stem, found) for stem, found in places.items()]
    return " ".join([*lexemes, _quote(f"\x01{tenant_id}")])


def terms_of(query: str) -> list[Term]:
    """The words of `query`, then its quoted phrases and the parts it names, each once.

    A word is looked for together with its equivalents: `capex` and `capital expenditures`.
    """
    stems = query_stems(query)
    others = equivalents_of(stems)
    found = [_in_any_form(stem, others.get(stem, ())) for stem in stems]
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


def _in_any_form(stem: str, others: Iterable[str]) -> Term:
    """A lexeme or one of the words and phrases `others`, for a month also its short form."""
    lexemes, forms = {stem: None}, {_quote(stem): None}
    if month := MONTH_STEMS.get(stem):
        lexemes[month] = forms[_quote(month)] = None
    for other in others:
        own = query_stems(other)
        phrase = _phrase(other)
        lexemes |= dict.fromkeys(own)
        forms[f"({phrase.query})" if phrase else _quote(own[0])] = None
    if len(forms) == 1:
        return Term(stem, _quote(stem))
    return Term(stem, f"({' | '.join(forms)})", len(lexemes))


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
