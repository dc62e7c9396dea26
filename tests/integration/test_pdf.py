"""The parser and its child process, over generated files."""

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery import signals
from PIL import Image

from core.bootstrap import Services
from core.errors import DocumentError, Unavailable
from core.pdf import OutlineEntry, PageText, PdfLimits, PdfParser
from tests import pdfs
from tests.harness import SLOW_MACHINE_SECONDS

LIMITS = PdfLimits(timeout_seconds=8, page_seconds=2, memory_mb=512, max_pages=60)


@pytest.fixture(scope="module")
def parser() -> Iterator[PdfParser]:
    with PdfParser(limits=LIMITS) as shared:
        yield shared


@pytest.fixture
def write(tmp_path: Path):
    def write(data: bytes, name: str = "a file.pdf") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refusal(parser: PdfParser, path: Path) -> str:
    with pytest.raises(DocumentError) as caught:
        read_all(parser, path)
    assert str(path) not in caught.value.detail
    return caught.value.code


def read_all(parser: PdfParser, path: Path) -> list[PageText]:
    count = parser.inspect(path).page_count
    return parser.read_pages(path, first=1, last=count, page_count=count)


def outcome(parser: PdfParser, path: Path) -> str:
    try:
        read_all(parser, path)
    except DocumentError as error:
        return error.code
    return "read"


def child_of(parser: PdfParser) -> int:
    assert parser._child is not None
    return parser._child.pid


def test_inspect_returns_pages_title_and_outline(parser: PdfParser, write) -> None:
    outline = [(0, "Chapter One", 1), (1, "First Section", 2), (0, "Chapter Two", 3)]
    path = write(pdfs.make_pdf(["a", "b", "c"], title="The Title", outline=outline))
    info = parser.inspect(path)
    assert (info.page_count, info.title) == (3, "The Title")
    assert info.outline == tuple(OutlineEntry(*entry) for entry in outline)


@pytest.mark.parametrize("engine", ["auto", "pypdf", "pdfium"])
def test_every_engine_reads(engine: str, write) -> None:
    path = write(pdfs.make_pdf(["First page.", "Second page."], title="T"))
    with PdfParser(limits=LIMITS, engine=engine) as parser:  # type: ignore[arg-type]
        assert parser.inspect(path).title == "T"
        pages = parser.read_pages(path, first=1, last=2)
    assert [(page.number, page.text) for page in pages] == [(1, "First page."), (2, "Second page.")]
    assert {page.engine for page in pages} == {"pdfium" if engine == "auto" else engine}


def test_text_does_not_depend_on_the_range(parser: PdfParser, write) -> None:
    texts = ["\n".join(f"Word {n * n + line} line." for line in range(10)) for n in range(1, 25)]
    path = write(pdfs.make_pdf(texts, header="A running header", footer="Page {page} of 24"))
    with PdfParser(limits=LIMITS) as fresh:
        whole = fresh.read_pages(path, first=1, last=24)
    assert "running header" in whole[0].text
    assert not any("running" in page.text or "of 24" in page.text for page in whole[1:])
    for size in (1, 5, 7):
        pieces = []
        for first in reversed(range(1, 25, size)):
            pieces = parser.read_pages(path, first=first, last=min(24, first + size - 1)) + pieces
        assert pieces == whole


def test_a_broken_word_is_written_as_on_a_distant_page(parser: PdfParser, write) -> None:
    texts = [f"Page {n} has a text of its own." for n in range(1, 41)]
    texts[0] = "They flew a wide-body and took the bypass."
    texts[39] = "The wide-\nbody was late, because the by-\npass was closed."
    path = write(pdfs.make_pdf(texts))
    known = parser.inspect(path).known_words
    assert sorted(known) == ["bypass", "wide-body"]
    [page] = parser.read_pages(path, first=40, last=40, known_words=known)
    assert page.text == "The wide-body was late, because the bypass was closed."
    assert "widebody" in parser.read_pages(path, first=40, last=40)[0].text
    assert parser.inspect(write(pdfs.make_pdf(texts[:39]))).known_words == ()


