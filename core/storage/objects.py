"""Where PDFs are kept: a directory, or a bucket behind the S3 API.

An upload is first staged on local disk, hashed and measured on the way, and
only then put under its key: what stands under a key is whole, and no upload
ever stands whole in memory.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import Invalid, NotFound, StorageFull, TooLarge, Unavailable
from core.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HEAD_BYTES = 8 * 1024  # kept of each upload, for judging its type by its first bytes
BLOCK = 256 * 1024  # bytes read and written at a time
CACHE_SECONDS = 3600  # how long a bucket's object stays on the worker's disk after its last use
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class StagedFile:
    """An upload on local disk, not yet under a key. `head` is its first HEAD_BYTES."""

    path: Path
    sha256: str
    size_bytes: int
    head: bytes

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class StoredObject:
    key: str
    modified_at: datetime


class Storage(Protocol):
    """Keeps files under keys. Keys are made by us, never by a client."""

    def put(self, key: str, staged: StagedFile) -> None:
        """Move a staged file under `key`, durably. Raises StorageFull, Unavailable."""
        ...

    def read(self, key: str, *, start: int, end: int) -> Iterator[bytes]:
        """The bytes `start` (inclusive) to `end` (exclusive), in blocks. Raises NotFound."""
        ...

    def local_copy(self, key: str) -> Path:
        """A path on this machine that holds the file, to be read only. Raises NotFound."""
        ...

    def delete(self, key: str) -> None:
        """Remove the file; an unknown key is fine."""
        ...

    def list_objects(self) -> Iterator[StoredObject]:
        """All that is kept; what is put or deleted meanwhile may be among it or not."""
        ...


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn a full disk into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("There is no room left to store the file.") from error
        raise


def stage(body: BinaryIO, *, directory: Path, max_bytes: int) -> StagedFile:
    """Copy an upload to a file in `directory`, hashing it on the way.

    Raises Invalid (`file_empty`), TooLarge (`file_too_large`), StorageFull. On
    any exception, a client that went away included, nothing is left behind.
    """
    with disk_errors():
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=directory, prefix="upload-")
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target:
                staged = _copy(body, target, path=path, max_bytes=max_bytes)
                target.flush()
                os.fsync(target.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return staged


def _copy(body: BinaryIO, target: BinaryIO, *, path: Path, max_bytes: int) -> StagedFile:
    digest, size, head = hashlib.sha256(), 0, b""
    while block := body.read(BLOCK):
        size += len(block)
        if size > max_bytes:
            limit = max_bytes // (1024 * 1024)
            raise TooLarge(f"The file is larger than {limit} MiB.", code="file_too_large")
        head = head or block[:HEAD_BYTES]
        digest.update(block)
        target.write(block)
    if not size:
        raise Invalid("The file is empty.", code="file_empty", errors={"file": ["is empty"]})
    return StagedFile(path=path, sha256=digest.hexdigest(), size_bytes=size, head=head)


class LocalStorage:
    """A directory, which web and workers share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, staged: StagedFile) -> None:
        with disk_errors():
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(staged.path, path)
            _fsync_directory(path.parent)

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
                continue  # deleted, or an upload that was staged and has its key now
            yield StoredObject(f"{path.parent.name}/{path.name}", modified)

    def _path(self, key: str) -> Path:
        path = self.root / key
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError("a storage key must stay inside the storage")
        return path


def _fsync_directory(path: Path) -> None:
    """Make a rename survive a power cut (rename(2) alone promises only atomicity)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class S3Storage:
    """A bucket. Workers keep what they read in `cache` for an hour."""

    def __init__(self, client: "S3Client", *, bucket: str, prefix: str, cache: Path) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._cache = cache

    def put(self, key: str, staged: StagedFile) -> None:
        with _s3_errors():
            self._client.upload_file(str(staged.path), self._bucket, self._prefix + key)
        staged.discard()

    def read(self, key: str, *, start: int, end: int) -> Iterator[bytes]:
        with _s3_errors():
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={start}-{end - 1}"
            )
            yield from answer["Body"].iter_chunks(BLOCK)

    def local_copy(self, key: str) -> Path:
        path = self._cache / key.replace("/", "-")
        if path.is_file():
            os.utime(path)
            return path
        with disk_errors(), _s3_errors():
            self._cache.mkdir(parents=True, exist_ok=True)
            self._evict()
            descriptor, name = tempfile.mkstemp(dir=self._cache, prefix="download-")
            try:
                with os.fdopen(descriptor, "wb") as target:
                    self._client.download_fileobj(self._bucket, self._prefix + key, target)
                Path(name).replace(path)  # whole or not at all
            finally:
                Path(name).unlink(missing_ok=True)
        return path

    def delete(self, key: str) -> None:
        with _s3_errors():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def list_objects(self) -> Iterator[StoredObject]:
        with _s3_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._prefix)
                    yield StoredObject(key, item["LastModified"])

    def _evict(self) -> None:
        remove_old_files(self._cache, seconds=CACHE_SECONDS)


@contextmanager
def _s3_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey"}:
            raise NotFound("The file is gone.", code="file_not_found") from error
        raise Unavailable("The file storage refused.", code="storage_unavailable") from error
    except BotoCoreError as error:
        detail = "The file storage cannot be reached."
        raise Unavailable(detail, code="storage_unavailable") from error


def remove_old_files(directory: Path, *, seconds: float) -> int:
    """Delete the files in `directory` untouched for `seconds`; how many those were.

    Directories in it stay, with all that is in them.
    """
    removed = 0
    for path in directory.glob("*") if directory.is_dir() else ():
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > seconds:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # somebody else was quicker
    return removed


def staging_directory(settings: Settings) -> Path:
    """On the storage's own file system where that is local, so that `put` is a rename."""
    url = urlsplit(settings.effective_storage_url)
    if url.scheme == "file":
        return Path(unquote(url.path)) / ".staging"
    return settings.data_dir / "staging"


def create_storage(settings: Settings) -> Storage:
    """The storage that `STORAGE_URL` names."""
    url = urlsplit(settings.effective_storage_url)
    if url.scheme == "file":
        return LocalStorage(Path(unquote(url.path)))
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url or None,
        config=Config(connect_timeout=3, read_timeout=30, retries={"max_attempts": 3}),
    )
    return S3Storage(
        client, bucket=url.netloc, prefix=url.path.strip("/"), cache=settings.data_dir / "cache"
    )
