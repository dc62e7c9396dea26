"""Manages the files in which the web processes count for /metrics.

Each process counts in prometheus_client's files, which have its pid in their names; a scrape
adds them up. Counts must outlive their process, but one file per process that ever ran would
fill the directory and slow every scrape. So the counts of dead processes are merged into one
file.

gunicorn's master uses this module too, so it imports nothing of the app.
"""

from pathlib import Path

from filelock import FileLock

_DEAD = "dead"
_LOCK = "lock"
_KINDS = ("counter", "histogram")


def prepare(directory: Path) -> None:
    """Create `directory`, or empty it, and make it private to this user. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)  # fails if another user owns it
    for left in directory.iterdir():
        left.unlink()


def merge_dead_process(directory: Path, *, pid: int) -> None:
    """Merge the counts of the dead process `pid` into the file of all dead processes."""
    with locked(directory):
        for kind in _KINDS:
            own = directory / f"{kind}_{pid}.db"
            if own.exists():
                _add(own, to=directory / f"{kind}_{_DEAD}.db")
                own.unlink()


def _add(source: Path, *, to: Path) -> None:
    # Not at the top, because prometheus_client reads PROMETHEUS_MULTIPROC_DIR at import, and
    # gunicorn imports this module before its configuration sets the variable.
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415

    total = MmapedDict(str(to))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
            counted, _ = total.read_value(key)  # type: ignore[no-untyped-call]
            total.write_value(key, counted + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]


def locked(directory: Path) -> FileLock:
    """Return a lock on the counts, for `with`.

    Without it, a scrape during a merge could count the dead process twice or not at all.
    """
    return FileLock(directory / _LOCK)