def test_a_changed_file_is_read_again(parser: PdfParser, write) -> None:
    path = write(pdfs.make_pdf(["Before."]))
    assert parser.read_pages(path, first=1, last=1)[0].text == "Before."
    write(pdfs.make_pdf(["After the change."]))
    assert parser.read_pages(path, first=1, last=1)[0].text == "After the change."


def test_scanned_pages_have_no_text(parser: PdfParser, write) -> None:
    path = write(pdfs.make_mixed_pdf(["Some text.", None, "More text."]))
    assert [page.text for page in parser.read_pages(path, first=1, last=3)] == [
        "Some text.",
        "",
        "More text.",
    ]


def test_the_empty_password_opens(parser: PdfParser, write) -> None:
    path = write(pdfs.make_encrypted_pdf(["Not so secret."], ""))
    assert parser.inspect(path).page_count == 1
    assert parser.read_pages(path, first=1, last=1)[0].text == "Not so secret."


def test_a_damaged_file_is_read(parser: PdfParser, write) -> None:
    path = write(pdfs.make_pdf_without_xref(["Still here."]))
    assert parser.inspect(path).page_count == 1
    assert parser.read_pages(path, first=1, last=1)[0].text == "Still here."


@pytest.mark.parametrize("count", [b"1", b"2", b"9"])
def test_a_wrong_page_count_neither_loses_nor_invents_pages(
    parser: PdfParser, write, count: bytes
) -> None:
    """One engine believes /Count (ISO 32000-2, 7.7.3.2), the other counts."""
    path = write(pdfs.make_pdf(["One.", "Two.", "Three."]).replace(b"/Count 3", b"/Count " + count))
    assert [page.text for page in read_all(parser, path)] == ["One.", "Two.", "Three."]
    last = parser.read_pages(path, first=3, last=3, page_count=3)
    assert [page.text for page in last] == ["Three."]


def test_junk_before_the_header_is_read(parser: PdfParser, write) -> None:
    path = write(b"junk\n" * 1000 + pdfs.make_pdf(["Behind junk."]))
    assert parser.inspect(path).page_count == 1
    assert parser.read_pages(path, first=1, last=1)[0].text == "Behind junk."
    assert parser.render_page(path, number=1).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (pdfs.make_encrypted_pdf(["x"], "secret"), "pdf_encrypted"),
        (pdfs.make_zero_page_pdf(), "pdf_malformed"),
        (pdfs.make_truncated_pdf(["x " * 300]), "pdf_malformed"),
        (pdfs.make_cyclic_page_tree(), "pdf_malformed"),
        (b"", "pdf_malformed"),
        (b"%PDF-1.7\n", "pdf_malformed"),
        (b"<!DOCTYPE html><p>no", "pdf_malformed"),
        (pdfs.make_pdf(["x"] * 61), "pdf_too_many_pages"),
        (pdfs.make_text_bomb(), "pdf_too_complex"),
    ],
    ids=["password", "no-page", "cut", "cycle", "empty", "header", "html", "pages", "text-bomb"],
)
@pytest.mark.parametrize("engine", ["auto", "pdfium"])
def test_each_unreadable_file_has_its_code(engine: str, data: bytes, code: str, write) -> None:
    with PdfParser(limits=LIMITS, engine=engine) as parser:  # type: ignore[arg-type]
        assert refusal(parser, write(data)) == code


def test_no_page_is_malformed_after_an_encrypted_file(write) -> None:
    # pdfium keeps the error of the previous file.
    with PdfParser(limits=LIMITS, engine="pdfium") as parser:
        assert refusal(parser, write(pdfs.make_encrypted_pdf(["x"], "pw"), "1")) == "pdf_encrypted"
        assert refusal(parser, write(pdfs.make_zero_page_pdf(), "2")) == "pdf_malformed"


@pytest.mark.parametrize("engine", ["auto", "pypdf", "pdfium"])
@pytest.mark.parametrize(
    "bomb",
    [
        pdfs.make_flate_bomb(megabytes=200),
        pdfs.make_shared_stream_bomb(pages=30, megabytes=30),
        pdfs.make_cyclic_page_tree(),
    ],
    ids=["flate", "shared", "cycle"],
)
def test_bombs_end_in_time_and_leave_a_working_parser(engine: str, bomb: bytes, write) -> None:
    limits = PdfLimits(timeout_seconds=3, page_seconds=1, memory_mb=512)
    with PdfParser(limits=limits, engine=engine) as parser:  # type: ignore[arg-type]
        start = time.monotonic()
        assert outcome(parser, write(bomb)) in {"read", "pdf_too_complex", "pdf_malformed"}
        assert time.monotonic() - start < 2 * limits.timeout_seconds + 2 * SLOW_MACHINE_SECONDS
        good = write(pdfs.make_pdf(["Good."]), "good.pdf")
        assert parser.read_pages(good, first=1, last=1)[0].text == "Good."


