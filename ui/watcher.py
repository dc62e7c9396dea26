"""Progress of documents by one event stream, which is open only while there is progress."""

import threading
import time

from ui.api_client import ApiClient, ApiError, Json

UNFINISHED = ("queued", "processing")
# A page that is gone runs no script any more: its stream is closed after this time.
ABANDONED_SECONDS = 30.0
_PAUSE_SECONDS = 5.0


class Watcher:
    """The latest of each document that changed, read in a thread of its own."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._latest: dict[str, Json] = {}
        self._thread: threading.Thread | None = None
        self._wanted_until = 0.0

    def want(self, documents: list[Json]) -> None:
        """Follow these, if some are unfinished. To be called at each look at them."""
        if not any(is_busy(self.latest(document)) for document in documents):
            self._wanted_until = 0.0
            return
        self._wanted_until = time.monotonic() + ABANDONED_SECONDS
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="documents", daemon=True)
            self._thread.start()

    def latest(self, document: Json) -> Json:
        """The document as last heard of: `document` itself, or what came later."""
        with self._lock:
            heard = self._latest.get(document["id"], document)
        return heard if _changed(heard) >= _changed(document) else document

    def put(self, document: Json) -> None:
        with self._lock:
            self._latest[document["id"]] = document

    def forget(self) -> None:
        """What is listed from now on is newer than what was heard."""
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
                if error.code != "no_answer":  # that is silence: look whether to go on
                    time.sleep(error.retry_after or _PAUSE_SECONDS)

    def _is_wanted(self) -> bool:
        return time.monotonic() < self._wanted_until


def _changed(document: Json) -> str:
    """When the document or its job changed, as text that sorts by time."""
    job = document.get("job") or {}
    return max(str(document.get("updated_at") or ""), str(job.get("updated_at") or ""))


def is_busy(document: Json) -> bool:
    """Whether something is being done with the document."""
    job = document.get("job") or {}
    return document.get("status") in UNFINISHED or job.get("state") in ("queued", "running")
