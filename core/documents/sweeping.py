"""Periodic tasks: ring for work that no worker knows of, and delete orphaned files and old rows.

Two sweepers at once do no harm. While none runs, only work whose message was lost is late.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from core.access import idempotency
from core.bootstrap import Services
from core.documents import page_ranges, records, waiting
from core.search import term_statistics
from core.storage.files import remove_old_files
from core.storage.objects import StoredObject
from core.storage.staging import staging_directory
from core.telemetry import get_logger

log = get_logger(__name__)

# Longer than the time between an upload's file and its row, even if the clock of the host that
# wrote the file is wrong by hours.
ORPHAN_AGE = timedelta(hours=6)
BATCH = 500


def ring_for_due_work(services: Services) -> bool:
    """Ring if a page range is due, because its own message may be lost. Returns whether one is.

    One message is enough: the worker that receives it rings for the next one.
    """
    with services.database.transaction(tenant_id=None) as db:
        page_ranges.delete_finished_ranges(db)
        due = page_ranges.is_any_due(db)
    if due:
        services.queue.ring()
    return due


def tidy_up(services: Services, *, now: datetime | None = None) -> None:
    """Hourly: delete old responses, turns and orphaned files, and count words again."""
    with services.database.transaction(tenant_id=None) as db:
        forgotten = idempotency.purge(db)
        waiting.forget_served(db)
    if forgotten:
        log.info("responses_forgotten", count=forgotten)
    remove_orphans(services, now=now)
    term_statistics.forget_small(services)
    term_statistics.refresh(services, drift=-1)


def remove_orphans(services: Services, *, now: datetime | None = None) -> int:
    """Delete files without a document, unfinished uploads, and old page images."""
    before = (now or datetime.now(UTC)) - ORPHAN_AGE
    removed = remove_old_files(
        staging_directory(services.settings), seconds=ORPHAN_AGE.total_seconds()
    )
    services.page_cache.evict()
    objects = services.storage.list_objects()
    while batch := list(islice(objects, BATCH)):
        for key in _orphans(services, batch, before=before):
            services.storage.delete(key)
            removed += 1
    if removed:
        log.info("orphans_removed", count=removed)
    return removed


def _orphans(services: Services, batch: list[StoredObject], *, before: datetime) -> Iterator[str]:
    keys = [item.key for item in batch if item.modified_at < before]
    with services.database.transaction(tenant_id=None) as db:
        known = records.stored_keys(db, keys=keys)
    return (key for key in keys if key not in known)
