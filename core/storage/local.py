"""Files in a directory."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from core.errors import NotFound
from core.storage.files import BLOCK, disk_errors, fsync_directory
from core.storage.objects import StoredObject
from core.storage.staging import StagedFile


class LocalStorage:
    """A directory that web and workers share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, staged: StagedFile) -> None:
        with disk_errors():
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(staged.path, path)
            fsync_directory(path.parent)

    def read(self, key: str, *, start: int, end: int) -> Iterator[bytes]:
        path = self.local_copy(key)
        with path.open("rb") as source:
            source.seek(start)
            left = end - start
            while left > 0 and (block := source.read(min(BLOCK, left))):
                left -= len(block)
                yield block

    def local_copy(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise NotFound("The file is gone.", code="file_not_found")
        return path

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def list_objects(self) -> Iterator[StoredObject]:
        for path in self.root.glob("*/*"):
            try:
                modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:
                continue  # deleted, or moved from staging to its key
            yield StoredObject(f"{path.parent.name}/{path.name}", modified)

    def _path(self, key: str) -> Path:
        path = self.root / key
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError("a storage key must stay inside the storage")
        return path
