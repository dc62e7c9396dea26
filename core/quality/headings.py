"""Asks the headings of documents as questions: the section below a heading answers it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from core.bootstrap import Services
from core.search import retrieval
from core.search.document_names import document_label
from core.search.reach import Reach

DEPTH = 5
# Spread over all documents by the hash of the heading, the same ones in each run.
_HEADINGS = text(
    """
    SELECT d.tenant_id, d.id, d.filename, d.title, c.heading, array_agg(c.id) AS chunks
    FROM documents d JOIN chunks c ON c.document_id = d.id AND c.generation = d.generation
    WHERE (CAST(:tenant_id AS text) IS NULL OR d.tenant_id = :tenant_id)
      AND c.heading ~ '[[:alpha:]]{4}'
    GROUP BY d.tenant_id, d.id, c.heading
    ORDER BY md5(c.heading), d.id LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class Heading:
    """A section's heading, its document's name, and the ids of its chunks."""

    tenant_id: str
    query: str
    chunks: frozenset[str]


def read_headings(services: Services, *, limit: int, tenant_id: str | None) -> list[Heading]:
    """Headings as queries, each after its document's name, which tells like ones apart."""
    with services.database.transaction(tenant_id=None) as db:
        rows = db.execute(_HEADINGS, {"tenant_id": tenant_id, "limit": limit}).all()
    return [
        Heading(
            row.tenant_id,
            f"{document_label(row.filename, row.title)}: {row.heading}",
            frozenset(map(str, row.chunks)),
        )
        for row in rows
    ]


def ask(services: Services, headings: Sequence[Heading]) -> list[int | None]:
    """For each heading the rank of its section's first passage from 1, None beyond DEPTH."""
    return [_ask(services, heading) for heading in headings]


def _ask(services: Services, heading: Heading) -> int | None:
    found = retrieval.find_in_reach(
        services,
        reach=Reach(heading.tenant_id, None, None, None),
        query=heading.query,
        top_k=DEPTH,
    )
    for passage in found.passages:
        if passage.chunk_id in heading.chunks:
            return passage.index
    return None
