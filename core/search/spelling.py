"""Forgives a typo in a word of a query that no chunk in reach holds.

Only what is one edit away from a word of the tenant counts: a letter too many, too few,
another one, or two swapped (Damerau, 1964). All such spellings are made, at most some 60 for
each letter, and their stems are looked up in the index: no list of all words is read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from sqlalchemy import text

from core.db import Executor
from core.search.candidates import Candidates, reach_values
from core.search.ranking import missing_words
from core.search.reach import IN_REACH, Reach
from core.text.synonyms import equivalents_of
from core.text.words import FUNCTION_WORDS, STOP_WORDS, fold, stem

MIN_LETTERS = 5  # of a word; shorter ones have too many neighbours that mean something else
MAX_WORDS = 3  # of a query that are corrected
_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = (
    (re.compile(r"[a-z]+"), ascii_lowercase),
    (re.compile(r"[а-я]+"), "абвгдежзийклмнопрстуфхцчшщъыьэюя"),
    (re.compile(r"[α-ω]+"), "αβγδεζηθικλμνξοπρστυφχψω"),
)

# The statistics of a large tenant, else the chunks in reach. `OFFSET 0` keeps PostgreSQL from
# reading chunks other than through their documents.
_KNOWN = text(
    f"""
    SELECT lexeme, chunks FROM term_statistics
    WHERE tenant_id = :tenant_id AND lexeme = ANY(CAST(:stems AS text[]))
    UNION ALL
    SELECT held.lexeme, count(*)
    FROM documents d CROSS JOIN LATERAL (
        SELECT tsv FROM chunks
        WHERE document_id = d.id AND generation = d.generation
          AND tsv @@ CAST(:any_stem AS tsquery)
        OFFSET 0
    ) AS c
    CROSS JOIN LATERAL unnest(c.tsv) AS held
    WHERE NOT EXISTS (SELECT FROM tenant_statistics WHERE tenant_id = :tenant_id)
      AND d.generation > 0 AND held.lexeme = ANY(CAST(:stems AS text[]))
      AND d.id IN (
          SELECT id FROM documents WHERE {IN_REACH}
            AND (CAST(:document_ids AS uuid[]) IS NULL OR id = ANY(CAST(:document_ids AS uuid[])))
      )
    GROUP BY held.lexeme
    """  # noqa: S608  # constants only
)


@dataclass(frozen=True, slots=True)
class _Spelling:
    """A way to write a word, and in how many chunks its stem occurs."""

    word: str
    chunks: int


def correct(db: Executor, *, reach: Reach, query: str, found: Candidates) -> str:
    """`query` with each misspelt word as the tenant's documents write it; as it is if none is.

    `found` are the candidates of `query`: a word that one of them holds is right.
    """
    unknown = [word for word in _words(query) if found.frequency.get(stem(fold(word)), 0) <= 1]
    if not unknown:
        return query
    missing = set(missing_words({stem(fold(word)) for word in unknown}, found.items))
    for word in unknown[:MAX_WORDS]:
        if stem(fold(word)) in missing and (better := _respell(db, reach, fold(word))):
            query = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", better, query)
    return query


def _words(query: str) -> list[str]:
    """The words of a query that may be misspelt, each once."""
    found = dict.fromkeys(_WORD.findall(query))
    return [
        word
        for word in found
        if len(word) >= MIN_LETTERS
        and fold(word) not in STOP_WORDS | FUNCTION_WORDS
        and not equivalents_of([stem(fold(word))])  # a known word, as is `capex` for `cape`
    ]


def _respell(db: Executor, reach: Reach, word: str) -> str | None:
    """The most frequent word of the tenant that is one edit away; None if `word` is known."""
    stems = {spelling: stem(spelling) for spelling in spellings(word)}
    known = _chunks_of(db, reach, {*stems.values(), stem(word)}) if stems else {}
    if known.get(stem(word)):
        return None
    best = max(
        (_Spelling(spelling, known.get(own, 0)) for spelling, own in stems.items()),
        key=lambda one: (one.chunks > 0, one.word[0] == word[0], one.chunks),
        default=_Spelling("", 0),
    )
    return best.word if best.chunks else None


def _chunks_of(db: Executor, reach: Reach, stems: Iterable[str]) -> Mapping[str, int]:
    listed = sorted(stems)
    values = reach_values(reach) | {
        "stems": listed,
        "any_stem": " | ".join(f"'{one}'" for one in listed),
    }
    return {row[0]: row[1] for row in db.execute(_KNOWN, values).all()}


def spellings(word: str) -> Sequence[str]:
    """The folded `word` with one edit, each once; none for scripts without a known alphabet."""
    letters = next((own for script, own in _LETTERS if script.fullmatch(word)), "")
    return list(dict.fromkeys(_edits(word, letters))) if letters else []


def _edits(word: str, letters: str) -> Iterator[str]:
    for place in range(len(word) + 1):
        head, tail = word[:place], word[place:]
        for letter in letters:
            yield head + letter + tail
        if tail:
            # A word without its last letter is mostly another one, or its stem.
            if len(tail) > 1 or tail == head[-1:]:
                yield head + tail[1:]
            yield from (head + letter + tail[1:] for letter in letters if letter != tail[0])
        if len(tail) > 1 and tail[0] != tail[1]:
            yield head + tail[1] + tail[0] + tail[2:]
