"""Helpers of the storage for files on this machine's disk."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import StorageFull

BLOCK = 256 * 1024  # bytes read and written at a time
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn a full disk into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise StorageFull("There is no room left to store the file.") from error
        raise


def fsync_directory(path: Path) -> None:
    """Make a rename survive a power cut. rename(2) alone promises only atomicity."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_old_files(directory: Path, *, seconds: float) -> int:
    """Delete files in `directory` that were not modified for `seconds`; return their number.

    Subdirectories and their contents stay.
    """
    removed = 0
    for path in directory.glob("*") if directory.is_dir() else ():
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > seconds:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # another process deleted it first
    return removed
