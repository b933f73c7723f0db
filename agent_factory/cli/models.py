"""`agent-factory model`: the models that agents of a server can use."""

import typer

from agent_factory.cli.output import Format, FormatOption, show

app = typer.Typer(no_args_is_help=True, help="See the models that agents can use.")


@app.command("list")
def list_models(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List the models of every configured provider."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/models").data["data"], form, ("id", "provider", "context_window"))
