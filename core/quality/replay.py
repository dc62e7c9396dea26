"""Asks the questions of stored turns again and compares the passages with those of then."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any
from uuid import UUID

from sqlalchemy import text

from core.answering.passages import Passage
from core.bootstrap import Services
from core.search import retrieval
from core.search.candidates import Mode
from core.search.reach import Reach

_TURNS = text(
    """
    SELECT t.tenant_id, m.session_id, s.user_id, t.data, m.turn_options AS options
    FROM message_traces t
    JOIN messages m ON m.id = t.message_id
    JOIN sessions s ON s.id = m.session_id
    WHERE (CAST(:tenant_id AS text) IS NULL OR t.tenant_id = :tenant_id)
      AND t.data ->> 'mode' IS NOT NULL
      AND jsonb_array_length(t.data -> 'prompt_passages') > 0
    ORDER BY t.message_id DESC LIMIT :limit
    """
)
_LIVE = text("SELECT id FROM documents WHERE id = ANY(CAST(:ids AS uuid[])) AND generation > 0")


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn's query, what was in reach, and the places of its passages, best first.

    A place is a document and its page: chunks get new ids when a document is ingested again.
    """

    query: str
    mode: Mode
    reach: Reach
    places: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """A turn's passages then and now: for each of then its rank now from 1, None if it is gone.

    `lead` is that of the passage which is first now, see `lead_of_first`.
    """

    query: str
    ranks: tuple[int | None, ...]
    lead: float

    @property
    def kept(self) -> float:
        """The share of the passages of then that are found again."""
        return sum(rank is not None for rank in self.ranks) / len(self.ranks)

    @property
    def same_first(self) -> bool:
        return self.ranks[0] == 1

    @property
    def reciprocal_rank(self) -> float:
        """Of the passage that was first."""
        first = self.ranks[0]
        return 1 / first if first else 0.0

    def as_line(self) -> str:
        """`query: 1→1 2→4 3→-`."""
        moved = (f"{then}→{now or '-'}" for then, now in enumerate(self.ranks, start=1))
        return f"{self.query[:60]}: {' '.join(moved)}"


def read_turns(services: Services, *, limit: int, tenant_id: str | None) -> list[StoredTurn]:
    """The newest turns that searched and found something, without documents that are gone."""
    with services.database.transaction(tenant_id=None) as db:
        rows = db.execute(_TURNS, {"tenant_id": tenant_id, "limit": limit}).all()
        named = {one["document_id"] for row in rows for one in row.data["prompt_passages"]}
        live = {str(id_) for id_ in db.scalars(_LIVE, {"ids": sorted(named)})}
    return [turn for row in rows if (turn := _turn(row, live)).places]


def _turn(row: Any, live: set[str]) -> StoredTurn:
    listed = (row.options or {}).get("document_ids")
    ids = None if listed is None else [UUID(one) for one in listed if one in live]
    places = dict.fromkeys(
        (one["document_id"], one["page_start"])
        for one in row.data["prompt_passages"]
        if one["document_id"] in live
    )
    reach = Reach(row.tenant_id, row.user_id, row.session_id, ids)
    return StoredTurn(row.data["query"], row.data["mode"], reach, tuple(places))


def replay(services: Services, turns: Sequence[StoredTurn]) -> list[Replay]:
    """Search again for each turn. Raises ProviderError if a query cannot be embedded."""
    return [_replay(services, turn) for turn in turns]


def _replay(services: Services, turn: StoredTurn) -> Replay:
    found = retrieval.find_in_reach(
        services,
        reach=turn.reach,
        query=turn.query,
        top_k=len(turn.places),
        mode=turn.mode,
    )
    now = list(dict.fromkeys((one.document_id, one.page_start) for one in found.passages))
    ranks = (now.index(place) + 1 if place in now else None for place in turn.places)
    return Replay(turn.query, tuple(ranks), lead_of_first(found.passages))


def lead_of_first(passages: Sequence[Passage]) -> float:
    """By how much the first passage's score is ahead of the mean of the others. 0 without others.

    When a part of the score is lost, the ranks of few documents may stay. The lead does not.
    """
    first, *others = (passage.score for passage in passages) if passages else (0.0,)
    return first - fmean(others) if others else 0.0
