"""How an answer was made: collected in a turn, stored with the answer's end, read by `/trace`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.answering.passages import Passage
from core.answering.support import Support
from core.conversations.memory import Recollection
from core.errors import NotFound
from core.search.retrieval import Scored

_GET = text(
    "SELECT data FROM message_traces WHERE tenant_id = :tenant_id AND message_id = :message_id"
)

CANDIDATES_KEPT = 30  # per answer, because each is stored as JSON
STAGES = ("embed", "search", "recall", "prompt", "first_token", "generate", "total")


@dataclass(slots=True)
class TurnTrace:
    """The trace of one turn. `mode` is None if the turn did not search. Times are milliseconds.

    `first_token` and `generate` count from the request to the provider, `total` from the begin
    of the turn. A stage that was not reached has no time.
    """

    query: str | None = None
    mode: str | None = None
    candidates: Sequence[Scored] = ()
    passages: Sequence[Passage] = ()
    memories: Sequence[Recollection] = ()
    support: Support = field(default_factory=Support)
    timings: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def note(self, stage: str, *, since: float) -> None:
        """Note the duration of a stage that began at `since` (`time.perf_counter`)."""
        self.timings[stage] = 1000 * (time.perf_counter() - since)

    def as_dict(self, *, model: str | None, usage: dict[str, Any] | None) -> dict[str, Any]:
        """Return the trace to store. It holds no text of memories, so a deleted text is gone."""
        self.note("total", since=self.started)
        in_prompt = {passage.chunk_id for passage in self.passages}
        return {
            "query": self.query,
            "mode": self.mode,
            "candidates": [
                one.summary() | {"in_prompt": one.candidate.chunk_id in in_prompt}
                for rank, one in enumerate(self.candidates)
                if rank < CANDIDATES_KEPT or one.candidate.chunk_id in in_prompt
            ],
            "prompt_passages": [passage.as_dict() for passage in self.passages],
            "memories": [
                {"message_id": str(one.message_id), "similarity": one.similarity}
                for one in self.memories
            ],
            "model": model,
            "usage": usage,
            "support": self.support.as_dict(),
            "timings_ms": {name: self._milliseconds(name) for name in STAGES},
        }

    def _milliseconds(self, stage: str) -> float | None:
        taken = self.timings.get(stage)
        return None if taken is None else round(taken, 2)


def get_trace(db: Session, *, tenant_id: str, message_id: UUID) -> dict[str, Any]:
    """Raises NotFound, also for a message that this service did not answer."""
    data = db.scalar(_GET, {"tenant_id": tenant_id, "message_id": message_id})
    if data is None:
        raise NotFound("There is no trace of such a message.", code="trace_not_found")
    return {"support": None, **data}  # older traces have no support
