"""The terminal client against the real service, as a shell runs it."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.llm_server import LLMServer, Reply
from tests.functional.conftest import MakeStack
from tests.harness import ROOT
from tests.harness.stack import Stack
from tests.pdfs import make_pdf, make_scanned_pdf

LIGHTHOUSE = "The lighthouse at Skagen was built in 1847 by Albin Lind."
QUESTION = "When was the lighthouse at Skagen built?"
WAIT_SECONDS = 170

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def service(make_stack: MakeStack) -> Stack:
    stack = make_stack(env={"OCR": "off"})
    stack.start("web")
    stack.start("worker")
    stack.wait_ready()
    return stack


@pytest.fixture
def user() -> str:
    return f"alice-{uuid4().hex[:8]}"


@pytest.fixture
def environment(service: Stack, user: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    own = {"RAGCHAT_USER": user, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "200"}
    return kept | own | {"API_URL": service.base_url, "API_KEY": service.api_key}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    def call(
        *arguments: str, given: str = "", env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments],
            input=given,
            text=True,
            capture_output=True,
            cwd=tmp_path,
            env=environment if env is None else dict(env),
            timeout=WAIT_SECONDS,
        )

    return call


def lines(result: "subprocess.CompletedProcess[str]") -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folder_can_be_uploaded_asked_listed_and_deleted(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "papers" / "old"
    folder.mkdir(parents=True)
    (folder / "lighthouse.PDF").write_bytes(make_pdf([LIGHTHOUSE]))
    (folder / "notes.txt").write_text("not a PDF, and not uploaded")
    (tmp_path / "tea.pdf").write_bytes(make_pdf(["Tea was traded at Dragor in 1790."]))
    sent = run("upload", "--json", "papers", "tea.pdf")
    assert sent.returncode == 0, sent.stderr
    documents = {Path(line["path"]).name: line["document"] for line in lines(sent)}
    assert {name: document["status"] for name, document in documents.items()} == {
        "lighthouse.PDF": "ready",
        "tea.pdf": "ready",
    }
    again = run("upload", "tea.pdf")
    assert again.returncode == 0
    assert "already there" in again.stdout

    asked = run("ask", QUESTION)
    assert asked.returncode == 0, asked.stderr
    assert "1847" in asked.stdout
    assert "[1] lighthouse.PDF, p. 1" in asked.stdout
    narrowed = run("ask", "--json", "--document", documents["tea.pdf"]["id"], QUESTION)
    (turn,) = lines(narrowed)
    assert turn["user_message"]["content"] == QUESTION
    assert "1847" not in turn["assistant_message"]["content"]

    listed = lines(run("documents", "--json"))
    assert [item["filename"] for item in listed] == ["tea.pdf", "lighthouse.PDF"]
    assert {item["job"]["state"] for item in listed} == {"succeeded"}
    assert "lighthouse.PDF" in run("documents").stdout
    saved = run("documents", "download", documents["tea.pdf"]["id"], "-o", "copy.pdf")
    assert saved.returncode == 0
    assert (tmp_path / "copy.pdf").read_bytes() == (tmp_path / "tea.pdf").read_bytes()
    deleted = run("documents", "delete", *(item["id"] for item in listed))
    assert deleted.returncode == 0
    assert lines(run("documents", "--json")) == []


def test_a_failed_or_refused_file_is_reported_with_an_exit_code(run: Run, tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(make_scanned_pdf(1))
    (tmp_path / "good.pdf").write_bytes(make_pdf([LIGHTHOUSE]))
    failed = run("upload", "scan.pdf", "good.pdf")
    assert failed.returncode == 1
    assert "failed: pdf_no_text  scan.pdf" in failed.stdout
    assert "ready  good.pdf" in failed.stdout
    assert "failed: pdf_no_text" in run("documents", "--status", "failed").stdout
    (tmp_path / "page.pdf").write_text("<html>")
    refused = run("upload", "--json", "page.pdf", "good.pdf")
    assert refused.returncode == 6
    first, second = lines(refused)
    assert first["error"]["code"] == "unsupported_media_type"
    assert second["document"]["duplicate"] is True
    assert run("upload", "nowhere.pdf").returncode == 2


def test_a_conversation_can_be_continued_shown_and_deleted(run: Run) -> None:
    talked = run("chat", "--json", given="My name is Ada.\n\n/new\nHello?\n")
    assert talked.returncode == 0, talked.stderr
    first, second = lines(talked)
    assert first["user_message"]["content"] == "My name is Ada."
    session = first["user_message"]["session_id"]
    assert second["user_message"]["session_id"] != session
    on = run("chat", "--session", session, given="And mine?\n/quit\nNever asked\n")
    assert on.returncode == 0
    shown = lines(run("sessions", "show", session, "--json"))
    assert [message["position"] for message in shown] == [1, 2, 3, 4]
    assert shown[2]["content"] == "And mine?"
    assert "Ada" in run("sessions", "show", session).stdout
    assert "My name is Ada." in run("export", session).stdout
    exported = json.loads(run("export", session, "--json").stdout)
    assert "My name is Ada." in json.dumps(exported)
    listed = lines(run("sessions", "--json"))
    assert {item["id"] for item in listed} == {session, second["user_message"]["session_id"]}
    assert lines(run("sessions", "--json", "--limit", "1")) == listed[:1]
    assert lines(run("sessions", "--json", "--favorites")) == []
    assert run("sessions", "delete", session).returncode == 0
    gone = run("sessions", "show", session)
    assert (gone.returncode, gone.stdout) == (5, "")
    assert "session_not_found" in gone.stderr


def test_jobs_are_watched_to_their_end(run: Run, tmp_path: Path) -> None:
    (tmp_path / "long.pdf").write_bytes(make_pdf([LIGHTHOUSE] * 40))
    sent = run("upload", "--no-wait", "--json", "long.pdf")
    (accepted,) = lines(sent)
    job = accepted["document"]["job"]["id"]
    watched = run("jobs", "--watch", "--json", "--limit", "1")
    told = lines(watched)
    assert {line["id"] for line in told} == {job}
    assert told[-1]["state"] == "succeeded"
    assert watched.returncode == 0
    (tmp_path / "scan.pdf").write_bytes(make_scanned_pdf(2))
    assert run("upload", "--no-wait", "scan.pdf").returncode == 0
    failed = run("jobs", "--watch", "--limit", "1")
    assert failed.returncode == 1
    assert "failed: pdf_no_text" in failed.stdout


def test_exit_codes_for_a_wrong_key_and_an_absent_service(
    run: Run, environment: dict[str, str]
) -> None:
    refused = run("sessions", "--json", env=environment | {"RAGCHAT_API_KEY": "wrong"})
    assert (refused.returncode, refused.stdout) == (4, "")
    assert json.loads(refused.stderr)["error"]["code"] == "unauthorized"
    away = run("sessions", env=environment | {"RAGCHAT_URL": "http://127.0.0.1:9"})
    assert away.returncode == 3
    assert "unreachable" in away.stderr
    without = {name: value for name, value in environment.items() if name != "API_KEY"}
    assert run("sessions", env=without).returncode == 2


def test_settings_come_from_an_env_file_in_a_parent_directory(
    run: Run, environment: dict[str, str], service: Stack, tmp_path: Path
) -> None:
    names = {"API_KEY", "API_URL", "RAGCHAT_USER"}
    bare = {name: value for name, value in environment.items() if name not in names}
    (tmp_path / ".env").write_text(f"API_KEY={service.api_key}\nPORT={service.port}\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    found = run("sessions", "--json", env=bare)
    assert found.returncode == 0, found.stderr
    code = "import os, cli.main; os.chdir('inside'); cli.main.main()"
    below = subprocess.run(
        [sys.executable, "-c", code, "sessions", "--json"],
        cwd=tmp_path,
        env=bare,
        capture_output=True,
        timeout=WAIT_SECONDS,
    )
    assert below.returncode == 0, below.stderr
    assert run("sessions", env=bare | {"API_KEY": "other"}).returncode == 4


def test_the_client_waits_when_the_rate_limit_is_reached(
    make_stack: MakeStack, environment: dict[str, str], run: Run
) -> None:
    stack = make_stack(env={"RATE_LIMIT_PER_MINUTE": "2"})
    stack.start("web")
    stack.wait_ready()
    own = environment | {"API_URL": stack.base_url, "API_KEY": stack.api_key}
    results = [run("sessions", "--json", env=own) for _ in range(3)]
    assert [result.returncode for result in results] == [0, 0, 0], results[-1].stderr


def test_a_terminal_shows_moving_bars_and_no_escapes(
    environment: dict[str, str], tmp_path: Path
) -> None:
    evil = tmp_path / "evil\x1b]0;owned\x07.pdf"
    evil.write_bytes(make_pdf([LIGHTHOUSE]))
    terminal = Terminal(environment, tmp_path, "upload", evil.name)
    shown = terminal.read()
    assert terminal.process.wait(WAIT_SECONDS) == 0
    assert "evil]0;owned.pdf" in shown
    assert "\x1b]0;owned" not in shown
    assert "100 %" in shown
    assert "1 pages" in shown


def test_ctrl_c_at_the_prompt_ends_with_130(environment: dict[str, str], tmp_path: Path) -> None:
    terminal = Terminal(environment, tmp_path, "chat")
    assert "Ctrl-C" in terminal.read(until="> ")
    terminal.interrupt_until_it_ends()
    terminal.read()
    assert terminal.process.wait(WAIT_SECONDS) == 130


def test_ctrl_c_stops_an_answer_and_the_chat_continues(
    make_stack: MakeStack, llm: LLMServer, environment: dict[str, str], tmp_path: Path, run: Run
) -> None:
    by_llm = {"CHAT_PROVIDER": "openai", "CHAT_BASE_URL": llm.base_url, "CHAT_MODEL": "test-model"}
    stack = make_stack(env=by_llm)
    stack.start("web")
    stack.wait_ready()
    own = environment | {"API_URL": stack.base_url, "API_KEY": stack.api_key}
    llm.default = Reply(deltas=["word "] * 1000, delay_between=0.2)
    terminal = Terminal(own, tmp_path, "chat", "--no-rag")
    terminal.read(until="> ")
    terminal.write("Talk!\n")
    terminal.read(until="word word")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read(until="> ")
    terminal.write("/quit\n")
    terminal.read()
    assert terminal.process.wait(WAIT_SECONDS) == 0
    (session,) = lines(run("sessions", "--json", env=own))
    question, answer = lines(run("sessions", "show", session["id"], "--json", env=own))
    assert question["content"] == "Talk!"
    assert (answer["status"], answer["finish_reason"]) == ("interrupted", "cancelled")
    assert answer["content"].startswith("word word")


class Terminal:
    """A command with its own pseudo-terminal for both output streams."""

    def __init__(self, environment: Mapping[str, str], directory: Path, *arguments: str) -> None:
        self._main, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            cwd=directory,
            env=dict(environment) | {"TERM": "xterm-256color"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            # Ignored in a suite that a shell runs in the background, and inherited from it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(terminal)

    def write(self, text: str) -> None:
        os.write(self._main, text.encode())

    def interrupt_until_it_ends(self) -> None:
        """Press Ctrl-C, and again: CPython loses one between writing a prompt and reading."""
        for _ in range(WAIT_SECONDS // 10):
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
                return

    def read(self, *, until: str | None = None) -> str:
        """The output up to `until` or to its end."""
        shown = b""
        while until is None or until not in shown.decode(errors="replace"):
            try:
                data = os.read(self._main, 65536)
            except OSError:  # EIO: the command has closed the terminal
                data = b""
            if not data:
                assert until is None, shown
                break
            shown += data
        return shown.decode(errors="replace")
