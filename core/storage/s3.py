"""Files in a bucket behind the S3 API."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import NotFound, Unavailable
from core.storage.files import BLOCK, disk_errors, remove_old_files
from core.storage.objects import StoredObject
from core.storage.staging import StagedFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CACHE_SECONDS = 3600  # a worker keeps its copy of an object for this long after the last use


def create_client(endpoint_url: str | None) -> "S3Client":
    """A client with timeouts. boto3 finds the credentials in the environment."""
    config = Config(connect_timeout=3, read_timeout=30, retries={"max_attempts": 3})
    return boto3.client("s3", endpoint_url=endpoint_url, config=config)


class S3Storage:
    """A bucket. Workers keep copies of objects in `cache` for an hour."""

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
        path = self._copy_of(key)
        if path.is_file():
            os.utime(path)
            return path
        with disk_errors(), _s3_errors():
            self._cache.mkdir(parents=True, exist_ok=True)
            remove_old_files(self._cache, seconds=CACHE_SECONDS)
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
        self._copy_of(key).unlink(missing_ok=True)

    def _copy_of(self, key: str) -> Path:
        return self._cache / key.replace("/", "-")

    def list_objects(self) -> Iterator[StoredObject]:
        with _s3_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._prefix)
                    yield StoredObject(key, item["LastModified"])


@contextmanager
def _s3_errors() -> Iterator[None]:
    """Turn boto3's errors into NotFound and Unavailable."""
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey"}:
            raise NotFound("The file is gone.", code="file_not_found") from error
        raise Unavailable("The file storage refused.", code="storage_unavailable") from error
    except BotoCoreError as error:
        detail = "The file storage cannot be reached."
        raise Unavailable(detail, code="storage_unavailable") from error
