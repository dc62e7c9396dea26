"""Runs the commands of the API guide, and compares the README's table of settings with the code.

After a change of settings: python -m tests.functional.test_readme
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from core.settings import Settings
from tests.harness.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
API_GUIDE = (ROOT / "docs" / "api.md").read_text()


def tour() -> str:
    section = API_GUIDE.split("<!-- tour")[1].split("<!-- end of tour -->")[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S))


def settings_table() -> str:
    """The README's table, made of the settings' descriptions."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.is_required() else _shown(field.default)
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def with_settings_table(readme: str) -> str:
    before, rest = readme.split("<!-- settings -->")
    after = rest.split("<!-- end of settings -->")[1]
    return f"{before}<!-- settings -->\n{settings_table()}\n<!-- end of settings -->{after}"


def _shown(value: object) -> str:
    text = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return f"`{text}`" if text not in (None, "", PydanticUndefined) else ""


def test_the_table_of_settings_matches_the_code() -> None:
    assert with_settings_table(README) == README


@pytest.mark.functional
def test_the_tour_works(stack: Stack, tmp_path: Path) -> None:
    commands = tour().replace("http://127.0.0.1:8000", stack.base_url)
    assert stack.base_url in commands
    (tmp_path / ".env").write_text(f"API_KEY={stack.api_key}\n")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"state": "succeeded"' in done.stdout or '"state":"succeeded"' in done.stdout
    assert "210 kilograms of mercury" in done.stdout.replace("\\n", " ")
    assert re.search(r"Elsa Holm.*\[\d+\]", done.stdout)
    events = re.findall(r"^event: (\w+)$", done.stdout, re.M)
    assert events[:2] == ["message_created", "retrieval"]
    assert events[-1] == "message_completed"
    assert "delta" in events
    assert "1847" in done.stdout
    assert '"retrieved_context"' in done.stdout


@pytest.mark.functional
def test_the_python_script_works(stack: Stack, tmp_path: Path) -> None:
    section = API_GUIDE.split("<!-- python")[1].split("<!-- end of python -->")[0]
    (script,) = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"API": f"{stack.base_url}/api/v1", "KEY": stack.api_key},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "succeeded None"
    assert re.search(r"Elsa Holm.*\[\d+\]", done.stdout)
    assert re.search(r"^\[1\] norrskar-lighthouse.pdf, page \d: .*Elsa Holm", done.stdout, re.M)
    assert "1847" in lines[-1]


if __name__ == "__main__":
    (ROOT / "README.md").write_text(with_settings_table(README))
