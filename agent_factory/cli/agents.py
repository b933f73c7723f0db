"""`agent-factory agent`: the agents of a server and their life."""

from pathlib import Path
from typing import Annotated, Any

import typer

from agent_factory.cli.definitions import COLUMNS, add_commands
from agent_factory.cli.output import Format, FormatOption, show

app = typer.Typer(no_args_is_help=True, help="Create, deploy and look after the agents of a server.")

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Blueprint or agent (YAML or JSON).")]


@app.command()
def create(
    ctx: typer.Context,
    file: File,
    agent: Annotated[str | None, typer.Option("--agent", help="Only this agent of the file.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Create the agents of a file as drafts."""
    from agent_factory.cli import client, documents

    created = [
        client.call(ctx, "POST", "/agents", json=definition.to_dict()).data
        for definition in documents.in_order(documents.read(file), agent)
    ]
    show(created, form, COLUMNS)


@app.command()
def validate(ctx: typer.Context, file: File) -> None:
    """Check a file against the server without creating anything."""
    from agent_factory.cli import client, documents

    for definition in documents.in_order(documents.read(file), None):
        client.call(ctx, "POST", "/agents:validate", json=definition.to_dict())
        typer.echo(f"{definition.name}: valid")


def _read(file: Path) -> dict[str, Any]:
    from agent_factory.cli import documents

    return documents.pick(documents.read(file), None).to_dict()


def _parse(text: str) -> dict[str, Any]:
    from agent_factory.cli import documents

    return documents.parse(text).to_dict()


add_commands(app, "agent", read=_read, parse=_parse)
