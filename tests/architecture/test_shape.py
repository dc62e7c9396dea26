"""Rules about the code itself, so that nobody has to remember them."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "web", "worker", "ui", "cli", "launcher")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
EVERYTHING = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions() -> Iterator[tuple[str, int]]:
    """Each function's name, and the number of lines of its body without the docstring."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body:
                    lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
                    yield f"{relative(path)}:{node.name}", lines


def test_functions_are_short() -> None:
    lengths = sorted(lines for _, lines in functions())
    assert statistics.median(lengths) <= 9
    assert lengths[len(lengths) * 9 // 10] <= 35
    longest = [name for name, lines in functions() if lines > 60]
    assert longest == []


@pytest.mark.parametrize("path", EVERYTHING, ids=relative)
def test_modules_stay_under_400_lines(path: Path) -> None:
    limit = 400 if path in SOURCES else 800
    assert len(path.read_text().splitlines()) <= limit


def test_only_the_database_module_commits() -> None:
    found = [relative(path) for path in SOURCES if ".commit(" in path.read_text()]
    assert [name for name in found if name != "core/db/transactions.py"] == []


def test_tasks_are_thin() -> None:
    tree = ast.parse((ROOT / "worker/tasks.py").read_text())
    tasks = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert tasks
    for task in tasks:
        assert (task.end_lineno or 0) - task.lineno <= 15, task.name
        assert not task.args.args, "a message carries no data: the jobs table is the truth"


def test_the_page_is_only_an_api_client() -> None:
    for path in (ROOT / "ui").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            rooms = {name.split(".")[0] for name in names}
            assert not rooms & {"core", "web", "worker", "launcher"}, relative(path)


def test_no_path_of_one_machine_is_in_the_project() -> None:
    home = re.compile(r"[\"'\s=(]/(?:home|root|Users)/\w")
    for path in EVERYTHING:
        if path != Path(__file__):
            assert not home.search(path.read_text()), relative(path)
