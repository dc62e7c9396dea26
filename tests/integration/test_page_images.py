"""Page images: the quote is marked, each is rendered once and deleted with the document."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image

from core.bootstrap import Services
from core.documents import records, sweeping, uploads
from core.errors import DocumentError, NotFound
from core.search import retrieval
from core.storage import page_cache
from core.storage.page_cache import PageCache, PageKey
from tests.integration.steps import TENANT, find_document, ingest
from tests.pdfs import make_pdf, make_slow_pdf

PAGES = [
    "The first page speaks of nothing much. It fills the space before the second.",
    "Albin Lind came from Gotland. The lighthouse of Norrskar was built in 1847, and it is said "
    "that the keeper of the lamp, who came from the north in the autumn of that year,",
    "never left the island again. The last keeper was Elsa Holm.",
]


def picture(services: Services, document_id: UUID, number: int, highlight: str | None) -> bytes:
    return uploads.render_page(
        services, find_document(services, document_id), number=number, highlight=highlight
    )


def marked(image: bytes) -> int:
    """The number of yellow pixels."""
    pixels = Image.open(io.BytesIO(image)).convert("RGB").get_flattened_data()
    return sum(red > 200 and green > 180 and blue < 160 for red, green, blue in pixels)


def cached(services: Services) -> list[Path]:
    return list((services.settings.data_dir / "cache" / "pages").glob("*/*"))


def remove_file(services: Services, document_id: UUID) -> None:
    with services.database.transaction(tenant_id=TENANT) as db:
        document = records.get_document(db, tenant_id=TENANT, document_id=document_id)
    services.storage.delete(document.storage_key)


@pytest.mark.parametrize(
    "query", ["When was the lighthouse of Norrskar built?", "Where did Albin Lind come from?"]
)
def test_a_passage_s_quote_is_marked_on_its_page(services: Services, query: str) -> None:
    document_id = ingest(services, make_pdf(PAGES))
    passage = retrieval.search(services, tenant_id=TENANT, query=query, top_k=1)[0]
    assert (passage.page_start, passage.page_end) == (2, 3)  # its sentence runs on
    assert marked(picture(services, document_id, 2, passage.quote)) > 200
    assert marked(picture(services, document_id, 2, None)) == 0
    assert marked(picture(services, document_id, 1, passage.quote)) == 0


def test_a_page_is_rendered_once(services: Services) -> None:
    document_id = ingest(services, make_pdf(PAGES))
    plain = picture(services, document_id, 1, None)
    with_mark = picture(services, document_id, 1, "nothing much")
    remove_file(services, document_id)  # nothing to render from any more
    assert picture(services, document_id, 1, None) == plain
    assert picture(services, document_id, 1, "nothing much") == with_mark != plain
    with pytest.raises(NotFound):
        picture(services, document_id, 1, "another text")
    with pytest.raises(NotFound):
        picture(services, document_id, 2, None)


def test_images_are_deleted_with_their_document(services: Services) -> None:
    document_id, other_id = (ingest(services, make_pdf(PAGES[number:])) for number in (0, 1))
    picture(services, document_id, 1, None)
    picture(services, other_id, 1, None)
    uploads.delete_document(services, tenant_id=TENANT, document_id=document_id)
    assert [path.parent.name for path in cached(services)] == [str(other_id)]
    with pytest.raises(NotFound):
        picture(services, document_id, 1, None)


@pytest.fixture
def hurried(make_services: Callable[..., Services]) -> Services:
    """Services that give a page one second instead of ten."""
    return make_services(range_timeout_seconds=1.0)


def refusal(services: Services, document_id: UUID, highlight: str | None = None) -> tuple[str, str]:
    with pytest.raises(DocumentError) as caught:
        picture(services, document_id, 1, highlight)
    return caught.value.code, caught.value.detail


def test_a_page_beyond_the_limits_is_rarely_drawn_again(hurried: Services) -> None:
    document_id = ingest(hurried, make_slow_pdf())
    first = refusal(hurried, document_id)
    assert first[0] == "pdf_too_complex"
    remove_file(hurried, document_id)  # nothing to render from any more
    assert refusal(hurried, document_id) == first
    assert refusal(hurried, document_id, "whatever is to be marked") == first
    old = time.time() - page_cache.REFUSAL_SECONDS - 10
    os.utime(cached(hurried)[0], (old, old))
    with pytest.raises(NotFound):
        picture(hurried, document_id, 1, None)


def test_a_refusal_is_deleted_with_its_document(hurried: Services) -> None:
    document_id = ingest(hurried, make_slow_pdf())
    refusal(hurried, document_id)
    assert len(cached(hurried)) == 1
    uploads.delete_document(hurried, tenant_id=TENANT, document_id=document_id)
    assert cached(hurried) == []


@pytest.mark.parametrize("change", [{"generation": 2}, {"number": 2}, {"document_id": uuid4()}])
def test_a_refusal_is_for_one_page(tmp_path: Path, change: dict[str, Any]) -> None:
    key = {"document_id": uuid4(), "generation": 1, "number": 1, "highlight": None}
    cache = PageCache(tmp_path)
    cache.put_refusal(PageKey(**key), DocumentError("Too much.", code="pdf_too_complex"))
    found = cache.find_refusal(PageKey(**key))
    assert found is not None
    assert (found.code, found.detail) == ("pdf_too_complex", "Too much.")
    assert cache.find_refusal(PageKey(**(key | change))) is None
    assert cache.find(PageKey(**key)) is None


def test_the_sweep_removes_old_pictures(services: Services) -> None:
    document_id = ingest(services, make_pdf(PAGES))
    for number in (1, 2):
        picture(services, document_id, number, None)
    old = time.time() - page_cache.MAX_AGE_SECONDS - 10
    kept, gone = sorted(cached(services))
    os.utime(gone, (old, old))
    sweeping.remove_orphans(services)
    assert cached(services) == [kept]


def keys(count: int) -> list[PageKey]:
    document_id = uuid4()
    return [PageKey(document_id, 1, number, None) for number in range(count)]


def test_the_cache_keeps_to_its_size(tmp_path: Path) -> None:
    cache = PageCache(tmp_path, max_bytes=3000)
    made = keys(6)
    for age, key in enumerate(made):
        cache.put(key, bytes(1000))
        path = next(tmp_path.glob(f"*/1-{key.number}-plain.png"))
        os.utime(path, (time.time() - 100 + age,) * 2)
    assert cache.find(made[0])  # used last
    assert cache.evict() == 3
    assert [key.number for key in made if cache.find(key)] == [0, 4, 5]


def test_the_cache_shrinks_by_itself(tmp_path: Path) -> None:
    cache = PageCache(tmp_path, max_bytes=10_000)
    for key in keys(100):
        cache.put(key, bytes(1000))
    assert len(list(tmp_path.glob("*/*"))) <= 10 + 32


@pytest.mark.parametrize(
    "change", [{"generation": 2}, {"number": 2}, {"highlight": "a"}, {"document_id": uuid4()}]
)
def test_each_key_has_its_own_image(tmp_path: Path, change: dict[str, Any]) -> None:
    key = {"document_id": uuid4(), "generation": 1, "number": 1, "highlight": None}
    cache = PageCache(tmp_path)
    cache.put(PageKey(**key), b"image")
    assert cache.find(PageKey(**key)) == b"image"
    assert cache.find(PageKey(**(key | change))) is None


def test_an_unwritable_cache_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = PageCache(tmp_path / "file" / "pages")
    key = keys(1)[0]
    cache.put(key, b"image")
    assert cache.find(key) is None
