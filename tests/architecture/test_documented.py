"""Documentation, Procfile and schema agree with the code."""

import json
import re
import shlex
from pathlib import Path

import pytest
from alembic import command

from core.db import alembic_config
from core.settings import Settings
from launcher.log_lines import shorten
from worker import tasks
from worker.app import QUEUES, app

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("file", [".env.example", "README.md"])
def test_every_setting_is_documented(file: str, name: str) -> None:
    assert re.search(rf"\b{name}\b", (ROOT / file).read_text()), f"{name} is missing in {file}"


def test_every_documented_setting_exists() -> None:
    listed = re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.M)
    assert set(listed) <= set(SETTINGS)


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def test_the_procfile_runs_every_process() -> None:
    assert set(procfile()) == {"web", "worker", "beat", "flower", "ui"}


def test_the_worker_listens_to_the_queues_in_the_code() -> None:
    words = shlex.split(procfile()["worker"])
    assert set(words[words.index("--queues") + 1].split(",")) == set(QUEUES)


def test_scheduled_tasks_use_a_queue_with_a_worker() -> None:
    for entry in app.conf.beat_schedule.values():
        assert entry["options"]["queue"] in QUEUES
        assert entry["task"] in {
            task.name for task in vars(tasks).values() if hasattr(task, "name")
        }


def test_make_run_shows_no_line_for_each_run_of_the_schedule() -> None:
    for entry in app.conf.beat_schedule.values():
        line = {"level": "info", "event": "task", "task": entry["task"], "outcome": "done"}
        assert shorten(json.dumps(line).encode()) is None, entry["task"]


def test_the_migrations_make_the_schema_of_the_models(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_every_word_of_the_licence_is_there() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
