"""`ragchat upload`: uploads PDFs and folders of PDFs, with a progress bar for each."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cli.api_client import ApiClient, Json
from cli.errors import FAILED, ApiError
from cli.output import Output, clean, shorten
from cli.run import Run, with_run

# The default limit is 60 requests per minute, and other clients may share the key.
_POLL_SECONDS = 2.0
_MAX_DOCUMENTS = 5000
_FINAL = frozenset({"ready", "failed", "cancelled"})
# Percent of a bar for sending; ingestion is the rest.
_SENDING_PERCENT = 10


@dataclass
class _Upload:
    """The state of one file's upload. `document` is None until the service accepts the file."""

    path: Path
    bar: TaskID
    document: Json | None = None
    error: ApiError | None = None

    @property
    def is_pending(self) -> bool:
        return self.document is not None and self.document["status"] not in _FINAL

    @property
    def has_failed(self) -> bool:
        if self.document is None:
            return True
        return self.document["status"] in ("failed", "cancelled")


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH…"
)
@click.option("--shared", is_flag=True, help="Share with all users of the key's tenant.")
@click.option("--session", "session_id", metavar="ID", help="Attach to this conversation.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the ingestion.")
@with_run
def upload(
    run: Run, paths: Sequence[Path], *, shared: bool, session_id: str | None, no_wait: bool
) -> None:
    """Upload PDFs, and folders with all PDFs below them.

    Waits until all are searchable. The exit code is 1 if one of them failed. With --json, print
    one object per file.
    """
    files = list(_pdfs(paths))
    if not files:
        raise click.ClickException("There is no PDF in these folders.")
    with _progress(run.out) as progress:
        uploads = [
            _Upload(path, progress.add_task(shorten(clean(path.name), to=40), total=100, stage=""))
            for path in files
        ]
        owner = None if shared or session_id else run.user
        watch = _Watch(run.api, progress, uploads)
        for one in uploads:
            _send(run.api, one, progress, user_id=owner, session_id=session_id)
            watch.poll_if_due()
        if not no_wait:
            watch.until_done()
    _report(run.out, uploads)
    if any(one.has_failed for one in uploads):
        raise click.exceptions.Exit(_exit_code(uploads))


def _pdfs(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the given files, whatever their names, and the PDFs below the folders."""
    seen: set[Path] = set()
    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in below:
            if file.is_dir() or (path.is_dir() and file.suffix.lower() != ".pdf"):
                continue
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _progress(out: Output) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[stage]}", style="dim"),
        console=out.notes,
        disable=out.as_json or not out.notes.is_terminal,
    )


def _send(
    api: ApiClient, one: _Upload, progress: Progress, *, user_id: str | None, session_id: str | None
) -> None:
    size = max(1, one.path.stat().st_size)
    progress.update(one.bar, stage="sending")
    try:
        accepted = api.upload(
            one.path,
            user_id=user_id,
            session_id=session_id,
            on_bytes=lambda read: progress.update(
                one.bar, completed=_SENDING_PERCENT * read / size
            ),
        )
    except ApiError as error:
        if error.status is None or error.status in (401, 403):
            raise  # the next file would fail too
        one.error = error
        progress.update(one.bar, stage=f"refused: {error.code}")
        return
    one.document = accepted["document"] | {"job": accepted["job"]}
    if accepted.get("duplicate"):
        one.document["duplicate"] = True
    _draw(one, progress)


def _draw(one: _Upload, progress: Progress) -> None:
    document = one.document
    if document is None:
        return
    told = document["job"]["progress"] if document.get("job") else {}
    status, done = document["status"], told.get("percent") or 0
    if status == "ready":
        progress.update(one.bar, completed=100, stage=f"{document['page_count']} pages")
        return
    stage = _failure(document) or _stage(status, told)
    progress.update(
        one.bar, completed=_SENDING_PERCENT + done * (100 - _SENDING_PERCENT) / 100, stage=stage
    )


def _stage(status: str, told: Json) -> str:
    if status == "queued" or not told.get("pages_total"):
        return status
    left = told.get("eta_seconds")
    pages = f"page {told['pages_done']} of {told['pages_total']}"
    return pages if left is None else f"{pages}, {left} s left"


def _failure(document: Json) -> str | None:
    error = (document.get("job") or {}).get("error")
    if document["status"] == "failed":
        return f"failed: {error['code']}" if error else "failed"
    return "cancelled" if document["status"] == "cancelled" else None


class _Watch:
    """Follows the accepted documents; one call returns up to a hundred of them."""

    def __init__(self, api: ApiClient, progress: Progress, uploads: list[_Upload]) -> None:
        self._api, self._progress, self._uploads = api, progress, uploads
        self._next_look = time.monotonic() + _POLL_SECONDS

    def poll_if_due(self) -> None:
        if time.monotonic() >= self._next_look:
            self._poll()

    def until_done(self) -> None:
        while any(one.is_pending for one in self._uploads):
            time.sleep(max(0.0, self._next_look - time.monotonic()))
            self._poll()

    def _poll(self) -> None:
        pending = {
            one.document["id"]: one for one in self._uploads if one.document and one.is_pending
        }
        pages = 1 + len(pending) // 100
        for document in self._api.list_documents(limit=_MAX_DOCUMENTS):
            one = pending.pop(document["id"], None)
            if one is not None and one.document is not None:
                one.document |= document
                _draw(one, self._progress)
            if not pending:
                break
        for one in pending.values():  # these were deleted
            if one.document is not None:
                one.document["status"] = "cancelled"
        self._next_look = time.monotonic() + _POLL_SECONDS * pages


def _report(out: Output, uploads: list[_Upload]) -> None:
    for one in uploads:
        if out.as_json:
            out.json(
                {"path": str(one.path)}
                | (one.error.as_dict() if one.error else {"document": one.document})
            )
        else:
            out.text(f"{_outcome(one)}  {one.path}")


def _outcome(one: _Upload) -> str:
    if one.document is None:
        return f"refused: {one.error}"
    told = _failure(one.document) or one.document["status"]
    duplicate = ", already there" if one.document.get("duplicate") else ""
    return f"{one.document['id']}  {told}{duplicate}"


def _exit_code(uploads: list[_Upload]) -> int:
    """Return the exit code of the first failure."""
    return next((one.error.exit_code for one in uploads if one.error), FAILED)
