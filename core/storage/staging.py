"""Staging: writes an upload to local disk once, and hashes and counts its bytes on the way.

A file gets its key only when it is complete, so a key never leads to half a file. No
upload is ever in memory as a whole.
"""

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from core.errors import Invalid, TooLarge
from core.settings import Settings
from core.storage.files import BLOCK, disk_errors

HEAD_BYTES = 8 * 1024  # the first bytes of an upload, which show its type
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A complete upload on local disk, not yet under a key. `head` is its first HEAD_BYTES."""

    path: Path
    sha256: str
    size_bytes: int
    head: bytes

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


class StagingFile:
    """An upload that is being written. `close` deletes it unless `Storage.put` has moved it.

    Write it from start to end, then call `finish`. `seek` and `read` are for reading the bytes
    back.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._digest, self._size, self._head = hashlib.sha256(), 0, b""
        with disk_errors():
            directory.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=directory, prefix="upload-")
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "w+b")

    def write(self, data: bytes) -> int:
        """Raises TooLarge (`file_too_large`), StorageFull."""
        self._size += len(data)
        if self._size > self._max_bytes:
            raise file_too_large(self._max_bytes)
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        self._digest.update(data)
        with disk_errors():
            return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with disk_errors():  # `seek` flushes the buffer
            return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def digest(self) -> bytes:
        """SHA-256 of all that was written so far."""
        return self._digest.digest()

    def finish(self) -> StagedFile:
        """Make the file durable. Raises Invalid (`file_empty`), StorageFull."""
        if not self._size:
            raise Invalid("The file is empty.", code="file_empty", errors={"file": ["is empty"]})
        with disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
        return StagedFile(
            path=self._path,
            sha256=self._digest.hexdigest(),
            size_bytes=self._size,
            head=self._head,
        )

    def release(self) -> None:
        """Close the file and leave it on disk, for the owner of its StagedFile."""
        self._file.close()

    def close(self) -> None:
        with suppress(OSError):  # a full disk does not matter, as the file is deleted anyway
            self._file.close()
        self._path.unlink(missing_ok=True)


def file_too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The file is larger than {max_bytes // MEBIBYTE} MiB.", code="file_too_large")


def stage(body: BinaryIO | StagingFile, *, directory: Path, max_bytes: int) -> StagedFile:
    """Write `body` to a file in `directory`, unless it is staged already.

    Raises Invalid (`file_empty`), TooLarge (`file_too_large`), StorageFull. After any exception,
    also a disconnect of the client, no file is left.
    """
    if isinstance(body, StagingFile):
        return body.finish()
    staging = StagingFile(directory, max_bytes=max_bytes)
    try:
        with disk_errors():
            while block := body.read(BLOCK):
                staging.write(block)
        staged = staging.finish()
        staging.release()
    except BaseException:
        staging.close()
        raise
    return staged


def staging_directory(settings: Settings) -> Path:
    """The directory for staging: in a local storage's file system, so that `put` is a rename."""
    url = urlsplit(settings.effective_storage_url)
    if url.scheme == "file":
        return Path(unquote(url.path)) / ".staging"
    return settings.data_dir / "staging"
