"""Follows documents by one event stream, which is open only while some are in ingestion."""

import threading
import time

from ui.api_client import ApiClient, ApiError, Json

UNFINISHED = ("queued", "processing")
# A closed page no longer runs the script, so its stream is closed after this time.
ABANDONED_SECONDS = 30.0
_PAUSE_SECONDS = 5.0


class Watcher:
    """Reads changes of documents in its own thread, and keeps the latest state of each."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._latest: dict[str, Json] = {}
        self._thread: threading.Thread | None = None
        self._wanted_until = 0.0

    def want(self, documents: list[Json]) -> None:
        """Follow these documents if some are unfinished. Call it whenever they are shown."""
        if not any(is_busy(self.latest(document)) for document in documents):
            self._wanted_until = 0.0
            return
        self._wanted_until = time.monotonic() + ABANDONED_SECONDS
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="documents", daemon=True)
            self._thread.start()

    def latest(self, document: Json) -> Json:
        """Return the latest known state of a document: `document` or a newer event."""
        with self._lock:
            known = self._latest.get(document["id"], document)
        return known if _changed(known) >= _changed(document) else document

    def put(self, document: Json) -> None:
        with self._lock:
            self._latest[document["id"]] = document

    def clear(self) -> None:
        """Drop all states, because the documents will be listed again."""
        with self._lock:
            self._latest.clear()

    def _run(self) -> None:
        while self._is_wanted():
            try:
                with self._client.watch_documents() as events:
                    for event in events:
                        if event.name == "document":
                            self.put(event.data)
                        if not self._is_wanted():
                            return
            except ApiError as error:
                if error.code != "no_answer":  # which means silence: check whether to continue
                    time.sleep(error.retry_after or _PAUSE_SECONDS)

    def _is_wanted(self) -> bool:
        return time.monotonic() < self._wanted_until


def _changed(document: Json) -> str:
    """Return the time of the last change of a document or its job, as text that sorts by time."""
    job = document.get("job") or {}
    return max(str(document.get("updated_at") or ""), str(job.get("updated_at") or ""))


def is_busy(document: Json) -> bool:
    """Whether a job of the document is waiting or running."""
    job = document.get("job") or {}
    return document.get("status") in UNFINISHED or job.get("state") in ("queued", "running")
