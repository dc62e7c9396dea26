"""The supervisor, with real processes."""

import io
import os
import pty
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launcher.supervisor import Output, ProcessEnded, Supervisor
from tests.harness import SLOW_MACHINE_SECONDS


@pytest.fixture
def stream() -> io.BytesIO:
    return io.BytesIO()


@pytest.fixture
def supervisor(tmp_path: Path, stream: io.BytesIO) -> Iterator[Supervisor]:
    supervisor = Supervisor(
        cwd=tmp_path, env={**os.environ, "GREETING": "hello"}, output=Output(stream, width=5)
    )
    yield supervisor
    supervisor.stop(seconds=5, hurry=lambda: True)


def _wait_for(stream: io.BytesIO, text: bytes) -> None:
    deadline = time.monotonic() + 3 * SLOW_MACHINE_SECONDS
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.01)


def _wait_ended(supervisor: Supervisor) -> str:
    deadline = time.monotonic() + 3 * SLOW_MACHINE_SECONDS
    while time.monotonic() < deadline:
        try:
            supervisor.check()
        except ProcessEnded as ended:
            return str(ended)
        time.sleep(0.01)
    raise AssertionError("still running")


def test_lines_are_whole_and_begin_with_their_process_s_name(
    supervisor: Supervisor, stream: io.BytesIO
) -> None:
    line = '{"file": "a\u2028b\x85c"}'
    (Path(supervisor.cwd) / "line").write_text(line + "\n")
    supervisor.start(name="log", command="cat line -")
    _wait_for(stream, line.encode())
    (shown,) = stream.getvalue().strip().split(b"\n")
    assert shown.endswith(b" log   | " + line.encode())


def _read_until(terminal: int, last: str) -> str:
    """The output up to `last`. One read may give only a part of it."""
    shown = b""
    while not shown.endswith(last.encode()):
        shown += os.read(terminal, 65536)
    return shown.decode()


def test_a_step_has_a_bar_at_a_terminal_that_is_gone_afterwards() -> None:
    main, terminal = pty.openpty()
    with open(terminal, "wb", buffering=0) as stream:
        output = Output(stream, width=6)
        with output.step("building"):
            time.sleep(0.3)
        output.say("next")
    shown = _read_until(main, "system | next\r\n")
    os.close(main)
    said, bar, rest = shown.partition("0:00:00")
    assert bar
    assert "system | building\r\n" in said
    assert "\x1b[2K" in rest, "the bar is erased"
    assert rest.endswith("system | next\r\n")


def test_a_step_is_one_line_in_a_file(stream: io.BytesIO) -> None:
    with Output(stream, width=6).step("building"):
        pass
    assert stream.getvalue().endswith(b"system | building\n")
    assert stream.getvalue().count(b"\n") == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ('echo "$GREETING"', b"hello"),
        ('GREETING="good day" printenv GREETING', b"good day"),
        ("MISSING=1 sh -c 'echo ${NOTHING:-default} $MISSING'", b"default 1"),
    ],
)
def test_commands_run_in_a_shell(
    supervisor: Supervisor, stream: io.BytesIO, command: str, said: bytes
) -> None:
    supervisor.start(name="web", command=command)
    _wait_for(stream, b"| " + said + b"\n")


@pytest.mark.parametrize(
    ("command", "how"),
    [("exit 3", "web ended with exit status 3"), ("kill -KILL $$", "web ended by SIGKILL")],
)
def test_a_process_that_ends_is_named(supervisor: Supervisor, command: str, how: str) -> None:
    supervisor.start(name="web", command=f"sh -c '{command}'")
    assert _wait_ended(supervisor).startswith(how)


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(
    supervisor: Supervisor, stream: io.BytesIO
) -> None:
    script = "trap '' TERM; sleep 60 & echo child $!; wait; sleep 60"
    supervisor.start(name="web", command=f'sh -c "{script}"'.replace("$!", r"\$!"))
    _wait_for(stream, b"child ")
    child = int(stream.getvalue().split(b"child ")[1])
    supervisor.stop(seconds=0.3, hurry=lambda: False)
    assert b"web did not stop in time: killed" in stream.getvalue()
    deadline = time.monotonic() + 3 * SLOW_MACHINE_SECONDS
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_reader_that_is_gone_stops_no_process(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as broken:
        supervisor = Supervisor(cwd=tmp_path, env=os.environ, output=Output(broken, width=3))
        supervisor.start(name="web", command="sh -c 'seq 100000; exit 7'")
        assert _wait_ended(supervisor).startswith("web ended with exit status 7")
        supervisor.stop(seconds=5, hurry=lambda: False)
