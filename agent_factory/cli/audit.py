"""`agent-factory audit`: what happened, and that nobody touched what says so."""

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from agent_factory.cli.agents import Limit
from agent_factory.cli.output import Format, FormatOption, show
from agent_factory.cli.problems import ERROR

app = typer.Typer(no_args_is_help=True, help="Look into the audit trail, take it along, and verify it.")
_COLUMNS = ("occurred_at", "action", "outcome", "user_id", "resource", "address", "request_id")
_FOUND = ("touched", "sequence", "event_id", "checkpoint", "detail")
Action = Annotated[str | None, typer.Option(help="Only this action, such as agents_create.")]
Actor = Annotated[str | None, typer.Option(help="Only this person or key, by id.")]
Resource = Annotated[str | None, typer.Option(help="Only what was done to this, by id.")]
Since = Annotated[str | None, typer.Option(help="From this moment on, such as 2026-11-21T00:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Before this moment.")]


@app.command("list")
def list_events(
    ctx: typer.Context,
    *,
    limit: Limit = 20,
    action: Action = None,
    actor: Actor = None,
    resource: Resource = None,
    since: Since = None,
    until: Until = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List what happened in the organisation, newest first."""
    from agent_factory.cli import client

    wanted = {"limit": limit, "action": action, "actor": actor, "resource": resource, "since": since, "until": until}
    show(client.call(ctx, "GET", "/audit-events", params=wanted).data["data"], form, _COLUMNS)


@app.command()
def export(
    ctx: typer.Context,
    *,
    file: Annotated[Path | None, typer.Option("--file", help="Where to write it; the terminal, if absent.")] = None,
    action: Action = None,
    actor: Actor = None,
    resource: Resource = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write the organisation's events as JSON lines, oldest first."""
    from agent_factory.cli import client

    wanted = {"action": action, "actor": actor, "resource": resource, "since": since, "until": until}

    async def copy() -> None:
        async with client.connected(ctx) as server:
            with file.open("wb") if file else nullcontext(sys.stdout.buffer) as out:
                async for piece in server.pieces("/api/v1/audit-events:export", wanted):
                    out.write(piece)

    asyncio.run(copy())


@app.command()
def verify(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """Read the whole chain in the database itself, of all organisations; name every row that was touched.

    Needs the database and the key file, as the server has them; exits with 1 when a row was touched.
    """
    from agent_factory.cli.verification import verify_database

    done = asyncio.run(verify_database(ctx, _tell))
    if form is Format.TABLE:
        typer.echo(done.summary(), err=bool(done.findings))
        if done.findings:
            show(done.rows(), form, _FOUND)
    else:
        show(done.report(), form)
    if done.findings:
        raise typer.Exit(ERROR)


def _tell(events: int, head: int) -> None:
    typer.echo(f"{events} of {head} events read", err=True)