def test_a_child_that_dies_is_replaced(parser: PdfParser, write) -> None:
    path = write(pdfs.make_pdf(["Alive."]))
    parser.inspect(path)
    before = child_of(parser)
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    assert parser.read_pages(path, first=1, last=1)[0].text == "Alive."
    assert child_of(parser) != before


def test_warming_up_starts_the_child(write) -> None:
    with PdfParser(limits=LIMITS) as parser:
        parser.warm_up()
        before = child_of(parser)
        assert parser.inspect(write(pdfs.make_pdf(["Warm."]))).page_count == 1
        assert child_of(parser) == before


def test_a_worker_starts_with_its_child(
    make_services: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first document of each pool process would wait for it."""
    services = make_services(pdf_engine="auto")  # with a parser of its own
    monkeypatch.setattr("worker.app._services", services)
    signals.worker_process_init.send(sender=None)
    assert child_of(services.__dict__["pdf_parser"])


def test_a_child_that_hangs_is_killed(write) -> None:
    path = write(pdfs.make_pdf(["Here."]))
    with PdfParser(limits=PdfLimits(timeout_seconds=0.5)) as parser:
        parser.inspect(path)
        stuck = child_of(parser)
        os.kill(stuck, signal.SIGSTOP)
        assert refusal(parser, path) == "pdf_too_complex"
        assert not Path(f"/proc/{stuck}").exists()
        assert parser.inspect(path).page_count == 1


def test_a_child_that_grew_is_replaced(write) -> None:
    path = write(pdfs.make_pdf(["Here."]))
    with PdfParser(limits=PdfLimits(recycle_mb=1)) as parser:
        assert parser.inspect(path).page_count == 1
        assert parser._child is None
        assert parser.read_pages(path, first=1, last=1)[0].text == "Here."


def test_the_child_has_nothing_of_the_service_s_environment(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "canary-secret")
    with PdfParser(limits=LIMITS) as parser:
        parser.inspect(write(pdfs.make_pdf(["x"])))
        process = Path(f"/proc/{child_of(parser)}")
        assert b"canary" not in (process / "environ").read_bytes()
        limits = (process / "limits").read_text()
    assert f"{LIMITS.memory_mb * 1024 * 1024}" in limits
    assert "Max file size             0" in limits
    assert "Max core file size        0" in limits


def test_close_leaves_no_process(write) -> None:
    parser = PdfParser(limits=LIMITS)
    parser.inspect(write(pdfs.make_pdf(["x"])))
    child = child_of(parser)
    parser.close()
    parser.close()
    assert not Path(f"/proc/{child}").exists()


def test_the_child_ends_with_a_parent_that_was_killed(write) -> None:
    path = write(pdfs.make_pdf(["x"]))
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        forked = PdfParser(limits=LIMITS)
        forked.inspect(path)
        os.write(writing, str(child_of(forked)).encode())
        time.sleep(60)
        os._exit(0)
    os.close(writing)
    child = int(os.read(reading, 20))
    os.close(reading)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + SLOW_MACHINE_SECONDS
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_a_fork_starts_its_own_child(parser: PdfParser, write) -> None:
    path = write(pdfs.make_pdf(["Mine."]))
    parser.inspect(path)
    ours = child_of(parser)
    forked = os.fork()
    if forked == 0:
        text = parser.read_pages(path, first=1, last=1)[0].text
        parser.close()
        os._exit(0 if text == "Mine." else 1)
    assert os.waitpid(forked, 0)[1] == 0
    assert parser.read_pages(path, first=1, last=1)[0].text == "Mine."
    assert child_of(parser) == ours


def test_too_many_waiting_callers_are_refused(write) -> None:
    """Slow pages must not block every thread of the web server."""
    slow, quick = write(pdfs.make_slow_pdf(), "slow.pdf"), write(pdfs.make_pdf(["Quick."]))
    with PdfParser(limits=PdfLimits(page_seconds=30), max_callers=1) as parser:
        parser.inspect(quick)
        child = child_of(parser)
        with ThreadPoolExecutor(1) as pool:
            drawing = pool.submit(outcome_of_drawing, parser, slow)
            deadline = time.monotonic() + 30
            while not parser._lock.locked() and time.monotonic() < deadline:
                time.sleep(0.01)
            with pytest.raises(Unavailable) as caught:
                parser.render_page(quick, number=1)
            assert caught.value.code == "pdf_busy"
            os.kill(child, signal.SIGKILL)
            assert drawing.result(30) == "pdf_too_complex"
        assert parser.render_page(quick, number=1).startswith(b"\x89PNG")


def outcome_of_drawing(parser: PdfParser, path: Path) -> str:
    try:
        parser.render_page(path, number=1)
    except DocumentError as error:
        return error.code
    return "drawn"


def test_threads_share_a_parser(parser: PdfParser, write) -> None:
    paths = [write(pdfs.make_pdf([f"Text {n}."]), f"{n}.pdf") for n in range(4)]
    texts: dict[int, set[str]] = {n: set() for n in range(4)}

    def read(n: int) -> None:
        for _ in range(10):
            texts[n].add(parser.read_pages(paths[n], first=1, last=1)[0].text)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {n: {f"Text {n}."} for n in range(4)}


def test_memory_does_not_grow_with_the_document(write) -> None:
    path = write(pdfs.make_pdf([f"Page {n} of a document with very many." for n in range(600)]))
    with PdfParser(limits=PdfLimits()) as parser:
        parser.read_pages(path, first=1, last=16)
        early = _resident(child_of(parser))
        for first in range(17, 600, 16):
            parser.read_pages(path, first=first, last=min(600, first + 15))
        assert _resident(child_of(parser)) < early + 30


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def yellow(image: Image.Image) -> list[tuple[int, int]]:
    """The pixels of the mark: bright, but with little blue."""
    width = image.width
    return [
        (index % width, index // width)
        for index, (red, green, blue) in enumerate(image.get_flattened_data())
        if red > 230 and green > 200 and blue < 190
    ]


def test_render_marks_the_quote(parser: PdfParser, write) -> None:
    lines = [f"Line number {n} says something else." for n in range(1, 9)]
    path = write(pdfs.make_pdf(["\n".join(lines)]))
    plain = Image.open(io.BytesIO(parser.render_page(path, number=1)))
    assert (plain.format, plain.mode) == ("PNG", "RGB")
    assert plain.size == (893, 1263)
    assert not yellow(plain)
    quote = "LINE number 3 says\nsome-\nthing else. Line number 4"
    marked = Image.open(io.BytesIO(parser.render_page(path, number=1, highlight=quote)))
    rows = {y for _, y in yellow(marked)}
    line_height = 6 / 25.4 * 72 * 1.5
    top = 10 / 25.4 * 72 * 1.5 + 2 * line_height
    assert top - 2 < min(rows) < top + line_height / 2
    assert top + line_height < max(rows) < top + 2 * line_height + 2


def test_render_without_a_match_marks_nothing(parser: PdfParser, write) -> None:
    path = write(pdfs.make_pdf(["Some text."]))
    image = parser.render_page(path, number=1, highlight="Words that stand nowhere on it.")
    assert not yellow(Image.open(io.BytesIO(image)))


def test_render_bounds_the_image(parser: PdfParser, write) -> None:
    path = write(pdfs.make_pdf(["Some text."]))
    image = Image.open(io.BytesIO(parser.render_page(path, number=1, scale=50)))
    assert image.width * image.height <= 16_100_000


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_page_that_does_not_exist(parser: PdfParser, write, number: int) -> None:
    path = write(pdfs.make_pdf(["One page."]))
    with pytest.raises(DocumentError):
        parser.render_page(path, number=number)
    with pytest.raises(DocumentError):
        parser.read_pages(path, first=number, last=number)


def test_a_missing_file_is_an_os_error(parser: PdfParser, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        parser.inspect(tmp_path / "none.pdf")
