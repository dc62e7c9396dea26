"""Where the web processes count together: prometheus_client's mapped files, kept few.

Each process counts in files named by its pid, and /metrics adds them up. What a
process counted must outlive it, yet a file for each that ever ran would fill
the directory and slow each scrape down: the dead are added into one.

For gunicorn's master too, so it does not import the app.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DEAD = "dead"
_LOCK = "lock"
_KINDS = ("counter", "histogram")


def prepare(directory: Path) -> None:
    """An empty directory of this user's own. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)  # fails on somebody else's
    for left in directory.iterdir():
        left.unlink()


def retire(directory: Path, *, pid: int) -> None:
    """Add what process `pid`, now dead, had counted to what all the dead have."""
    with locked(directory, exclusive=True):
        for kind in _KINDS:
            own = directory / f"{kind}_{pid}.db"
            if own.exists():
                _add(own, to=directory / f"{kind}_{_DEAD}.db")
                own.unlink()


def _add(source: Path, *, to: Path) -> None:
    # Not at the top: at its import prometheus_client decides whether to count in files,
    # and gunicorn reads its configuration before it sets what that hangs on.
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415

    total = MmapedDict(str(to))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
            counted, _ = total.read_value(key)  # type: ignore[no-untyped-call]
            total.write_value(key, counted + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]


@contextmanager
def locked(directory: Path, *, exclusive: bool = False) -> Iterator[None]:
    """While held, nobody is counted twice or not at all because a process just died."""
    with (directory / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
