"""The lease by which a worker holds its page range."""

import threading
from types import TracebackType
from typing import Self

from core.bootstrap import Services
from core.documents import jobs
from core.documents.jobs import Claim
from core.errors import Unavailable


class LostClaimError(Exception):
    """The claim is outdated: its job was cancelled or deleted, or another worker took the range."""


class Lease:
    """Renews a claim from its own thread. `check` raises LostClaimError once it is outdated."""

    def __init__(self, services: Services, claim: Claim) -> None:
        self._services = services
        self._claim = claim
        self._ended = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def check(self) -> None:
        if self._lost:
            raise LostClaimError

    def _renew(self) -> None:
        settings = self._services.settings
        while not self._ended.wait(settings.heartbeat_seconds):
            try:
                with self._services.database.transaction(tenant_id=None) as db:
                    held = jobs.renew_lease(db, self._claim, lease_seconds=settings.lease_seconds)
                self._lost = not held
            except Unavailable:
                continue  # PostgreSQL is away; the commit checks the attempt number

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
