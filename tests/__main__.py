"""`python -m tests [--faults] [pytest's arguments]`: the test suite, several tests at a time.

Most tests wait for clocks and processes, so pytest-xdist runs more processes than there are
processors, each with its own PostgreSQL and Redis. Tests marked `alone` compare times; they run
afterwards, one by one. Tests marked `faults` end, kill and starve whole services and take as long
as all others together: `--faults` runs only them.
"""

import subprocess
import sys

import pytest

SIDE_BY_SIDE = ["-n", "auto", "--dist", "loadscope", "--no-loadscope-reorder"]


def main(arguments: list[str]) -> int:
    """Run the tests; return pytest's exit status, 0 if all selected tests passed."""
    faults = "--faults" in arguments
    arguments = [argument for argument in arguments if argument != "--faults"]
    suite = "faults" if faults else "not faults"
    statuses = [
        _pytest([*SIDE_BY_SIDE, "-m", f"{suite} and not alone", *arguments]),
        _pytest(["-m", f"{suite} and alone", *arguments]),
    ]
    none = pytest.ExitCode.NO_TESTS_COLLECTED
    if all(status == none for status in statuses):
        return none
    return next((status for status in statuses if status not in {0, none}), 0)


def _pytest(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
