"""How the pages of a document are divided into ranges, and whose range is next."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from core.documents import fairness
from core.documents.fairness import Candidate, in_order, next_range_pages

START = datetime(2026, 3, 1, tzinfo=UTC)


def split(pages: int, *, max_pages: int, workers: int, page_seconds: float | None) -> list[int]:
    """The sizes of all ranges, claimed one after the other."""
    sizes: list[int] = []
    while (left := pages - sum(sizes)) > 0:
        sizes.append(
            next_range_pages(left, page_seconds=page_seconds, max_pages=max_pages, workers=workers)
        )
    return sizes


@pytest.mark.parametrize("pages", [1, 7, 8, 9, 50, 100, 400, 5000])
@pytest.mark.parametrize("max_pages", [1, 2, 32])
@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize("page_seconds", [None, 0.01, 0.25, 40.0])
def test_ranges_have_each_page_once(
    pages: int, max_pages: int, workers: int, page_seconds: float | None
) -> None:
    sizes = split(pages, max_pages=max_pages, workers=workers, page_seconds=page_seconds)
    assert sum(sizes) == pages
    assert min(sizes) >= 1
    assert max(sizes) <= max_pages


def test_ranges_become_smaller_so_that_workers_end_together() -> None:
    sizes = split(400, max_pages=32, workers=2, page_seconds=0.01)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 32
    assert sizes[-2] == fairness.SMALLEST_RANGE
    assert split(20, max_pages=32, workers=2, page_seconds=0.01) == [5, 4, 4, 4, 3]


def test_a_worker_s_own_stretch_ends_in_smaller_ranges() -> None:
    assert split(20, max_pages=32, workers=1, page_seconds=0.3) == [10, 5, 3, 2]
    assert split(20, max_pages=32, workers=1, page_seconds=0.05) == [10, 5, 4, 1], "not worthwhile"


@pytest.mark.parametrize("page_seconds", [0.05, 0.2, 0.5, 2.0, 10.0])
def test_a_range_takes_some_seconds_however_slow_the_pages(page_seconds: float) -> None:
    pages = next_range_pages(3000, page_seconds=page_seconds, max_pages=1000, workers=2)
    assert pages == 1 or pages * page_seconds <= fairness.RANGE_SECONDS


@pytest.mark.parametrize("pages", range(1, 7))
def test_a_short_document_is_one_range(pages: int) -> None:
    assert split(pages, max_pages=32, workers=2, page_seconds=None) == [pages]


def test_ten_pages_are_shared_evenly() -> None:
    assert split(10, max_pages=32, workers=2, page_seconds=None) == [5, 5]


@pytest.mark.parametrize(
    ("first", "last", "stopped_at", "expected"),
    [
        (1, 100, 0, 1),  # nobody has begun
        (6, 100, 5, 6),  # this worker goes on
        (6, 105, 0, 56),  # another worker goes on at 6
        (6, 105, 200, 56),
        (93, 100, 0, 97),
        (94, 100, 0, 94),  # too few to share
    ],
)
def test_a_worker_goes_on_where_it_stopped_or_takes_half_of_another_s_pages(
    first: int, last: int, stopped_at: int, expected: int
) -> None:
    assert fairness.first_of_stretch(first, last, stopped_at=stopped_at) == expected


def test_the_next_range_learns_from_the_last() -> None:
    seconds = fairness.update_page_seconds(None, seconds=10, pages=5)
    assert seconds == 2
    assert fairness.update_page_seconds(seconds, seconds=4, pages=1) == 3


def waiting(
    person: str,
    *,
    arrived: float,
    served: float | None = None,
    tenant: str = "a",
    tenant_served: float | None = None,
    tenant_arrived: float = 0,
) -> Candidate:
    """Times in seconds since START."""

    def at(seconds: float | None) -> datetime | None:
        return None if seconds is None else START + timedelta(seconds=seconds)

    return Candidate(
        job_id=uuid4(),
        tenant_id=tenant,
        person=person,
        arrived_at=START + timedelta(seconds=arrived),
        tenant_arrived_at=START + timedelta(seconds=tenant_arrived),
        tenant_served_at=at(tenant_served),
        person_served_at=at(served),
    )


def people(ordered: list[Candidate]) -> list[str]:
    return [candidate.person for candidate in ordered]


def test_a_newcomer_goes_first_unless_the_last_turn_was_one() -> None:
    candidates = [
        waiting("old", arrived=0, served=5, tenant_served=9),
        waiting("new", arrived=8, tenant_served=9),
        waiting("newer", arrived=9, tenant_served=9),
    ]
    assert people(in_order(candidates, after_newcomer=False)) == ["new", "newer", "old"]
    assert people(in_order(candidates, after_newcomer=True)) == ["old", "new", "newer"]


def test_turns_go_round_the_tenants_and_in_them_round_the_people() -> None:
    candidates = [
        waiting("a1", arrived=0, served=30, tenant_served=30),
        waiting("a2", arrived=0, served=10, tenant_served=30),
        waiting("b1", arrived=0, served=20, tenant="b", tenant_served=20),
    ]
    assert people(in_order(candidates, after_newcomer=False)) == ["b1", "a2", "a1"]


def test_another_document_makes_nobody_a_newcomer_again() -> None:
    assert not waiting("p", arrived=0, served=5).is_newcomer
    assert waiting("p", arrived=6, served=5).is_newcomer


def test_small_documents_go_first_for_a_time_that_the_large_one_s_work_sets() -> None:
    large = fairness.finish_by(START, pages_left=100, page_seconds=1.0)

    def small(seconds: float) -> datetime:
        arrived = START + timedelta(seconds=seconds)
        return fairness.finish_by(arrived, pages_left=1, page_seconds=1.0)

    limit = 100 * fairness.PATIENCE
    assert small(limit - 2 * fairness.PATIENCE) < large < small(limit)
