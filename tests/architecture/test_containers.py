"""The Dockerfiles and compose files agree with each other and with the rest of the project."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings
from worker.app import app as celery

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ["Dockerfile.web", "Dockerfile.worker"]
OWN = {"migrate", "web", "worker", "beat", "flower", "ui"}
CORE = OWN - {"ui"}  # those that read core's settings
FOREIGN = {"postgres", "redis", "pgadmin"}
ALWAYS_ON = OWN - {"migrate"} | {"postgres", "redis"}
SECRETS = {"API_KEY", "KEY_PEPPER", "FLOWER_PASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
# Fixed inside the images; the compose file decides which ports are published.
FIXED = {"BIND_HOST", "PORT", "FLOWER_PORT", "UI_PORT", "DATA_DIR", "MODEL_DIR"}

Json = dict[str, Any]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def merged(base: Any, override: Any) -> Any:
    """The merge of two files by Compose's rules: mappings by key, lists joined, else the later."""
    if isinstance(base, dict) and isinstance(override, dict):
        both = base.keys() & override.keys()
        return base | override | {key: merged(base[key], override[key]) for key in both}
    if isinstance(base, list) and isinstance(override, list):
        return base + override
    return override


BASE: Json = yaml.safe_load(read("docker-compose.yml"))
PRODUCTION: Json = merged(BASE, yaml.safe_load(read("docker-compose.prod.yml")))
CONFIGURATIONS = pytest.mark.parametrize("config", [BASE, PRODUCTION], ids=["base", "production"])


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, arguments) in order, without comments and line continuations."""
    lines = [line for line in read(dockerfile).splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(word, rest) for word, rest in pairs]


def stages(dockerfile: str) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        if found:
            list(found.values())[-1].append((word, rest))
    return found


def arguments(service: str, instruction: str) -> str:
    """The last arguments of `instruction` in the stage that `service` of the base file runs."""
    build = BASE["services"][service]["build"]
    stage = stages(build["dockerfile"])[build.get("target", "worker")]
    return [rest for word, rest in stage if word == instruction][-1]


def image_command(service: str) -> list[str]:
    """The words of the image's command, including the words of an `sh -c` string."""
    command: list[str] = json.loads(arguments(service, "CMD"))
    if command[:2] == ["sh", "-c"]:
        assert command[2].startswith("exec "), "else the shell keeps the signals to itself"
        return shlex.split(command[2].removeprefix("exec "))
    return command


def procfile(name: str) -> list[str]:
    return shlex.split(re.findall(rf"^{name}: (.*)$", read("Procfile"), re.M)[0])


@CONFIGURATIONS
def test_every_service_is_there(config: Json) -> None:
    assert set(config["services"]) == OWN | FOREIGN


@pytest.mark.parametrize("service", sorted(FOREIGN))
def test_third_party_images_are_pinned_to_a_version(service: str) -> None:
    assert re.search(r":\d+\.\d+", BASE["services"][service]["image"])


@CONFIGURATIONS
def test_dependencies_of_services_report_their_health(config: Json) -> None:
    for name, service in config["services"].items():
        for other, gate in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other == "migrate" else "service_healthy"
            assert gate["condition"] == wanted, f"{name} on {other}"
            own = config["services"][other]
            assert other == "migrate" or "healthcheck" in own or arguments(other, "HEALTHCHECK")


def test_nothing_that_reads_the_schema_starts_before_it_is_migrated() -> None:
    for name in ("web", "worker", "beat"):
        assert "migrate" in BASE["services"][name]["depends_on"]


@CONFIGURATIONS
@pytest.mark.parametrize("service", sorted(CORE))
def test_every_setting_reaches_every_process(service: str, config: Json) -> None:
    passed = set(config["services"][service]["environment"])
    assert {name.upper() for name in Settings.model_fields} - FIXED <= passed
    assert not passed & FIXED


def test_settings_have_their_defaults_in_one_place() -> None:
    settings = BASE["x-settings"].items()
    given = {name for name, value in settings if value not in (None, f"${{{name}:-}}")}
    assert given == {"API_KEY", "DATABASE_URL", "REDIS_URL"}


@CONFIGURATIONS
def test_ports_are_published_on_loopback_and_none_of_the_stores(config: Json) -> None:
    for name, service in config["services"].items():
        for port in service.get("ports", []):
            assert name not in {"postgres", "redis"}
            assert re.match(r"(\$\{PUBLISH_HOST:-127\.0\.0\.1\}|127\.0\.0\.1):", port)


@pytest.mark.parametrize("service", ["web", "ui", "flower"])
def test_the_published_port_is_the_one_listened_on(service: str) -> None:
    [port] = BASE["services"][service]["ports"]
    assert port.rpartition(":")[2] == arguments(service, "EXPOSE")


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_production_has_no_default_secret(name: str) -> None:
    services = {key: value for key, value in PRODUCTION["services"].items() if key != "pgadmin"}
    uses = re.findall(rf"\$\{{{name}(..)", json.dumps(services))
    assert uses
    assert set(uses) == {":?"}


