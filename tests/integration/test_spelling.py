"""Typos in words that nothing holds are forgiven, against the tenant's own words."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from core.bootstrap import Services
from core.search import candidates, retrieval, spelling, term_statistics
from core.search.candidates import find_candidates
from core.search.reach import Reach
from tests.integration.library import Library
from tests.integration.steps import TENANT, ingest
from tests.pdfs import make_pdf


@pytest.fixture(params=["chunks", "statistics"])
def known_by(
    request: pytest.FixtureRequest, library: Library, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Where the tenant's words are looked up: in its chunks, or in its statistics."""
    with library.database.transaction(tenant_id=None) as db:
        db.execute(text("TRUNCATE term_statistics, tenant_statistics"))
    if request.param == "statistics":
        for module in (candidates, term_statistics):
            monkeypatch.setattr(module, "FULL_SCAN_MAX_CHUNKS", 0)
        term_statistics.refresh(library.services)
    return str(request.param)


def corrected(library: Library, query: str, *, tenant: str = "a", user: str | None = None) -> str:
    db = library.database.autocommit(tenant_id=tenant)
    reach = Reach(tenant, user, None, None)
    found = find_candidates(db, reach=reach, query=query, vector=None, mode="text")
    return spelling.correct(db, reach=reach, query=query, found=found)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("where is the timbr?", "where is the timber?"),
        ("Brdige near the Timber", "bridge near the Timber"),
        ("stoone wateer", "stone water"),
        ("stones", "stones"),  # another form of a known word
        ("alphaword8888", "alphaword8888"),  # a code is exact
        ("zyzzyva", "zyzzyva"),  # nothing is near
        ("wal", "wal"),  # too short
        ("timber", "timber"),
    ],
)
def test_a_typo_is_corrected_and_nothing_else(
    library: Library, known_by: str, typed: str, meant: str
) -> None:
    assert corrected(library, typed) == meant


def test_words_of_other_tenants_and_of_nobody_correct_nothing(
    library: Library, known_by: str
) -> None:
    assert corrected(library, "timbr", tenant="nobody") == "timbr"


def test_a_search_finds_what_was_meant_and_says_what_it_looked_for(
    make_services: Callable[..., Services],
) -> None:
    services = make_services()
    ingest(services, make_pdf(["The headquarters are in Norrskar.", "Herring is landed here."]))
    for mode in ("text", "hybrid"):
        found = retrieval.find_in_reach(
            services, reach=Reach(TENANT, None, None, None), query="headquaters?", mode=mode
        )
        assert found.query == "headquarters?"
        assert "headquarters" in found.passages[0].text
