"""What runs on a clock: ring for work nobody heard of, and remove what nobody needs.

Every hand-off has a sweeper. Two of them at once do no harm, and none for a
while delays only what had already gone wrong.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from core.access import idempotency
from core.bootstrap import Services
from core.documents import jobs, records
from core.queue.doorbell import MAX_LANES
from core.search import term_statistics
from core.storage.files import remove_old_files
from core.storage.objects import StoredObject
from core.storage.staging import staging_directory
from core.telemetry import get_logger

log = get_logger(__name__)

# Longer than any upload takes from its file to its row, however wrong a host's clock is:
# a file's time is that of the host that wrote it.
ORPHAN_AGE = timedelta(hours=6)
BATCH = 500


def ring_for_due_work(services: Services) -> int:
    """Ring once for each range that is due and unheard of; how many were rung for.

    Messages that still wait in the queue will find that work themselves, so a
    long backlog does not pile up messages.
    """
    with services.database.transaction(tenant_id=None) as db:
        jobs.delete_finished_ranges(db)
        due = jobs.count_due(db, limit=MAX_LANES)
    waiting = services.queue.waiting() if due else None
    if waiting is None or waiting >= due:
        return 0
    services.queue.ring(due - waiting)
    log.info("swept", due=due, waiting=waiting)
    return due - waiting


def tidy_up(services: Services, *, now: datetime | None = None) -> None:
    """Hourly: forget responses older than a day, and remove what nobody stands for."""
    with services.database.transaction(tenant_id=None) as db:
        forgotten = idempotency.purge(db)
    if forgotten:
        log.info("responses_forgotten", count=forgotten)
    remove_orphans(services, now=now)
    term_statistics.forget_small(services)
    term_statistics.refresh(services, drift=-1)


def remove_orphans(services: Services, *, now: datetime | None = None) -> int:
    """Delete files that no document stands for, uploads that never ended, and old pictures."""
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
