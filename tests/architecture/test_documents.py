"""The documents under docs/ agree with the code and with each other."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.harness import ROOT

DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if "data" not in path.relative_to(ROOT).parts
)
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
# A path in backticks, such as `docs/adr`; commands and URLs hold spaces or colons.
NAMED_PATH = re.compile(
    r"`((?:core|web|worker|ui|cli|launcher|tests|bench|deploy|docs|migrations|requirements)/[\w./-]*)`"
)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def picture(name: str) -> list[str]:
    """The layers that docs/architecture.md shows below the comment `layers of NAME`."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = re.search(rf"<!-- layers of {name}\b[^>]*-->\n```\n(.*?)```", text, re.DOTALL)
    assert block, name
    return [re.split(r"\s{2,}", line)[0] for line in block[1].splitlines()]


def contract(containers: list[str] | None) -> list[str]:
    """The layers of the import-linter contract for these containers."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = (
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract.get("containers") == containers
    )
    return list(layers)


@pytest.mark.parametrize(
    ("name", "containers"), [("the project", None), ("core", ["core"]), ("web", ["web"])]
)
def test_the_picture_of_the_packages_is_the_contract(
    name: str, containers: list[str] | None
) -> None:
    assert picture(name) == contract(containers)


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_between_documents_have_a_target(path: Path) -> None:
    for match in LINK.finditer(path.read_text()):
        target, _, anchor = (match[1] or match[2]).partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def anchors(document: Path) -> set[str]:
    """GitHub's anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=relative
)
def test_paths_named_in_documents_exist(path: Path) -> None:
    missing = [name for name in NAMED_PATH.findall(path.read_text()) if not (ROOT / name).exists()]
    assert missing == []


def test_decisions_are_numbered_and_each_begins_with_its_number() -> None:
    for path in DECISIONS:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name), path.name
        number = int(path.name[:4])
        assert re.match(rf"# (ADR )?{number}[.:]? ", path.read_text()), path.name
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1)), "no gap and no number twice"
