"""Each third-party import is a requirement that requirements/*.in names itself.

A library that is only installed because another one needs it can disappear or change its
major version with the other one.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from sys import stdlib_module_names

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The requirements of each part. Core builds the model once, with separate requirements.
REQUIREMENTS = {
    "core": ("core", "model"),
    "web": ("web",),
    "worker": ("worker",),
    "ui": ("ui",),
    "cli": ("cli",),
    "launcher": ("local", "core"),
    "migrations": ("core",),
    "deploy": ("web", "flower"),
    "tests": ("dev",),
    "bench": ("dev",),
}
# `bench.embedding` and `bench.servers` compare with the first two if they are installed. Workers
# have the third: the parsing child imports it for pages that OCR has to read.
OPTIONAL = {"ctranslate2", "gevent", "tesserocr"}
OWN = {path.parent.name for path in ROOT.glob("*/*.py")}


@cache
def declared(name: str) -> frozenset[str]:
    """The distributions that requirements/`name`.in lists, including files named by `-r`."""
    found: set[str] = set()
    for line in (ROOT / "requirements" / f"{name}.in").read_text().splitlines():
        if line.startswith("-r "):
            found |= declared(line.removeprefix("-r ").removesuffix(".in"))
        elif word := re.match(r"[\w.-]+", line):
            found.add(normalised(word[0]))
    return frozenset(found)


def normalised(name: str) -> str:
    """A distribution's normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(source: str) -> Iterator[str]:
    """The top-level modules that run-time code imports, without imports for type checkers."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        waiting.extend(ast.iter_child_nodes(node))


def test_each_part_is_checked() -> None:
    assert set(REQUIREMENTS) == {name for name in OWN if not name.startswith(".")}


@pytest.mark.parametrize("part", REQUIREMENTS)
def test_each_third_party_import_is_declared(part: str) -> None:
    sources = packages_distributions()
    allowed = frozenset[str]().union(*map(declared, REQUIREMENTS[part]))
    foreign = {
        (module, str(path.relative_to(ROOT)))
        for path in (ROOT / part).rglob("*.py")
        for module in imported(path.read_text())
        if module not in stdlib_module_names | OWN | OPTIONAL
    }
    undeclared = {
        (module, path)
        for module, path in foreign
        if not allowed & {normalised(name) for name in sources.get(module, ())}
    }
    assert not undeclared


def test_pip_installs_the_terminal_client_s_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) == declared("cli")


def test_the_version_of_gunicorn_has_an_upper_bound() -> None:
    lines = (ROOT / "requirements/web.in").read_text()
    assert re.search(r"^gunicorn.*<\d", lines, re.M)
