"""Uploads the documents at a limited rate and records the service's promises."""

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Thread

import httpx

from bench.soak.client import Answer, NoAnswer, ask
from bench.soak.documents import CANCELLED, Outcome, Upload

CLIENTS = 16


@dataclass
class Promise:
    """The service's answer to one upload, which must be true in the end.

    `jobs` are all jobs that it may have, each with its right outcomes. `complaints` are wrong
    answers. `tries` is the number of requests.
    """

    upload: Upload
    document_id: str = ""
    jobs: dict[str, set[Outcome]] = field(default_factory=dict)
    deleted: bool = False
    tries: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def last_job(self) -> str:
        return list(self.jobs)[-1]


class Uploads:
    """Uploads `uploads`, `rate` per second on average, and then does their further actions.

    They are sent in bursts of `burst`, so that workers are busy when a fault happens.
    """

    def __init__(
        self, http: httpx.Client, uploads: Sequence[Upload], *, rate: float, burst: int
    ) -> None:
        self.promises = [Promise(upload) for upload in uploads]
        self._http, self._rate, self._burst = http, rate, burst
        self._run = secrets.token_hex(4)
        self._thread = Thread(target=self._send_all, name="uploads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait until all requests have their answers."""
        self._thread.join()

    @property
    def is_under_way(self) -> bool:
        return self._thread.is_alive()

    @property
    def answered(self) -> int:
        """The number of uploads that were accepted or given up."""
        return sum(bool(promise.jobs or promise.complaints) for promise in self.promises)

    def _send_all(self) -> None:
        started = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            for number, promise in enumerate(self.promises):
                time.sleep(
                    max(
                        0.0,
                        started
                        + number // self._burst * self._burst / self._rate
                        - time.monotonic(),
                    )
                )
                clients.submit(self._serve, promise)

    def _serve(self, promise: Promise) -> None:
        try:
            if self._upload(promise):
                time.sleep(promise.upload.delay if promise.upload.action != "none" else 0)
                self._act(promise)
        except NoAnswer as error:
            promise.complaints.append(f"no answer to {error}")
        except Exception as error:  # nothing reads a future's exception
            promise.complaints.append(f"{type(error).__name__}: {error}")

    def _upload(self, promise: Promise) -> bool:
        answer = self._send(promise.upload, key="first")
        promise.tries = answer.tries
        if answer.status not in {200, 202} or (answer.status == 200 and answer.tries == 1):
            promise.complaints.append(f"the upload was answered by {answer}")
            return False
        promise.document_id = answer.body["document"]["id"]
        promise.jobs[answer.body["job"]["id"]] = {promise.upload.outcome}
        return True

    def _send(self, upload: Upload, *, key: str) -> Answer:
        return ask(
            self._http,
            "POST",
            "/api/v1/documents",
            key=f"{self._run}-{upload.number}-{key}",
            files={"file": (upload.filename, upload.data, "application/pdf")},
            data={"user_id": upload.user_id},
        )

    def _act(self, promise: Promise) -> None:
        match promise.upload.action:
            case "delete":
                self._delete(promise)
            case "cancel":
                self._cancel(promise)
            case "reingest":
                self._reingest(promise)
            case "twice":
                self._upload_again(promise)

    def _delete(self, promise: Promise) -> None:
        answer = ask(self._http, "DELETE", f"/api/v1/documents/{promise.document_id}")
        # If the answer to the first try was lost, the second one finds nothing to delete.
        if answer.status == 204 or (answer.status == 404 and answer.tries > 1):
            promise.deleted = True
            promise.jobs[promise.last_job].add(CANCELLED)
        else:
            promise.complaints.append(f"the delete was answered by {answer}")

    def _cancel(self, promise: Promise) -> None:
        answer = self._post(promise, f"/api/v1/jobs/{promise.last_job}/cancel")
        if answer.status == 202:
            promise.jobs[promise.last_job] = {CANCELLED}
        elif answer.code != "job_finished":
            promise.complaints.append(f"the cancel was answered by {answer}")
        elif answer.tries > 1:
            promise.jobs[promise.last_job].add(CANCELLED)

    def _reingest(self, promise: Promise) -> None:
        answer = self._post(promise, f"/api/v1/documents/{promise.document_id}/reingest")
        if answer.status != 202:
            promise.complaints.append(f"the reingest was answered by {answer}")
            return
        promise.jobs[promise.last_job].add(CANCELLED)
        promise.jobs[answer.body["job"]["id"]] = {promise.upload.outcome}

    def _post(self, promise: Promise, path: str) -> Answer:
        return ask(self._http, "POST", path, key=f"{self._run}-{promise.upload.number}-then")

    def _upload_again(self, promise: Promise) -> None:
        """Upload the same bytes with another key: they must give the same document."""
        answer = self._send(promise.upload, key="second")
        if answer.status != 200 or not answer.body["duplicate"]:
            promise.complaints.append(f"the second upload was answered by {answer}")
        elif (answer.body["document"]["id"], answer.body["job"]["id"]) != (
            promise.document_id,
            promise.last_job,
        ):
            promise.complaints.append("the second upload became another document")
