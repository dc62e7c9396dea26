"""python -m core.quality: has retrieval become worse?

Replays the newest turns, asks headings as questions, and prints the rates beside those of the
last run that passed. Exit status 1: a rate fell by more than --max-drop. 2: there was nothing
to ask. A run that passes is the one that the next run is compared with.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from core.bootstrap import Services, bootstrap
from core.quality import headings, replay, report
from core.settings import get_settings

MAX_DROP = 0.05
WORST_SHOWN = 10


def run(services: Services, options: argparse.Namespace, *, last: Path | None = None) -> int:
    """One run; its exit status."""
    path = last or services.settings.data_dir / "quality.json"
    turns = replay.read_turns(services, limit=options.turns, tenant_id=options.tenant)
    asked = headings.read_headings(services, limit=options.headings, tenant_id=options.tenant)
    if not turns and not asked:
        print("There are no turns and no headings to ask.", file=sys.stderr)
        return 2
    replays = replay.replay(services, turns)
    now, before = report.rates(replays, headings.ask(services, asked)), report.read_last(path)
    print(f"{len(turns)} turns, {len(asked)} headings\n{report.table(now, before)}")
    for line in report.worst(replays, count=WORST_SHOWN):
        print(f"  {line}")
    worse = report.fallen(now, before or report.FIRST, max_drop=options.max_drop)
    if worse and not options.accept:
        print(f"Fell by more than {options.max_drop}: {', '.join(worse)}", file=sys.stderr)
        return 1
    report.write_last(path, now)
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m core.quality", description=__doc__)
    parser.add_argument("--turns", type=int, default=200, help="replay at most so many")
    parser.add_argument("--headings", type=int, default=100, help="ask at most so many")
    parser.add_argument("--tenant", help="only this tenant's; default: those of all")
    parser.add_argument("--max-drop", type=float, default=MAX_DROP, help="default: %(default)s")
    parser.add_argument("--accept", action="store_true", help="keep this run's rates even so")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    services = bootstrap(get_settings())
    try:
        return run(services, options)
    finally:
        services.close()


if __name__ == "__main__":
    raise SystemExit(main())