def test_production_is_production() -> None:
    for name in CORE:
        assert PRODUCTION["services"][name]["environment"]["APP_ENV"] == "production"


def test_the_example_for_production_names_what_it_requires() -> None:
    example = read("deploy/production.env.example")
    required = set(re.findall(r"\$\{(\w+):\?", read("docker-compose.prod.yml")))
    assert required == SECRETS
    assert required <= set(re.findall(r"^(\w+)=$", example, re.M))
    known = set(
        re.findall(r"\$\{(\w+)", read("docker-compose.yml") + read("docker-compose.prod.yml"))
    )
    listed = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", example, re.M))
    assert listed <= known | set(BASE["x-settings"])


@pytest.mark.parametrize("service", sorted(ALWAYS_ON))
def test_production_restarts_limits_and_rotates(service: str) -> None:
    definition = PRODUCTION["services"][service]
    assert definition["restart"] == "unless-stopped"
    assert definition["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert definition["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("service", sorted(ALWAYS_ON | {"migrate"}))
def test_production_takes_rights_away(service: str) -> None:
    definition = PRODUCTION["services"][service]
    assert definition["cap_drop"] == ["ALL"]
    assert definition["security_opt"] == ["no-new-privileges:true"]
    assert service == "postgres" or definition["read_only"]


def test_pgadmin_is_not_started_in_production() -> None:
    assert PRODUCTION["services"]["pgadmin"]["profiles"] == ["admin"]


def test_containers_have_time_for_their_processes_to_stop() -> None:
    graceful = int(
        re.findall(r"^graceful_timeout = (\d+)", read("deploy/gunicorn.conf.py"), re.M)[0]
    )
    grace = {
        name: int(BASE["services"][name]["stop_grace_period"][:-1]) for name in ("web", "worker")
    }
    assert grace["web"] >= graceful + 5
    assert grace["worker"] >= celery.conf.worker_soft_shutdown_timeout + 20


@pytest.mark.parametrize("service", sorted(OWN))
def test_images_run_as_an_unprivileged_user(service: str) -> None:
    user = arguments(service, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_default_image_is_the_last_stage(dockerfile: str) -> None:
    assert list(stages(dockerfile))[-1] == dockerfile.removeprefix("Dockerfile.")


def test_both_images_build_the_model_alike() -> None:
    """Equal instructions share one cached build, and so one model."""
    web, worker = (stages(dockerfile) for dockerfile in DOCKERFILES)
    assert web["base"] == worker["base"]
    assert web["model"] == worker["model"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_libraries_are_installed_by_hash(dockerfile: str) -> None:
    installs = re.findall(
        r"pip install[^&]*", "\n".join(rest for _, rest in instructions(dockerfile))
    )
    assert installs
    for command in installs:
        assert "--require-hashes" in command
        assert re.findall(r"-r requirements/[\w-]+\.txt", command)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_copied_files_exist_and_reach_the_build(dockerfile: str) -> None:
    shown = [line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")]
    for word, rest in instructions(dockerfile):
        if word != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(
                Path(source).match(pattern) or source.startswith(f"{pattern}/") for pattern in shown
            ), f"{source} is kept out by .dockerignore"


def test_the_build_sees_only_listed_files() -> None:
    lines = [line for line in read(".dockerignore").splitlines() if not line.startswith("#")]
    assert lines[0] == "*"  # .env, data and .git above all
    assert not {"!.env", "!data", "!.git", "!.", "!**"} & set(lines)


def test_the_images_run_what_the_procfile_runs() -> None:
    assert image_command("web") == procfile("web")
    in_front = ["REMAP_SIGTERM=SIGQUIT", "nice", "-n", "10"]
    assert in_front + image_command("worker") == procfile("worker")
    assert "REMAP_SIGTERM=SIGQUIT" in arguments("worker", "ENV").split()
    plain = [re.sub(r"\$\{(\w+):-[^}]*\}", r"$\1", word) for word in procfile("ui")]
    assert image_command("ui") == plain


def test_compose_runs_what_the_procfile_runs() -> None:
    assert BASE["services"]["flower"]["command"] == procfile("flower")
    known = set(procfile("beat")) | {"/tmp/beat-schedule"}
    assert set(BASE["services"]["beat"]["command"]) <= known
    assert "command" not in BASE["services"]["web"] | BASE["services"]["worker"]


@CONFIGURATIONS
def test_mounted_files_exist(config: Json) -> None:
    for service in config["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (
                (ROOT / source).exists() if source.startswith("./") else source in BASE["volumes"]
            )


def test_the_database_s_first_script_can_be_run() -> None:
    """The image runs a script that is executable and sources any other, `set -eu` included."""
    assert (ROOT / "deploy/postgres/init.sh").stat().st_mode & 0o111 == 0o111


def test_web_and_worker_share_the_files() -> None:
    for name in ("web", "worker"):
        assert "files:/data" in BASE["services"][name]["volumes"]
        assert "DATA_DIR=/data" in arguments(name, "ENV").split()


def test_redis_is_persistent() -> None:
    lines = read("deploy/redis.conf").splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= set(lines)
