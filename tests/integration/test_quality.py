"""The quality gate: it passes what is unchanged, and catches a broken ranking."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.bootstrap import Services, bootstrap
from core.documents import ingestion
from core.quality import __main__ as quality
from core.quality import report
from core.search import candidates, ranking, repeats, retrieval
from core.search.reach import Reach
from core.settings import read_settings
from tests.conftest import API_KEY, MODEL_DIR, NOWHERE_REDIS
from tests.integration.steps import ask, new_session
from tests.integration.uploading import upload
from tests.pdfs import make_pdf

PLACES = ("Norrskar", "Kullen", "Vinga", "Soderarm")
THINGS = (
    ("Lamp and Lens", "The lamp of {place} burns paraffin, and its lens was ground in Paris."),
    ("Keepers and Wages", "The keeper at {place} earned forty crowns and a bag of flour a month."),
    ("Fog Signal", "In fog the siren of {place} sounds twice each minute, driven by steam."),
    ("Supply Boat", "A boat brings coal to {place} on Mondays unless ice closes the strait."),
)
QUESTIONS = (
    "What does the lamp of {place} burn?",
    "How much did the keeper at {place} earn?",
    "How often does the siren of {place} sound in fog?",
)


def book(place: str, year: int) -> bytes:
    """A report of a lighthouse, a section a page."""
    pages = [
        f"{name}\n\n{sentence.format(place=place)} It was so in {year}, says the station's log."
        for name, sentence in THINGS
    ]
    outline = [(0, f"{name} {place}", number) for number, (name, _) in enumerate(THINGS, start=1)]
    return make_pdf(pages, outline=outline)


@pytest.fixture(scope="module")
def filled(
    new_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Services]:
    """Services with documents of two years, and turns that asked about them."""
    services = _services(request, new_database(), tmp_path_factory.mktemp("quality"))
    for place in PLACES:
        for year in (2021, 2022):
            data = book(place, year)
            upload(services, data, filename=f"{place}_{year}.pdf", user_id="alice")
    while ingestion.process_next_range(services):
        pass
    session = new_session(services, "alice")
    for place in PLACES:
        for number, question in enumerate(QUESTIONS):
            asked = f"{question.format(place=place)} In {2021 + number % 2}"
            ask(services, session, asked, memory="none")
    yield services
    services.close()


def _services(request: pytest.FixtureRequest, url: str, directory: Path) -> Services:
    made = bootstrap(
        read_settings(
            app_env="test",
            api_key=API_KEY,
            database_url=url,
            redis_url=NOWHERE_REDIS,
            data_dir=directory,
            model_dir=MODEL_DIR,
        )
    )
    made.__dict__["embedder"] = request.getfixturevalue("embedder")
    return made


def run(services: Services, *arguments: str, last: Path) -> int:
    options: argparse.Namespace = quality.parse(["--turns", "200", *arguments])
    return quality.run(services, options, last=last)


@pytest.fixture
def last(filled: Services, tmp_path: Path) -> Path:
    """The rates of a run that passed."""
    path = tmp_path / "quality.json"
    assert run(filled, last=path) == 0
    return path


def test_unchanged_code_passes_again_and_prints_both_runs(
    filled: Services, last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(filled, last=last) == 0
    printed = capsys.readouterr().out
    assert f"{len(PLACES) * len(QUESTIONS)} turns" in printed
    assert "turns: passages kept" in printed
    assert "headings: hit@5" in printed
    assert "+0.000" in printed
    rates = report.read_last(last)
    assert rates["turns: passages kept"] == 1.0
    assert rates["headings: hit@5"] > 0.9


def _reversed(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **named: [-score for score in real(*given, **named)]


def _random_vectors(_: object, texts: list[str]) -> Any:
    rng = np.random.default_rng(5)
    made = rng.normal(size=(len(texts), 384)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def _without(side: str) -> Callable[..., Any]:
    real = retrieval.find_candidates

    def find(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        kept = [one for one in found.items if getattr(one, side) is None]
        return dataclasses.replace(found, items=kept)

    return find


REGRESSIONS: dict[str, tuple[object, str, object]] = {
    "the order is reversed": (ranking, "score", _reversed(ranking.score)),
    "words count for nothing": (
        ranking,
        "score",
        lambda question, items, **_: [item.vector_score for item in items],
    ),
    "the words' score is lost": (ranking, "WORDS_WEIGHT", 0.0),
    "the sentences' score is lost": (ranking, "SENTENCE_WEIGHT", 0.0),
    "all passages score alike": (ranking, "score", lambda question, items, **_: [0.0] * len(items)),
    "neighbours outweigh all": (ranking, "NEIGHBOUR_WEIGHT", 50.0),
    "the period counts against": (ranking, "PERIOD_WEIGHT", -5.0),
    "the best passage is skipped": (
        repeats,
        "without_repeats",
        lambda texts, *, limit: list(range(1, limit + 1)),
    ),
    "only few candidates are read": (candidates, "CANDIDATES", 1),
    "what both sides find is dropped": (retrieval, "find_candidates", _without("vector_rank")),
    "nothing of the user is in reach": (
        retrieval,
        "find_candidates",
        lambda db, *, reach, **named: candidates.find_candidates(
            db, reach=Reach(reach.tenant_id, "nobody", None, None), **named
        ),
    ),
    "the query is embedded by another model": (None, "embed", _random_vectors),
}


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_a_regression_fails(
    filled: Services, last: Path, monkeypatch: pytest.MonkeyPatch, regression: str
) -> None:
    target, name, broken = REGRESSIONS[regression]
    if target is None:
        target = type(filled.embedder)
    monkeypatch.setattr(target, name, broken)
    before = report.read_last(last)
    assert run(filled, last=last) == 1
    assert report.read_last(last) == before, "a run that failed is no measure for the next"


def test_a_first_run_is_compared_with_the_stored_turns(
    filled: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "score", _reversed(ranking.score))
    assert run(filled, last=tmp_path / "none.json") == 1


def test_what_is_worse_can_be_accepted(
    filled: Services, last: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "score", _reversed(ranking.score))
    assert run(filled, "--accept", last=last) == 0
    assert run(filled, last=last) == 0


def test_an_installation_without_anything_says_so(services: Services, tmp_path: Path) -> None:
    assert run(services, last=tmp_path / "quality.json") == 2
