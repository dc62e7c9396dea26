"""Finds the passages that an answer cites, and their words that support its statements."""

from collections.abc import Sequence

from core.answering.citations import best_quote, citing_statements, verbatim_quote
from core.answering.passages import Passage
from core.text.words import content_stems


def cited_passages(answer: str, passages: Sequence[Passage]) -> list[Passage]:
    """The passages that `answer` cites, each with a quote per statement that cites it."""
    statements = citing_statements(answer)
    return [
        _quoted(passage, statements[passage.index])
        for passage in passages
        if passage.index in statements
    ]


def _quoted(passage: Passage, statements: Sequence[str]) -> Passage:
    quotes = list(dict.fromkeys(_supporting_quote(passage, one) for one in statements))
    return passage.quoted(quotes[0], *quotes[1:])


def _supporting_quote(passage: Passage, statement: str) -> str:
    if set(content_stems(statement)).isdisjoint(content_stems(passage.text)):
        return passage.quote  # no word in common (another language?): keep the search's quote
    where = {"page_break": passage.page_break}
    quote = verbatim_quote(passage.text, statement, **where)
    return quote or best_quote(passage.text, statement, **where)
