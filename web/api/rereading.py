"""`flask --app web.app documents`: the operator's commands for the documents of all tenants."""

import click
from flask.cli import AppGroup

from core.documents import rereading
from web.http.commands import command_services, errors_as_messages

cli = AppGroup("documents", help="Manage the documents of all tenants.")


@cli.command("reread")
@click.option("--dry-run", is_flag=True, help="Only list the documents.")
@click.option("--tenant", help="Only this tenant's documents; default: all.")
@click.option(
    "--scans",
    is_flag=True,
    help="Also documents with scanned or unreadable pages that were read without OCR.",
)
def reread_command(dry_run: bool, tenant: str | None, scans: bool) -> None:
    """Ingest again the documents that an older version of the reader ingested.

    Searches use their old chunks until the new ones are complete.
    """
    count = 0
    with errors_as_messages():
        services = command_services()
        for outdated in rereading.list_outdated(services, tenant_id=tenant, scans=scans):
            if dry_run or rereading.reread(services, outdated):
                count += 1
                click.echo(
                    f"{outdated.document_id}  tenant={outdated.tenant_id}"
                    f"  reason={outdated.reason}  pages={outdated.page_count or 0}"
                    f"  {click.unstyle(outdated.filename)!r}"
                )
    click.echo(f"{count} documents {'would be' if dry_run else 'are'} read again")
