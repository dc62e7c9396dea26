"""The process that parses PDFs. `core.pdf.parser` starts it and never imports it.

It reads requests from its standard input, one after the other, until that ends.
"""

import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, BinaryIO

from core.pdf import wire
from core.pdf.documents import OpenDocument
from core.pdf.errors import Unreadable, too_complex
from core.pdf.layout.overleaf import MAX_PAGES
from core.pdf.limits import BudgetExceeded, allow_cpu, confine, resident_mb
from core.pdf.values import LabelRange, OcrWord, PdfLimits

# Ten times the time of the slower engine for a full page.
_USUAL_PAGE_SECONDS = 0.8
_COLLECT_AFTER = 20_000  # objects; the words of about three pages
_OCR_MB = 320  # resident memory with Tesseract, one language and a page's image
Reply = tuple[dict[str, Any], bytes]


class Server:
    """Handles requests. Keeps the last document open, because a long one is read in many calls."""

    def __init__(self, limits: PdfLimits) -> None:
        self._limits = limits
        self._document: OpenDocument | None = None
        self._recognizer: Any = None
        self._operations: dict[str, Callable[[OpenDocument, dict[str, Any]], Reply]] = {
            "inspect": lambda document, _: (document.inspect(), b""),
            "read": _read,
            "render": _render,
            "recognize": self._recognize,
        }

    def handle(self, request: dict[str, Any]) -> Reply:
        """The reply to one request. A failure that does not end the process is a reply too."""
        allow_cpu(self._allowance(request))
        try:
            reply, blob = self._operations[request["op"]](self._open(request), request)
        except Unreadable as error:
            return _refusal(error), b""
        except (MemoryError, BudgetExceeded):
            return {**_refusal(too_complex()), "exit": True}, b""
        allowed = self._limits.recycle_mb + (_OCR_MB if self._recognizer else 0)
        reply["exit"] = resident_mb() > allowed
        return reply, blob

    def _recognize(self, document: OpenDocument, request: dict[str, Any]) -> Reply:
        page = document.recognize(self._load_ocr(*request["ocr"]), number=request["number"])
        return {"page": asdict(page)}, b""

    def _load_ocr(self, data_dir: str, languages: str) -> Any:
        if self._recognizer is None or self._recognizer.key != (data_dir, languages):
            # Imported late: web processes do not have the packages, and most documents need no OCR.
            self._recognizer = importlib.import_module("core.pdf.ocr").Recognizer(
                data_dir, languages
            )
        return self._recognizer

    def _allowance(self, request: dict[str, Any]) -> float:
        """Seconds of processor time for the request. A single page may take longer than average."""
        if request["op"] == "recognize":
            return self._limits.page_seconds + self._limits.ocr_seconds
        if request["op"] == "inspect":
            return 2 * self._limits.page_seconds + self._limits.words_seconds
        pages = int(request.get("last", 1)) - int(request.get("first", 1)) + 1
        if request.get("highlight"):
            pages += MAX_PAGES  # the quote may be of a table that began on an earlier page
        usual = self._limits.page_seconds + pages * _USUAL_PAGE_SECONDS
        return min(self._limits.timeout_seconds, usual)

    def _open(self, request: dict[str, Any]) -> OpenDocument:
        path, engine = request["path"], request["engine"]
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size, engine)
        if self._document is None or self._document.key != key:
            if self._document is not None:
                self._document.close()
            self._document = OpenDocument(path=path, engine=engine, limits=self._limits, key=key)
        return self._document


def _read(document: OpenDocument, request: dict[str, Any]) -> Reply:
    pages = document.read(
        first=request["first"],
        last=request["last"],
        page_count=request["page_count"],
        labels=[LabelRange(*entry) for entry in request["labels"]],
        known_words=frozenset(request["known_words"]),
        plain=request.get("plain", False),
    )
    return {"pages": [asdict(page) for page in pages]}, b""


def _render(document: OpenDocument, request: dict[str, Any]) -> Reply:
    image = document.render(
        number=request["number"],
        highlight=request["highlight"],
        scale=request["scale"],
        words=[OcrWord(*word) for word in request["words"]],
    )
    return {}, image


def _refusal(error: Unreadable) -> dict[str, Any]:
    return {"error": {"code": error.code, "detail": error.detail}}


def serve(requests: BinaryIO, replies: BinaryIO, limits: PdfLimits) -> None:
    """Answer requests until the input ends."""
    server = Server(limits)

    def read_exactly(count: int) -> bytes:
        data = requests.read(count)
        if len(data) < count:
            raise EOFError
        return data

    while True:
        try:
            request, _ = wire.decode(read_exactly)
        except EOFError:
            return
        replies.write(_encode(*server.handle(request)))
        replies.flush()


def _encode(reply: dict[str, Any], blob: bytes) -> bytes:
    try:
        return wire.encode(reply, blob)
    except (ValueError, MemoryError):
        return wire.encode({**_refusal(too_complex()), "exit": True})


def _collect_rarely() -> None:
    """Run the garbage collector less often: a page is thousands of small objects without cycles."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def main() -> None:
    limits = PdfLimits(**json.loads(sys.argv[1]))
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Keep output that a library prints from getting between two frames.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    confine(limits)
    # A stop of the service ends the parent, and this process ends with it. If it died of the signal
    # itself, the parent would blame the document.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _collect_rarely()
    replies.write(wire.encode({"ready": True}))
    replies.flush()
    serve(requests, replies, limits)


if __name__ == "__main__":
    main()
