"""What is noted about a turn while it runs, for `GET /messages/{id}/trace`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.memory import Recollection
from core.passages import Passage
from core.retrieval import Scored

CANDIDATES_KEPT = 30  # a row of JSON each, with every answer
STAGES = ("embed", "search", "recall", "prompt", "first_token", "generate", "total")


@dataclass(slots=True)
class TurnTrace:
    """`mode` is None when nothing was searched. Times are milliseconds.

    `first_token` and `generate` count from the moment the provider was asked, `total` from
    the beginning of the turn. A stage that was not reached has none.
    """

    query: str | None = None
    mode: str | None = None
    candidates: Sequence[Scored] = ()
    passages: Sequence[Passage] = ()
    memories: Sequence[Recollection] = ()
    timings: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def note(self, stage: str, *, since: float) -> None:
        """Note what a stage took that began at `since` of `time.perf_counter`."""
        self.timings[stage] = 1000 * (time.perf_counter() - since)

    def as_dict(self, *, model: str | None, usage: dict[str, Any] | None) -> dict[str, Any]:
        """As it is stored. Of memories no text: it goes when its own session does."""
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
            "timings_ms": {name: self._shown(name) for name in STAGES},
        }

    def _shown(self, stage: str) -> float | None:
        taken = self.timings.get(stage)
        return None if taken is None else round(taken, 2)
