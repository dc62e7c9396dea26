"""`ragchat sessions`, `documents`, `jobs` and `export`: list, show, export and delete."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.live import Live

from cli.api_client import Json
from cli.errors import FAILED
from cli.output import format_time, make_table, shorten
from cli.run import Run, with_run

_POLL_SECONDS = 2.0
_TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
_limit_option = click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 100_000), help="At most."
)

_SESSION_COLUMNS = (
    ("ID", lambda item: item["id"]),
    ("LAST ACTIVE", lambda item: format_time(item["last_message_at"] or item["created_at"])),
    ("MESSAGES", lambda item: item["message_count"]),
    ("", lambda item: "★" if item["is_favorite"] else ""),
    ("TITLE", lambda item: shorten(item["title"])),
)
_DOCUMENT_COLUMNS = (
    ("ID", lambda item: item["id"]),
    ("STATUS", lambda item: _document_status(item)),
    ("PAGES", lambda item: "" if item["page_count"] is None else item["page_count"]),
    ("FILE", lambda item: shorten(item["filename"])),
)
_JOB_COLUMNS = (
    ("ID", lambda item: item["id"]),
    ("TYPE", lambda item: item["type"]),
    ("STATE", lambda item: _job_state(item)),
    ("PAGES", lambda item: _pages(item["progress"])),
    ("CREATED", lambda item: format_time(item["created_at"])),
)


def _document_status(document: Json) -> str:
    error = (document.get("job") or {}).get("error")
    if document["status"] == "failed" and error:
        return f"failed: {error['code']}"
    return str(document["status"])


def _job_state(job: Json) -> str:
    if job["error"]:
        return f"{job['state']}: {job['error']['code']}"
    return f"running, {job['progress']['percent']} %" if job["state"] == "running" else job["state"]


def _pages(progress: Json) -> str:
    total = progress["pages_total"]
    return "" if total is None else f"{progress['pages_done']}/{total}"


@click.group(invoke_without_command=True)
@click.option("--search", metavar="TEXT", help="Only titles that contain this.")
@click.option("--favorites", is_flag=True, help="Only favourites.")
@_limit_option
@with_run
def sessions(run: Run, *, search: str | None, favorites: bool, limit: int) -> None:
    """List the user's conversations, or show or delete one."""
    if click.get_current_context().invoked_subcommand is None:
        favorite = "true" if favorites else None
        found = run.api.list_sessions(user_id=run.user, q=search, is_favorite=favorite, limit=limit)
        run.out.rows(found, _SESSION_COLUMNS)


@sessions.command("show")
@click.argument("session_id")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="At most.")
@with_run
def show_session(run: Run, session_id: str, limit: int) -> None:
    """Print a conversation's messages."""
    for message in run.api.list_messages(session_id, limit=limit):
        if run.out.as_json:
            run.out.json(message)
        else:
            run.out.text(f"{message['sender']}, {format_time(message['created_at'])}", style="bold")
            run.out.text(f"{message['content']}\n")


@sessions.command("delete")
@click.argument("session_ids", nargs=-1, required=True, metavar="ID…")
@with_run
def delete_sessions(run: Run, session_ids: Sequence[str]) -> None:
    """Delete conversations with their messages and attached documents."""
    for session_id in session_ids:
        run.api.delete_session(session_id)
        _report_deleted(run, session_id)


def _report_deleted(run: Run, id_: str) -> None:
    if run.out.as_json:
        run.out.json({"deleted": id_})
    else:
        run.out.text(f"deleted {id_}")


@click.group(invoke_without_command=True)
@click.option(
    "--status",
    type=click.Choice(["queued", "processing", "ready", "failed", "cancelled"]),
    help="Those in this state.",
)
@click.option("--all-users", is_flag=True, help="Documents of all users.")
@_limit_option
@with_run
def documents(run: Run, *, status: str | None, all_users: bool, limit: int) -> None:
    """List the user's documents, newest first, or download, retry or delete some."""
    if click.get_current_context().invoked_subcommand is None:
        owner = None if all_users else run.user
        found = run.api.list_documents(user_id=owner, status=status, limit=limit)
        run.out.rows(found, _DOCUMENT_COLUMNS)


