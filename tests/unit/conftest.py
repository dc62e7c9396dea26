"""What several files of unit tests share."""

from collections.abc import Iterator

import pytest

from tests.fakes.scripted_server import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server
