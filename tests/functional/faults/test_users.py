"""All of a user at once: a large archive that is read slowly."""

import random
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from tests.functional.conftest import MakeStack
from tests.functional.faults.conftest import QUICK, Client
from tests.pdfs import make_pdf

MIB = 2**20

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def client(make_stack: MakeStack) -> Client:
    stack = make_stack(env=QUICK)
    for name in ("web", "worker", "beat"):
        stack.start(name)
    stack.wait_ready()
    return Client(stack, stack.client())


def memory(client: Client) -> int:
    """The largest resident set of web's processes, in bytes."""
    parent = psutil.Process(client.stack.pid("web"))
    return max(one.memory_info().rss for one in [parent, *parent.children(recursive=True)])


def test_an_archive_is_streamed_to_a_slow_reader(client: Client, tmp_path: Path) -> None:
    """80 MiB of files, read in two parts: the service holds none of it in memory."""
    dice = random.Random(1)
    files = [make_pdf([f"Page {n}."]) + b"\n%" + dice.randbytes(8 * MIB) for n in range(10)]
    for data in files:
        client.upload(data, user_id="reader")
    assert client.http.get("/api/v1/users/nobody/export").status_code == 404
    before, path, peak = memory(client), tmp_path / "archive.zip", 0
    with (
        path.open("wb") as archive,
        client.http.stream("GET", "/api/v1/users/reader/export") as response,
    ):
        assert response.status_code == 200
        for piece in response.iter_raw(MIB):
            archive.write(piece)
            peak = max(peak, memory(client))
            if archive.tell() == MIB:
                time.sleep(3)  # the server could read far ahead in this time
                assert client.http.get("/health").status_code == 200
    assert path.stat().st_size > 80 * MIB
    assert peak - before < 30 * MIB
    with zipfile.ZipFile(path) as found:
        stored = [found.read(name) for name in found.namelist() if name.endswith(".pdf")]
    assert {sha256(one).digest() for one in stored} == {sha256(one).digest() for one in files}
