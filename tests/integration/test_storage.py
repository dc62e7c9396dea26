"""Both storages behave alike; the bucket is tested against a real S3 API server."""

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import psutil
import pytest
from moto.server import ThreadedMotoServer

from core.bootstrap import Services
from core.documents import ingestion, uploads
from core.errors import NotFound, Unavailable
from core.settings import Settings
from core.storage import Storage, create_storage
from core.storage.s3 import CACHE_SECONDS
from core.storage.staging import StagedFile, stage
from tests.integration.steps import find_document
from tests.pdfs import make_pdf

MakeSettings = Callable[..., Settings]
BUCKET = "documents"


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """moto's S3 server; boto3 finds its credentials in the environment, as in production."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1"
    )
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
    yield endpoint
    server.stop()


@pytest.fixture(params=["file", "s3"])
def settings_of_storage(
    request: pytest.FixtureRequest, make_settings: MakeSettings, s3_endpoint: str, tmp_path: Path
) -> Settings:
    if request.param == "file":
        return make_settings(storage_url=f"file://{tmp_path}/kept%20files")
    url = f"s3://{BUCKET}/{tmp_path.name}"
    return make_settings(storage_url=url, s3_endpoint_url=s3_endpoint)


@pytest.fixture
def storage(settings_of_storage: Settings) -> Storage:
    return create_storage(settings_of_storage)


def staged(directory: Path, data: bytes) -> StagedFile:
    return stage(io.BytesIO(data), directory=directory, max_bytes=10**9)


def test_a_stored_object_is_read_back(storage: Storage, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    file = staged(tmp_path / "in", data)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.size_bytes == len(data)
    storage.put("ab/one.pdf", file)
    assert b"".join(storage.read("ab/one.pdf", start=0, end=len(data))) == data
    assert b"".join(storage.read("ab/one.pdf", start=5, end=300_005)) == data[5:300_005]
    assert storage.local_copy("ab/one.pdf").read_bytes() == data
    assert not file.path.exists()


def test_objects_are_listed_and_deleted(storage: Storage, tmp_path: Path) -> None:
    for number in range(3):
        storage.put(f"{number:02}/{number}.pdf", staged(tmp_path / "in", b"x"))
    listed = {item.key: item.modified_at for item in storage.list_objects()}
    assert set(listed) == {"00/0.pdf", "01/1.pdf", "02/2.pdf"}
    assert all(abs(moment.timestamp() - time.time()) < 60 for moment in listed.values())
    storage.delete("01/1.pdf")
    storage.delete("01/1.pdf")
    assert {item.key for item in storage.list_objects()} == {"00/0.pdf", "02/2.pdf"}


def test_an_object_deleted_while_all_are_listed_ends_no_listing(
    storage: Storage, tmp_path: Path
) -> None:
    keys = {"00/0.pdf", "00/1.pdf"}
    for key in keys:
        storage.put(key, staged(tmp_path / "in", b"x"))
    objects = storage.list_objects()
    (other,) = keys - {next(objects).key}
    storage.delete(other)
    assert {item.key for item in objects} <= {other}


def test_a_missing_object_is_not_found(storage: Storage) -> None:
    with pytest.raises(NotFound):
        storage.local_copy("ab/none.pdf")
    with pytest.raises(NotFound):
        list(storage.read("ab/none.pdf", start=0, end=1))


def test_a_document_is_ingested_from_both_storages(
    settings_of_storage: Settings, make_services: Callable[..., Services]
) -> None:
    services = make_services(
        storage_url=settings_of_storage.storage_url,
        s3_endpoint_url=settings_of_storage.s3_endpoint_url,
    )
    data = make_pdf(["The archive of the harbour office was moved to the granary in 1911."])
    accepted = uploads.accept_upload(
        services, tenant_id="default", body=io.BytesIO(data), filename="a.pdf",
        user_id=None, session_id=None, metadata={},
    )  # fmt: skip
    while ingestion.process_next_range(services):
        pass
    document = find_document(services, accepted.document.id)
    assert document.status == "ready"
    assert b"".join(uploads.read_content(services, document)) == data
    uploads.delete_document(services, tenant_id="default", document_id=document.id)
    assert list(services.storage.list_objects()) == []


def test_a_local_copy_is_evicted_after_an_hour_without_use(
    make_settings: MakeSettings, s3_endpoint: str, tmp_path: Path
) -> None:
    settings = make_settings(storage_url=f"s3://{BUCKET}/cache", s3_endpoint_url=s3_endpoint)
    storage = create_storage(settings)
    storage.put("ab/old.pdf", staged(tmp_path / "in", b"old"))
    storage.put("ab/new.pdf", staged(tmp_path / "in", b"new"))
    old = storage.local_copy("ab/old.pdf")
    past = time.time() - CACHE_SECONDS - 1
    os.utime(old, (past, past))
    storage.local_copy("ab/new.pdf")
    assert not old.exists()


def test_an_unreachable_bucket_is_unavailable(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(storage_url="s3://documents", s3_endpoint_url="http://127.0.0.1:9")
    storage = create_storage(settings)
    with pytest.raises(Unavailable) as caught:
        storage.local_copy("ab/one.pdf")
    assert caught.value.code == "storage_unavailable"


def test_an_upload_is_never_whole_in_memory(storage: Storage, tmp_path: Path) -> None:
    size = 200 * 2**20

    class Endless(io.RawIOBase):
        left = size

        def read(self, count: int = -1) -> bytes:
            count = min(count, self.left)
            self.left -= count
            return bytes(count)

    process = psutil.Process()
    before = process.memory_info().rss
    file = stage(Endless(), directory=tmp_path / "in", max_bytes=10**9)  # type: ignore[arg-type]
    assert file.size_bytes == size
    assert process.memory_info().rss - before < 50 * 2**20
    file.discard()


def test_a_key_cannot_leave_the_directory(make_settings: MakeSettings, tmp_path: Path) -> None:
    storage = create_storage(make_settings(storage_url=f"file://{tmp_path}/kept"))
    with pytest.raises(ValueError, match="inside"):
        storage.local_copy("../secret.pdf")
