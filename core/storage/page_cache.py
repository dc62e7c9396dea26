"""A cache of rendered pages on disk: a directory per document, bounded in size and age.

If rendering a page exceeds its limits, the cache keeps the refusal for a while, so that repeated
requests for the page are not rendered again.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from core.errors import DocumentError
from core.storage.files import remove_old_files
from core.telemetry import get_logger

log = get_logger(__name__)

MAX_BYTES = 256 * 1024 * 1024
MAX_AGE_SECONDS = 24 * 3600.0  # since the last use
# A refusal costs 11 s of processor time, so with this pause a page takes at most 2 % of a core.
# The pause is not longer because a busy machine, not the page, may have caused the refusal.
REFUSAL_SECONDS = 600.0
_PUTS_PER_EVICTION = 32


@dataclass(frozen=True, slots=True)
class PageKey:
    """The key of an image: page `number` of a document, with or without a highlighted text."""

    document_id: UUID
    generation: int
    number: int
    highlight: str | None


class PageCache:
    """Keeps PNGs below `root`. Several processes may share it; a miss is never an error."""

    def __init__(self, root: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._puts = 0
        self._lock = threading.Lock()

    def find(self, key: PageKey) -> bytes | None:
        """The image, if it is in the cache."""
        path = self._path(key)
        try:
            os.utime(path)
            return path.read_bytes()
        except OSError:
            return None

    def put(self, key: PageKey, image: bytes) -> None:
        """Store an image. On a full disk this only logs a warning."""
        self._write(self._path(key), image)

    def find_refusal(self, key: PageKey) -> DocumentError | None:
        """The page's refusal in the last REFUSAL_SECONDS, if any, with whatever highlight."""
        path = self._refusal_path(key)
        try:
            if abs(time.time() - path.stat().st_mtime) > REFUSAL_SECONDS:
                return None
            refusal = json.loads(path.read_bytes())
        except OSError:
            return None
        return DocumentError(refusal["detail"], code=refusal["code"])

    def put_refusal(self, key: PageKey, error: DocumentError) -> None:
        """Store that the page cannot be rendered."""
        refusal = {"code": error.code, "detail": error.detail}
        self._write(self._refusal_path(key), json.dumps(refusal).encode())

    def _write(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix="new-")
            try:
                with os.fdopen(descriptor, "wb") as target:
                    target.write(data)
                Path(name).replace(path)  # whole or not at all
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("page_not_cached", error=type(error).__name__)
        if self._is_time_to_evict():
            self.evict()

    def drop(self, document_id: UUID) -> None:
        """Delete a document's images and refusals."""
        shutil.rmtree(self._root / str(document_id), ignore_errors=True)

    def evict(self) -> int:
        """Delete old files, then the least recently used above the size limit; return how many."""
        removed = 0
        for directory in self._root.glob("*"):
            removed += remove_old_files(directory, seconds=MAX_AGE_SECONDS)
            _remove_if_empty(directory)
        return removed + self._shrink()

    def _shrink(self) -> int:
        files = []
        for path in self._root.glob("*/*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            files.append((status.st_mtime, status.st_size, path))
        excess, removed = sum(size for _, size, _ in files) - self._max_bytes, 0
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess, removed = excess - size, removed + 1
        return removed

    def _is_time_to_evict(self) -> bool:
        with self._lock:
            self._puts += 1
            return self._puts % _PUTS_PER_EVICTION == 1

    def _path(self, key: PageKey) -> Path:
        marked = sha256(key.highlight.encode()).hexdigest()[:32] if key.highlight else "plain"
        name = f"{key.generation}-{key.number}-{marked}.png"
        return self._root / str(key.document_id) / name

    def _refusal_path(self, key: PageKey) -> Path:
        # The highlight is not part of the name: drawing is slow with any highlight, and a client
        # could ask for another one each time.
        return self._root / str(key.document_id) / f"{key.generation}-{key.number}-refused.json"


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # it has files
