"""The composition root: builds everything a process needs from its settings."""

from functools import cached_property
from uuid import UUID

from core import answering
from core.answering.base import Answerer
from core.db import Database, make_engine
from core.embedding import create_embedder
from core.embedding.base import Embedder
from core.pdf import PdfLimits, PdfParser
from core.pdf.ocr_data import OcrData, find_ocr
from core.providers.reranker import Reranker, create_reranker
from core.queue.doorbell import Doorbell
from core.settings import Settings
from core.storage import Storage, create_storage
from core.storage.page_cache import PageCache

_REMEMBERED_JOBS = 1000


class Services:
    """The parts that core's workflows use. Each part is built at its first use.

    Make one per process, after the fork. `close` ends the parsing child and
    every connection. `vectors_fit` becomes True when a check has shown that the
    database has vectors of the embedder's length. `page_seconds` is the time that a page
    took in the ranges that this process ingested last, None before the first one. `stopped_at`
    has the last page that this process ingested of each job.
    """

    vectors_fit = False
    page_seconds: float | None = None

    def __init__(self, settings: Settings, *, pool_size: int = 10) -> None:
        self.settings = settings
        self.database = Database(make_engine(settings.database_url, pool_size=pool_size))
        self.stopped_at: dict[UUID, int] = {}

    def remember_stop(self, job_id: UUID, page: int) -> None:
        """Record in `stopped_at` that this process has ingested a job's pages up to `page`."""
        self.stopped_at.pop(job_id, None)
        self.stopped_at[job_id] = page
        if len(self.stopped_at) > _REMEMBERED_JOBS:
            del self.stopped_at[next(iter(self.stopped_at))]  # the one served longest ago

    @cached_property
    def storage(self) -> Storage:
        return create_storage(self.settings)

    @cached_property
    def queue(self) -> Doorbell:
        return Doorbell(self.settings)

    @cached_property
    def embedder(self) -> Embedder:
        return create_embedder(self.settings)

    @cached_property
    def answerer(self) -> Answerer:
        return answering.create_answerer(self.settings, embedder=self.embedder)

    @cached_property
    def reranker(self) -> Reranker | None:
        return create_reranker(self.settings)

    @cached_property
    def page_cache(self) -> PageCache:
        return PageCache(self.settings.data_dir / "cache" / "pages")

    @cached_property
    def pdf_parser(self) -> PdfParser:
        limits = PdfLimits(
            timeout_seconds=self.settings.range_timeout_seconds,
            memory_mb=self.settings.range_memory_mb,
            max_pages=self.settings.max_pages,
        )
        # Answers may take three quarters of the threads; callers take half of the rest.
        callers = max(1, self.settings.web_threads // 8)
        return PdfParser(
            limits=limits, engine=self.settings.pdf_engine, max_callers=callers, ocr=self.ocr
        )

    @cached_property
    def ocr(self) -> OcrData | None:
        """The data for reading scanned pages; None if they are not read."""
        return find_ocr(self.settings.ocr_languages) if self.settings.ocr == "auto" else None

    def close(self) -> None:
        for name in ("pdf_parser", "answerer", "embedder", "reranker"):
            close = getattr(self.__dict__.get(name), "close", None)
            if close is not None:
                close()
        self.database.engine.dispose()


def bootstrap(settings: Settings, *, pool_size: int = 10) -> Services:
    """Services for this process. Nothing connects or loads before its first use."""
    return Services(settings, pool_size=pool_size)
