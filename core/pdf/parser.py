"""The parent's side: one killable child process that does all PDF work.

A hostile PDF can loop, exhaust memory or crash the library that reads it. Neither
pypdf's limits (per stream) nor a Python timeout (a C call cannot be interrupted) can
stop that, but a process can be killed.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import DocumentError, Unavailable
from core.pdf import wire
from core.pdf.ocr_data import OcrData
from core.pdf.values import (
    DocumentInfo,
    DocumentNote,
    Engine,
    LabelRange,
    OcrWord,
    OutlineEntry,
    PageText,
    PdfLimits,
)

_ROOT = Path(__file__).resolve().parents[2]
# The child's own limits act first. The parent's clock is for a child that evades them.
_GRACE_SECONDS = 0.5
_START_SECONDS = 60.0
_TURN_SECONDS = 1.0  # a usual page is drawn in a tenth of it, a hostile one takes ten times as long


class PdfParser:
    """Reads PDFs in one child process, kept warm between calls and replaced when it dies.

    Safe to share between threads (calls queue up) and to carry over a fork
    (the new process starts its own child). Every method raises DocumentError
    with `pdf_malformed`, `pdf_encrypted`, `pdf_too_many_pages` or
    `pdf_too_complex`; a file that cannot be opened, and a child that does not
    start, raise OSError. If `max_callers` callers wait already, and none of them is
    served within a second, a call raises Unavailable, so that a slow document
    cannot block all threads of a server.
    """

    def __init__(
        self,
        *,
        limits: PdfLimits | None = None,
        engine: Engine = "auto",
        max_callers: int = 64,
        ocr: OcrData | None = None,
    ) -> None:
        self._ocr = ocr
        self._limits = limits or PdfLimits()
        self._engine = engine
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(max_callers)

    def inspect(self, path: Path) -> DocumentInfo:
        """Page count, metadata title, outline and unread parts of a file that can be read.

        A file that opens with the empty password does not count as encrypted.
        """
        reply, _ = self._call({"op": "inspect"}, path)
        outline = tuple(OutlineEntry(*entry) for entry in reply["outline"])
        notes = tuple(DocumentNote(*note) for note in reply["notes"])
        labels = tuple(LabelRange(*entry) for entry in reply["labels"])
        words = tuple(reply["known_words"])
        return DocumentInfo(reply["page_count"], reply["title"], outline, notes, labels, words)

    def read_pages(
        self,
        path: Path,
        *,
        first: int,
        last: int,
        page_count: int | None = None,
        labels: Sequence[LabelRange] = (),
        known_words: Sequence[str] = (),
    ) -> list[PageText]:
        """The cleaned texts of pages `first` to `last`, both included, from 1.

        `page_count`, `labels` and `known_words` are those of `inspect`: in a damaged file, one of
        the engines may not see the last pages. A page's text does not depend on the range.
        """
        request = {
            "op": "read",
            "first": first,
            "last": last,
            "page_count": page_count,
            "labels": [astuple(entry) for entry in labels],
            "known_words": list(known_words),
        }
        return [_page(page) for page in self._read(request, path)["pages"]]

    @property
    def ocr_languages(self) -> str:
        """The languages that OCR reads, joined by `+`; empty without OCR."""
        return self._ocr.joined if self._ocr else ""

    def recognize_page(self, path: Path, *, number: int) -> PageText:
        """Page `number` as read by OCR, or its text layer if OCR finds no more.

        Limits of time and memory hold as for a range. Needs `ocr_languages`.
        """
        assert self._ocr is not None
        request = {
            "op": "recognize",
            "number": number,
            "ocr": (self._ocr.directory, self._ocr.joined),
        }
        return _page(self._call(request, path)[0]["page"])

    def _read(self, request: dict[str, Any], path: Path) -> dict[str, Any]:
        """Read the pages with their layout, or without it if drawing them takes too long."""
        try:
            return self._call(request, path)[0]
        except DocumentError as error:
            if error.code != "pdf_too_complex":
                raise
        return self._call(request | {"plain": True}, path)[0]

    def render_page(
        self,
        path: Path,
        *,
        number: int,
        highlight: str | None = None,
        scale: float = 1.5,
        words: Sequence[OcrWord] = (),
    ) -> bytes:
        """Page `number` as PNG, with `scale` pixels per point and `highlight` marked if found.

        `words` are those that OCR found on the page.
        """
        request = {
            "op": "render",
            "number": number,
            "highlight": highlight,
            "scale": scale,
            "words": list(words),
        }
        return self._call(request, path)[1]

    def warm_up(self) -> None:
        """Start the child now: the first call would wait half a second for it."""
        with self._lock:
            self._ensure_child()

    def close(self) -> None:
        """End the child. The parser can be used again and then starts a new one."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, request: dict[str, Any], path: Path) -> tuple[dict[str, Any], bytes]:
        request |= {"path": str(path.resolve(strict=True)), "engine": self._engine}
        with self._turn(), self._lock:
            try:
                reply, blob = self._exchange(request)
            except BaseException:
                # The next call would read the rest of this reply as its own.
                self._stop()
                raise
            if reply.get("exit"):
                self._stop()
        if error := reply.get("error"):
            raise DocumentError(error["detail"], code=error["code"])
        return reply, blob

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=_TURN_SECONDS):
            raise Unavailable("Too many pages are asked for; try again shortly.", code="pdf_busy")
        try:
            yield
        finally:
            self._turns.release()

    def _exchange(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        child = self._ensure_child()
        assert child.stdin is not None
        assert child.stdout is not None
        deadline = time.monotonic() + self._limits.timeout_seconds + _GRACE_SECONDS
        reader = _Reader(child.stdout.fileno(), deadline)
        try:
            child.stdin.write(wire.encode(request))
            child.stdin.flush()
            return wire.decode(reader.read_exactly)
        except TimeoutError:
            raise _too_complex("Reading the document took too long.") from None
        except (EOFError, BrokenPipeError, ValueError):
            raise _too_complex("Reading the document went past its limits.") from None

    def _ensure_child(self) -> "subprocess.Popen[bytes]":
        if self._child is not None and self._owner != os.getpid():
            self._child = None  # it belongs to the process before the fork, which ends it
        if self._child is not None and self._child.poll() is not None:
            self._stop()
        if self._child is None:
            self._child = _spawn(self._limits)
            self._owner = os.getpid()
            _await_start(self._child)
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        child.wait()


def _page(reply: dict[str, Any]) -> PageText:
    words = tuple(OcrWord(*word) for word in reply["words"])
    return PageText(**reply | {"notes": tuple(reply["notes"]), "words": words})


class _Reader:
    """Reads from a pipe until a deadline of the monotonic clock."""

    def __init__(self, descriptor: int, deadline: float) -> None:
        self._descriptor = descriptor
        self._deadline = deadline
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read_exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            left = self._deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise TimeoutError
            part = os.read(self._descriptor, min(count - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


def _spawn(limits: PdfLimits) -> "subprocess.Popen[bytes]":
    budget = {name: getattr(limits, name) for name in PdfLimits.__slots__}
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-X", "utf8", "-m", "core.pdf.child", json.dumps(budget)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # Pass nothing of the service's own environment, which has keys and passwords.
        env={
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(_ROOT),
            "OMP_THREAD_LIMIT": "1",  # the children of other workers use the other cores
        },
        start_new_session=True,
    )


def _await_start(child: "subprocess.Popen[bytes]") -> None:
    """Wait for the child's start, whose time and failures are not the document's fault."""
    assert child.stdout is not None
    reader = _Reader(child.stdout.fileno(), time.monotonic() + _START_SECONDS)
    try:
        wire.decode(reader.read_exactly)
    except (TimeoutError, EOFError, ValueError):
        raise OSError("the process that parses PDFs did not start") from None


def _too_complex(detail: str) -> DocumentError:
    return DocumentError(detail, code="pdf_too_complex")
