"""How a document is cut into ranges of pages."""

import pytest

from core.documents import ingestion


@pytest.mark.parametrize("pages", [1, 7, 8, 9, 50, 100, 400, 5000])
@pytest.mark.parametrize("most", [1, 2, 32])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_ranges_hold_each_page_once(pages: int, most: int, workers: int) -> None:
    ranges = ingestion.split_into_ranges(pages, most=most, workers=workers)
    assert [page for first, last in ranges for page in range(first, last + 1)] == list(
        range(1, pages + 1)
    )
    assert max(last - first + 1 for first, last in ranges) <= most


def test_ranges_become_smaller_so_that_workers_end_together() -> None:
    sizes = [
        last - first + 1 for first, last in ingestion.split_into_ranges(400, most=32, workers=2)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 32
    assert sizes[-2] == ingestion.SMALLEST_RANGE
    assert len(ingestion.split_into_ranges(20, most=32, workers=2)) == 5, (
        "short documents are shared too"
    )
