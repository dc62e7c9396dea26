"""`ragchat ask` and `ragchat chat`: print answers while they are written, and their sources."""

import sys
from contextlib import closing, suppress
from typing import Any

import click

from cli.api_client import Json
from cli.errors import ApiError
from cli.output import clean, shorten
from cli.run import Run, with_run

_QUOTE_CHARACTERS = 200
_HELP = "/new starts another conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer."


def _chat_options(command: Any) -> Any:
    for option in (
        click.option("--session", "session_id", metavar="ID", help="Continue this conversation."),
        click.option(
            "--document",
            "document_ids",
            metavar="ID",
            multiple=True,
            help="Search only this document; may be repeated.",
        ),
        click.option("--no-rag", is_flag=True, help="Answer without searching documents."),
        click.option(
            "--memory",
            type=click.Choice(["none", "session", "user"]),
            help="What to remember: nothing, this conversation, or all conversations of the user.",
        ),
    ):
        command = option(command)
    return command


def _options(*, document_ids: tuple[str, ...], no_rag: bool, memory: str | None) -> Json:
    options: Json = {}
    if document_ids:
        options["document_ids"] = list(document_ids)
    if no_rag:
        options["use_rag"] = False
    if memory:
        options["memory"] = memory
    return options


@click.command()
@click.argument("question")
@_chat_options
@with_run
def ask(run: Run, question: str, session_id: str | None, **options: Any) -> None:
    """Ask one question; - reads it from standard input.

    Prints the answer as it is written, then its sources. With --json: one object with
    `user_message` and `assistant_message`.
    """
    if question == "-":
        question = sys.stdin.read().strip()
    session_id = session_id or run.api.create_session(user_id=run.user)["id"]
    answer = _take_turn(run, session_id, question, _options(**options))
    if run.out.as_json:
        run.out.json(answer)


@click.command()
@_chat_options
@with_run
def chat(run: Run, session_id: str | None, **options: Any) -> None:
    """Chat until Ctrl-D.

    A question is a line. With --json each turn is one object, as with `ask`.
    """
    interactive = sys.stdin.isatty()
    if interactive:
        run.out.note(_HELP)
    while (question := _read_question(interactive=interactive)) not in (None, "/quit"):
        if question == "/new":
            session_id = None
            run.out.note("A new conversation.")
        elif question:
            session_id = session_id or run.api.create_session(user_id=run.user)["id"]
            _take_chat_turn(run, session_id, question, _options(**options), interactive=interactive)


def _read_question(*, interactive: bool) -> str | None:
    if not interactive:
        line = sys.stdin.readline()
        return line.strip() if line else None
    try:
        return input("> ").strip()
    except EOFError:
        click.echo(err=True)
        return None


def _take_chat_turn(
    run: Run, session_id: str, question: str, options: Json, *, interactive: bool
) -> None:
    """Take one turn. At a terminal, an error or Ctrl-C ends only the turn."""
    try:
        answer = _take_turn(run, session_id, question, options)
    except KeyboardInterrupt:
        if not interactive:
            raise
        run.out.note("\nStopped.")
        return
    except ApiError as error:
        if not interactive:
            raise
        run.out.error(error)
        return
    if run.out.as_json:
        run.out.json(answer)


def _take_turn(run: Run, session_id: str, question: str, options: Json) -> Json:
    """Ask, print the answer as it arrives, and return both messages. Ctrl-C stops the answer."""
    answer: Json = {}
    shown = False
    try:
        with closing(run.api.chat(session_id, message=question, **options)) as events:  # type: ignore[type-var]
            for name, data in events:
                if name == "message_created" and shown:
                    run.out.note("\nThe answer begins again:")
                if name == "delta" and not run.out.as_json:
                    run.out.text(data["content"], end="")
                    shown = True
                elif name in ("message_created", "message_completed"):
                    answer |= data
    except KeyboardInterrupt:
        with suppress(ApiError):
            run.api.cancel_answer(session_id)
        raise
    finally:
        if shown:
            run.out.text("")
    if not run.out.as_json:
        _print_sources(run, answer["assistant_message"])
    return answer


def _print_sources(run: Run, message: Json) -> None:
    passages = message.get("retrieved_context") or []
    cited = [passage for passage in passages if f"[{passage.get('index')}]" in message["content"]]
    if cited:
        run.out.text("")
    for passage in cited:
        run.out.text(f"[{passage['index']}] {_location(passage)}", style="bold")
        quote = passage.get("quote") or passage["text"]
        run.out.text(f"    «{shorten(clean(quote), to=_QUOTE_CHARACTERS)}»", style="dim")


def _location(passage: Json) -> str:
    """Return file and page, with the page's printed number if it differs."""
    name, first, last = passage.get("filename"), passage.get("page_start"), passage.get("page_end")
    if first is None:
        return str(name or "source")
    pages = f"p. {first}" if last in (None, first) else f"pp. {first}-{last}"
    label = passage.get("page_label")
    printed = f" (printed {label})" if label and label != str(first) else ""
    return f"{name or 'source'}, {pages}{printed}"
