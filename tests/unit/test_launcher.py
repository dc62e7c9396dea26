"""The checks of `make run` before it starts anything."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values

from core.settings import Settings
from launcher import run
from tests.harness.ports import free_port

NAMES = ("PORT", "FLOWER_PORT", "UI_PORT")


def _ports(make_settings: Callable[..., Settings], **ports: int) -> Settings:
    free = {name.lower(): free_port() for name in NAMES}
    return make_settings(**(free | ports))


def test_free_ports_are_fine(make_settings: Callable[..., Settings]) -> None:
    run._check_ports(_ports(make_settings))


@pytest.mark.parametrize("name", NAMES)
def test_a_taken_port_is_named(make_settings: Callable[..., Settings], name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(run.StartError, match=f"^{name}: port {port} is taken"):
            run._check_ports(_ports(make_settings, **{name.lower(): port}))


def test_an_address_of_another_machine_is_named(make_settings: Callable[..., Settings]) -> None:
    settings = _ports(make_settings).model_copy(update={"bind_host": "192.0.2.1"})
    with pytest.raises(run.StartError, match=r"^BIND_HOST: cannot listen on 192\.0\.2\.1"):
        run._check_ports(settings)


def test_two_equal_ports_are_named(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(run.StartError, match=r"^FLOWER_PORT and UI_PORT are both 4321"):
        run._check_ports(_ports(make_settings, flower_port=4321, ui_port=4321))


def test_a_generated_key_is_private_and_keeps_the_rest_of_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("# mine\nPORT=8123\nAPI_KEY=\n")
    env_file.chmod(0o644)
    run._keep_new_key(env_file)
    values = dotenv_values(env_file)
    assert len(values["API_KEY"] or "") >= 32
    assert values["PORT"] == "8123"
    assert env_file.read_text().startswith("# mine\n")
    assert env_file.stat().st_mode & 0o777 == 0o600


def test_one_data_directory_serves_one_run(tmp_path: Path) -> None:
    with (
        run._only_one(tmp_path / "data"),
        pytest.raises(run.StartError, match="another `make run`"),
        run._only_one(tmp_path / "data"),
    ):
        pass
    with run._only_one(tmp_path / "data"):
        pass
