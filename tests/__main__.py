"""`python -m tests [pytest's arguments]`: the test suite, with several tests at a time.

Most of the suite waits for clocks and processes, so pytest-xdist runs it in more processes than
there are processors, each with a PostgreSQL and a Redis of its own. Tests marked `alone` compare
times; they run afterwards, one by one.
"""

import subprocess
import sys

import pytest

SIDE_BY_SIDE = ["-n", "auto", "--dist", "loadgroup", "--no-loadscope-reorder"]


def main(arguments: list[str]) -> int:
    """The exit status: pytest's own, 0 if all that was selected passed."""
    statuses = [
        _pytest([*SIDE_BY_SIDE, "-m", "not alone", *arguments]),
        _pytest(["-m", "alone", *arguments]),
    ]
    none = pytest.ExitCode.NO_TESTS_COLLECTED
    if all(status == none for status in statuses):
        return none
    return next((status for status in statuses if status not in {0, none}), 0)


def _pytest(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
