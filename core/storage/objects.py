"""The protocol of storages for PDFs: a directory, or a bucket behind the S3 API."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from core.storage.staging import StagedFile


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A file in the storage, by its key."""

    key: str
    modified_at: datetime


class Storage(Protocol):
    """Keeps files under keys. The service makes the keys, never a client."""

    def put(self, key: str, staged: StagedFile) -> None:
        """Move a staged file under `key`, durably. Raises StorageFull, Unavailable."""
        ...

    def read(self, key: str, *, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes `start` (inclusive) to `end` (exclusive), in blocks. Raises NotFound."""
        ...

    def local_copy(self, key: str) -> Path:
        """Return a path of the file on this machine, for reading. Raises NotFound."""
        ...

    def delete(self, key: str) -> None:
        """Remove the file. An unknown key is no error."""
        ...

    def list_objects(self) -> Iterator[StoredObject]:
        """Yield every file. A file that is put or deleted meanwhile may or may not be included."""
        ...
