"""Statistics of words: when they are counted, and for which tenants."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from core.search import term_statistics
from tests.integration.library import PER_DOCUMENT, Library


def statistics_of(library: Library, tenant: str) -> dict[str, int]:
    with library.database.transaction(tenant_id=tenant) as db:
        return {row.lexeme: row.chunks for row in db.execute(text("SELECT * FROM term_statistics"))}


def chunks_of(library: Library, tenant: str) -> int | None:
    with library.database.transaction(tenant_id=tenant) as db:
        found: int | None = db.scalar(text("SELECT chunks FROM tenant_statistics"))
        return found


def test_statistics_are_kept_of_tenants_with_many_chunks(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    with library.database.transaction(tenant_id=None) as db:
        db.execute(text("TRUNCATE term_statistics, tenant_statistics"))
    assert term_statistics.refresh(library.services) == 0  # 150 chunks each: few
    monkeypatch.setattr(term_statistics, "FULL_SCAN_MAX_CHUNKS", 100)
    assert term_statistics.refresh(library.services) == 3
    known = statistics_of(library, "a")
    assert known["common"] == chunks_of(library, "a") == 3 * PER_DOCUMENT
    assert not any(lexeme.startswith("\x01") for lexeme in known)
    assert known["alpha"] == PER_DOCUMENT
    assert "alphaword7" not in known
    assert term_statistics.refresh(library.services) == 0  # nothing has changed
    assert term_statistics.refresh(library.services, drift=-1) == 3
    term_statistics.forget_small(library.services)
    assert statistics_of(library, "a") == known
    monkeypatch.setattr(term_statistics, "FULL_SCAN_MAX_CHUNKS", 1000)
    term_statistics.forget_small(library.services)
    assert statistics_of(library, "a") == {}
    assert chunks_of(library, "a") is None


def test_statistics_of_a_sample_are_scaled_up(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(term_statistics, "FULL_SCAN_MAX_CHUNKS", 100)
    monkeypatch.setattr(term_statistics, "SAMPLE", 50)
    term_statistics.refresh(library.services, drift=-1)
    known = statistics_of(library, "a")
    assert chunks_of(library, "a") == 3 * PER_DOCUMENT
    assert known["common"] % 3 == 0
    assert 60 <= known["common"] <= 300


def test_several_processes_may_count_at_once(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(term_statistics, "FULL_SCAN_MAX_CHUNKS", 100)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(term_statistics.refresh, library.services, drift=-1) for _ in range(8)]
    assert [run.result() for run in runs] == [3] * 8
    assert statistics_of(library, "b")["common"] == 3 * PER_DOCUMENT
