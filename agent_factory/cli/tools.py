"""`agent-factory tool`: the tools that agents of a server can use."""

import typer

from agent_factory.cli.output import Format, FormatOption, show

app = typer.Typer(no_args_is_help=True, help="See the tools that agents can use.")


@app.command("list")
def list_tools(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List the tools."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/tools").data["data"], form, ("id", "description"))
