"""docs/errors.md has every error code, with the status that the service sends."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from core import errors
from core.documents.uploads import RETRYABLE
from ui import wording
from web.http.errors import _HTTP_CODES, STATUS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "errors.md").read_text()
# A job's codes are arguments of these, or of `code=`.
JOB_FUNCTIONS = {"Unreadable", "DocumentError"}


def sections() -> dict[str, dict[str, str]]:
    """By heading: each code of its table, with the table's second column."""
    found: dict[str, dict[str, str]] = {}
    for section in GUIDE.split("\n## ")[1:]:
        rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", section, re.M)
        found[section.splitlines()[0]] = {
            code: second for codes, second in rows for code in re.findall(r"`(\w+)`", codes)
        }
    return found


@cache
def calls() -> list[tuple[str, str]]:
    """(function, code) for each call in the code that names a code."""
    return list(_calls())


def _calls() -> Iterator[tuple[str, str]]:
    for room in ("core", "web", "worker"):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    for code in _codes_of(node, name):
                        yield name, code


def _codes_of(call: ast.Call, name: str) -> Iterator[str]:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    first = call.args[:1] if name in JOB_FUNCTIONS else []
    for value in [*named, *first]:
        for node in ast.walk(value):  # also a choice between two
            if isinstance(node, ast.Constant) and re.fullmatch(
                r"[a-z]+(_[a-z]+)+", str(node.value)
            ):
                yield str(node.value)


def categories(kind: type = errors.RagError) -> Iterator[type]:
    for category in kind.__subclasses__():
        yield category
        yield from categories(category)


def status_of(category: type) -> int:
    return next(STATUS[kind] for kind in category.__mro__ if kind in STATUS)


def test_every_code_of_a_response_is_explained() -> None:
    listed = set().union(*(set(codes) for codes in sections().values()))
    used = {code for _, code in calls()} | set(_HTTP_CODES.values())
    used |= {category.default_code for category in categories()}
    used |= set(re.findall(r"`(\w+)`", errors.ProviderError.__doc__ or ""))
    assert used - {"detail", "code"} <= listed


def test_the_statuses_are_those_that_the_service_sends() -> None:
    tables = sections()
    listed = tables["Requests"] | tables["Answers"]
    kinds = {category.__name__: category for category in categories()}
    expected = {
        category.default_code: str(status_of(category))
        for category in kinds.values()
        if not issubclass(category, errors.DocumentError)
    }
    expected |= {code: str(status) for status, code in _HTTP_CODES.items()}
    expected |= {code: str(status_of(kinds[name])) for name, code in calls() if name in kinds}
    wrong = {
        code: (listed.get(code), status)
        for code, status in expected.items()
        if code not in tables["Documents"] and status not in listed.get(code, "")
    }
    assert wrong == {}


def test_every_code_of_a_job_is_explained_in_the_guide_and_on_the_page() -> None:
    used = {code for name, code in calls() if code.startswith("pdf_")} | set(RETRYABLE)
    used |= set(re.findall(r"\"(pdf_\w+)\", detail", _source("core/documents/completion.py")))
    used -= {"pdf_busy"}  # no job's, but a picture's
    assert used == set(sections()["Documents"]) == set(wording._JOB_ERRORS)


def _source(path: str) -> str:
    return (ROOT / path).read_text()
