"""`python -m tests [--faults] [--browser] [pytest's arguments]`: the tests, several at a time.

Most tests wait for clocks and processes, so pytest-xdist runs more processes than there are
processors, each with its own PostgreSQL and Redis. Tests marked `alone` compare times; they run
afterwards, one by one. Tests marked `faults` end, kill and starve whole services, and tests
marked `browser` use a real browser. Both take long, so they have runs of their own: `--faults` runs
only the first, also those in a browser, and `--browser` the rest of the second. With both options
the second run while the first wait.
"""

import subprocess
import sys

import pytest

SIDE_BY_SIDE = ["-n", "auto", "--dist", "loadscope", "--no-loadscope-reorder"]
RUNS = {"--faults": "faults", "--browser": "browser and not faults"}
EVERYTHING_ELSE = "not faults and not browser"


def main(arguments: list[str]) -> int:
    """Run the tests; return pytest's exit status, 0 if all selected tests passed."""
    chosen = [f"({RUNS[argument]})" for argument in arguments if argument in RUNS]
    run = f"({' or '.join(chosen) or EVERYTHING_ELSE})"
    arguments = [argument for argument in arguments if argument not in RUNS]
    statuses = [
        _pytest([*SIDE_BY_SIDE, "-m", f"{run} and not alone", *arguments]),
        _pytest(["-m", f"{run} and alone", *arguments]),
    ]
    none = pytest.ExitCode.NO_TESTS_COLLECTED
    if all(status == none for status in statuses):
        return none
    return next((status for status in statuses if status not in {0, none}), 0)


def _pytest(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