@documents.command("download")
@click.argument("document_id")
@click.option("--output", "-o", required=True, type=click.File("wb"), help="A file; - for stdout.")
@with_run
def download_document(run: Run, document_id: str, output: Any) -> None:
    """Save a document's PDF."""
    run.api.download_document(document_id, output)


@documents.command("retry")
@click.argument("document_ids", nargs=-1, required=True, metavar="ID…")
@with_run
def retry_documents(run: Run, document_ids: Sequence[str]) -> None:
    """Ingest documents again; follow them with `ragchat jobs --watch`."""
    for document_id in document_ids:
        accepted = run.api.reingest_document(document_id)
        if run.out.as_json:
            run.out.json(accepted)
        else:
            run.out.text(f"queued {document_id}, job {accepted['job']['id']}")


@documents.command("delete")
@click.argument("document_ids", nargs=-1, required=True, metavar="ID…")
@with_run
def delete_documents(run: Run, document_ids: Sequence[str]) -> None:
    """Delete documents with their files and chunks."""
    for document_id in document_ids:
        run.api.delete_document(document_id)
        _report_deleted(run, document_id)


@click.command()
@click.option(
    "--state",
    type=click.Choice(["queued", "running", "succeeded", "failed", "cancelled"]),
    help="Those in this state.",
)
@click.option(
    "--watch", is_flag=True, help="Wait until all listed jobs end; exit code 1 if one failed."
)
@_limit_option
@with_run
def jobs(run: Run, *, state: str | None, watch: bool, limit: int) -> None:
    """List background jobs, newest first, and follow them.

    With --watch --json, print one object each time a job changes.
    """
    found = list(run.api.list_jobs(state=state, limit=limit))
    if not watch:
        run.out.rows(found, _JOB_COLUMNS)
        return
    ended = _watch(run, found, limit=limit)
    if any(job["state"] == "failed" for job in ended):
        raise click.exceptions.Exit(FAILED)


def _watch(run: Run, found: list[Json], *, limit: int) -> list[Json]:
    """Show the jobs of `found` until all have ended, and return them."""
    watched = {job["id"]: job for job in found}
    reported: dict[str, Json] = {}
    with Live(console=run.out.console, auto_refresh=False, transient=False) as live:
        while True:
            if run.out.as_json:
                _report_changes(run, watched, reported)
            else:
                live.update(make_table(watched.values(), _JOB_COLUMNS), refresh=True)
            if all(job["state"] in _TERMINAL for job in watched.values()):
                return list(watched.values())
            time.sleep(_POLL_SECONDS)
            _refresh(run, watched, limit=limit)


def _report_changes(run: Run, watched: dict[str, Json], reported: dict[str, Json]) -> None:
    for id_, job in watched.items():
        if reported.get(id_) != job:
            run.out.json(job)
            reported[id_] = job


def _refresh(run: Run, watched: dict[str, Json], *, limit: int) -> None:
    """Read the watched jobs again. A job that is no longer among the newest `limit` stays."""
    pending = {id_ for id_, job in watched.items() if job["state"] not in _TERMINAL}
    for job in run.api.list_jobs(limit=10 * limit):
        if job["id"] in pending:
            watched[job["id"]] = job
            pending.discard(job["id"])
        if not pending:
            return
    for id_ in pending:  # its document was deleted
        watched[id_] = watched[id_] | {"state": "cancelled"}


@click.command()
@click.argument("session_id")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["markdown", "json"]),
    default="markdown",
    show_default=True,
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="A file.")
@with_run
def export(run: Run, session_id: str, *, format_: str, output: Path | None) -> None:
    """Print or save a whole conversation. --json is short for --format json."""
    text = run.api.export_session(session_id, format_="json" if run.out.as_json else format_)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=not text.endswith("\n"))
