"""PDFs on disk or in a bucket, and rendered pages."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.settings import Settings
from core.storage.local import LocalStorage
from core.storage.objects import Storage

__all__ = ["Storage", "create_storage"]


def create_storage(settings: Settings) -> Storage:
    """The storage that `STORAGE_URL` names: `file:///directory` or `s3://bucket/prefix`."""
    url = urlsplit(settings.effective_storage_url)
    if url.scheme == "file":
        return LocalStorage(Path(unquote(url.path)))
    # Only here, because boto3 makes up a twentieth of a process's start.
    from core.storage.s3 import S3Storage, create_client  # noqa: PLC0415

    return S3Storage(
        create_client(settings.s3_endpoint_url or None),
        bucket=url.netloc,
        prefix=url.path.strip("/"),
        cache=settings.data_dir / "cache",
    )
