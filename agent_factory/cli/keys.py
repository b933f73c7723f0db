"""`agent-factory key`: API keys of a server."""

from typing import Annotated

import typer

from agent_factory.cli.output import Format, FormatOption, show

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")
_COLUMNS = ("id", "name", "kind", "prefix", "scopes", "created_at", "last_used_at", "revoked_at")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="RIGHT", help="What it may do, such as agent:run; repeat it. (default: all that you may)"),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it stops working, such as 2027-01-31T00:00:00Z.")
    ] = None,
    service: Annotated[
        bool, typer.Option("--service", help="For a program that outlives your membership; needs --scope.")
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Create a key. It is shown this once and cannot be read again."""
    from agent_factory.cli import client

    wanted = {"name": name, "kind": "service" if service else "personal", "scopes": scope, "expires_at": expires}
    made = client.call(ctx, "POST", "/api-keys", json={k: v for k, v in wanted.items() if v}).data
    show(made, form, ("id", "name", "key") if form is Format.TABLE else ())


@app.command("show")
def show_key(ctx: typer.Context) -> None:
    """Print the key that commands here use, for another program."""
    from agent_factory.cli import client

    typer.echo(client.key_of(ctx).api_key)


@app.command("list")
def list_keys(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List keys, newest first, without their secrets."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/api-keys", params={"limit": 100}).data["data"], form, _COLUMNS)


@app.command()
def revoke(ctx: typer.Context, key: Annotated[str, typer.Argument(metavar="KEY", help="Id of the key.")]) -> None:
    """Revoke a key; it is refused from then on."""
    from agent_factory.cli import client

    client.call(ctx, "DELETE", f"/api-keys/{key}")
    typer.echo(f"{key} is revoked")
