"""The rates of a run, beside those of the last one, and whether they fell too far."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.quality.headings import DEPTH
from core.quality.replay import Replay

Rates = Mapping[str, float]

# What the first run is compared with: turns were answered by this code or one not much older.
FIRST = {"turns: same first passage": 0.7, "turns: passages kept": 0.7}


def rates(replays: Sequence[Replay], ranks: Sequence[int | None]) -> dict[str, float]:
    """Shares from 0 to 1 by name; those of turns or headings are left out where there are none."""
    found: dict[str, float] = {}
    if replays:
        count = len(replays)
        found["turns: same first passage"] = sum(one.same_first for one in replays) / count
        found["turns: passages kept"] = sum(one.kept for one in replays) / count
        found["turns: first passage, MRR"] = sum(one.reciprocal_rank for one in replays) / count
        found["turns: lead of the first"] = sum(one.lead for one in replays) / count
    if ranks:
        count = len(ranks)
        found["headings: hit@1"] = sum(rank == 1 for rank in ranks) / count
        found[f"headings: hit@{DEPTH}"] = sum(rank is not None for rank in ranks) / count
        found["headings: MRR"] = sum(1 / rank for rank in ranks if rank) / count
    return found


def fallen(now: Rates, last: Rates, *, max_drop: float) -> list[str]:
    """The names of the rates that are more than `max_drop` below those of the last run."""
    return [name for name, rate in now.items() if rate < last.get(name, 0.0) - max_drop]


def table(now: Rates, last: Rates) -> str:
    """A line for each rate: now, in the last run, and the difference."""
    lines = [f"{'':<28}{'now':>7}{'last':>7}{'change':>8}"]
    for name, rate in now.items():
        before = last.get(name)
        compared = "" if before is None else f"{before:>7.3f}{rate - before:>+8.3f}"
        lines.append(f"{name:<28}{rate:>7.3f}{compared}")
    return "\n".join(lines)


def worst(replays: Sequence[Replay], *, count: int) -> list[str]:
    """The turns whose passages changed most, a line each."""
    changed = [one for one in replays if not one.same_first or one.kept < 1]
    changed.sort(key=lambda one: (one.kept, one.reciprocal_rank))
    return [one.as_line() for one in changed[:count]]


def read_last(path: Path) -> dict[str, float]:
    """The rates of the last run; empty before the first."""
    if not path.exists():
        return {}
    stored: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return stored


def write_last(path: Path, now: Rates) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(now), indent=1), encoding="utf-8")
