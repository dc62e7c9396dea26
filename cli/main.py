"""The command `ragchat`: its options, its commands, and its exit codes."""

import getpass
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import click
from dotenv import find_dotenv, load_dotenv

from cli import chatting, listing, uploading
from cli.errors import INTERRUPTED
from cli.run import Run

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _version() -> str:
    try:
        return version("rag-chat-service")
    except PackageNotFoundError:  # the command runs from a checkout
        return "development"


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "user"


@click.group(context_settings=_HELP)
@click.option(
    "--url",
    envvar=["RAGCHAT_URL", "API_URL"],
    help="The service's URL (RAGCHAT_URL, API_URL). Default: PORT on this machine.",
)
@click.option("--port", envvar="PORT", default=8000, hidden=True)
@click.option(
    "--api-key",
    envvar=["RAGCHAT_API_KEY", "API_KEY"],
    help="The key (RAGCHAT_API_KEY, API_KEY). Prefer the variable: others can see options.",
)
@click.option(
    "--user",
    envvar="RAGCHAT_USER",
    default=_login_name,
    help="The user id to act as (RAGCHAT_USER). Default: the login name.",
)
@click.version_option(_version(), prog_name="ragchat")
@click.pass_context
def ragchat(
    context: click.Context, *, url: str | None, port: int, api_key: str | None, user: str
) -> None:
    """Upload PDFs, ask questions about them, and manage conversations.

    Settings come from options, from the environment, or from a file .env in this directory or
    a parent directory.
    """
    if not api_key:
        raise click.UsageError("No API key: set RAGCHAT_API_KEY or API_KEY, here or in .env.")
    run = Run(url=url or f"http://127.0.0.1:{port}", api_key=api_key, user=user)
    context.call_on_close(run.close)
    context.obj = run


for command in (
    uploading.upload,
    chatting.ask,
    chatting.chat,
    listing.sessions,
    listing.documents,
    listing.jobs,
    listing.export,
):
    ragchat.add_command(command)


def main() -> NoReturn:
    """Run the command line and exit. docs/cli.md lists the exit codes."""
    load_dotenv(find_dotenv(usecwd=True))
    try:
        sys.exit(ragchat.main(prog_name="ragchat", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `ragchat sessions | head`
        sys.stdout = None  # Python would flush it at exit
        sys.exit(INTERRUPTED)
