"""`agent-factory audit`: what happened, and that nobody touched what says so."""

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from agent_factory.cli.output import Format, FormatOption, Limit, show
from agent_factory.cli.problems import ERROR

app = typer.Typer(no_args_is_help=True, help="Look into the audit trail, take it along, verify it, and rotate its key.")
_COLUMNS = ("occurred_at", "action", "outcome", "user_id", "resource", "address", "request_id")
_KEYS = ("id", "public_key", "first_checkpoint", "last_checkpoint", "signs_now")
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="AF_DATABASE__URL", show_envvar=True, help="PostgreSQL to use. (default: that of the running `up`)"
    ),
]
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
    proofs: Annotated[
        bool, typer.Option("--proofs", help="With what proves each event, for `audit verify --file`.")
    ] = False,
) -> None:
    """Write the organisation's events as JSON lines, oldest first."""
    from agent_factory.cli import client

    wanted = {"action": action, "actor": actor, "resource": resource, "since": since, "until": until}
    wanted["proofs"] = "true" if proofs else None

    async def copy() -> None:
        async with client.connected(ctx) as server:
            with file.open("wb") if file else nullcontext(sys.stdout.buffer) as out:
                async for piece in server.pieces("/api/v1/audit-events:export", wanted):
                    out.write(piece)

    asyncio.run(copy())


@app.command()
def keys(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List the public keys that the trail is signed with, and which checkpoints each has signed."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/audit-keys").data["data"], form, _KEYS)


@app.command("rotate-key")
def rotate_key(ctx: typer.Context, database_url: DatabaseUrl = None) -> None:
    """Sign the trail by a new key from here on, while everything runs; for its operator.

    What was signed stays good, and the last that the old key signs names the new one.
    """
    from agent_factory.cli.verification import rotate

    typer.echo(f"the next key is {asyncio.run(rotate(ctx, database_url))}; what older ones have signed stays good")


@app.command()
def verify(
    ctx: typer.Context,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", help="An export with proofs, to be checked instead of the database.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="The public keys that count for it: `audit keys -o json`.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Read the whole chain in the database itself, of all organisations; name every row that was touched.

    Needs the database and the key file, as the server has them; with --file,
    nothing but that file and --keys. Exits with 1 when a row was touched.
    """
    from agent_factory.cli.verification import verify_database, verify_file

    if (file is None) != (keys is None):
        raise typer.BadParameter("--file and --keys go together.")
    done = verify_file(file, keys) if file and keys else asyncio.run(verify_database(ctx, _tell))
    if form is Format.TABLE:
        typer.echo(done.summary(), err=bool(done.findings))
        if done.findings:
            show(done.rows(), form, ())
    else:
        show(done.report(), form)
    if done.findings:
        raise typer.Exit(ERROR)


def _tell(events: int, head: int) -> None:
    typer.echo(f"{events} of {head} events read", err=True)
