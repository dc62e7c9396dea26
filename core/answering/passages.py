"""A passage: a chunk that a search found for one question."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Passage:
    """A source for answers. `[n]` in an answer refers to the passage with `index` n.

    `index` counts from 1 in the order shown; pages count from 1; `score` is higher
    for more relevant passages and comparable within one search only; `quote` is
    word for word in the text of page `page_start`. `page_break` is the index in
    `text` where page `page_end` begins, None if there is one page. `heading` is the
    section's, with the caption and unit of the table in which `text` begins. Clients see
    neither. `page_label` is the number printed on page `page_start`, by the PDF's page
    labels (ISO 32000-2, 12.4.2), None if it has none. `quotes` are the words,
    `{quote, page}`, that support each statement of an answer that cites the passage.
    """

    index: int
    document_id: str
    filename: str
    page_start: int
    page_end: int
    chunk_id: str
    text: str
    quote: str
    score: float
    page_break: int | None = None
    page_label: str | None = None
    quotes: tuple[dict[str, Any], ...] = ()
    heading: str = ""

    def numbered(self, index: int) -> "Passage":
        return replace(self, index=index)

    def quoted(self, *quotes: str) -> "Passage":
        """The passage with the words that support each statement which cites it."""
        listed = tuple({"quote": quote, "page": self.page_start} for quote in quotes)
        return replace(self, quote=quotes[0], quotes=listed)

    def scored(self, score: float) -> "Passage":
        return replace(self, score=score)

    def as_dict(self) -> dict[str, Any]:
        """The fields that clients see: all but `page_break` and `heading`."""
        return {name: getattr(self, name) for name in _SHOWN}

    def stored(self) -> dict[str, Any]:
        """All fields; `Passage(**stored)` is the inverse."""
        return asdict(self)


_HIDDEN = ("page_break", "heading")
_SHOWN = tuple(field.name for field in fields(Passage) if field.name not in _HIDDEN)
