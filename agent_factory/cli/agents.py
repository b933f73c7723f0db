"""`agent-factory agent`: the agents of a server and their life."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from agent_factory.cli.output import Format, FormatOption, show, to_yaml

app = typer.Typer(no_args_is_help=True, help="Create, deploy and look after the agents of a server.")

_COLUMNS = ("id", "name", "status", "latest_version", "deployed_version", "updated_at")
Ref = Annotated[str, typer.Argument(metavar="AGENT", help="Id or name.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Blueprint or agent (YAML or JSON).")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="How many at most.")]


def find(ctx: typer.Context, ref: str) -> dict[str, Any]:
    """Fetch an agent by id or by name."""
    from agent_factory.cli import client

    async def once() -> dict[str, Any]:
        async with client.connected(ctx) as server:
            return await server.agent(ref)

    return asyncio.run(once())


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
    show(created, form, _COLUMNS)


@app.command("list")
def list_agents(
    ctx: typer.Context,
    limit: Limit = 20,
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List agents, newest first."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", "/agents", params={"limit": limit, "status": status})
    show(found.data["data"], form, _COLUMNS)


@app.command()
def get(ctx: typer.Context, agent: Ref, form: FormatOption = Format.YAML) -> None:
    """Show one agent with its definition."""
    show(find(ctx, agent), form)


@app.command()
def edit(
    ctx: typer.Context,
    agent: Ref,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="Take the definition from here.")
    ] = None,
    editor: Annotated[str, typer.Option(envvar=["VISUAL", "EDITOR"], help="Editor to open.")] = "vi",
) -> None:
    """Edit an agent's definition in your editor; a change makes a new version."""
    from agent_factory.cli import client, documents
    from agent_factory.cli.editor import edited
    from agent_factory.kit.errors import Problem

    path = f"/agents/{find(ctx, agent)['id']}"
    read = client.call(ctx, "GET", path)
    before: dict[str, Any] = read.data["definition"]
    text = "" if file else edited(to_yaml(before), before["name"], editor)
    if text is None:
        typer.echo("nothing changed", err=True)
        return
    try:
        after = documents.pick(documents.read(file), None) if file else documents.parse(text)
        reply = client.call(ctx, "PUT", path, json=after.to_dict(), headers={"if-match": read.headers["etag"]})
    except Problem:
        if file is None:
            kept = Path(f"{before['name']}.rejected.yaml")
            kept.write_text(text)
            typer.echo(f"not saved; your text is kept in {kept}", err=True)
        raise
    show(reply.data, Format.TABLE, _COLUMNS)


@app.command()
def versions(ctx: typer.Context, agent: Ref, form: FormatOption = Format.TABLE) -> None:
    """List an agent's versions, newest first."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", f"/agents/{find(ctx, agent)['id']}/versions", params={"limit": 100})
    show(found.data["data"], form, ("number", "digest", "created_at"))


@app.command()
def validate(ctx: typer.Context, file: File) -> None:
    """Check a file against the server without creating anything."""
    from agent_factory.cli import client, documents

    for definition in documents.in_order(documents.read(file), None):
        client.call(ctx, "POST", "/agents:validate", json=definition.to_dict())
        typer.echo(f"{definition.name}: valid")


@app.command()
def deploy(
    ctx: typer.Context,
    agent: Ref,
    version: Annotated[int | None, typer.Option(min=1, help="Which version. (default: the newest)")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Put a version into service; runs in flight keep theirs."""
    _act(ctx, agent, "deploy", form, {"version": version} if version else {})


@app.command()
def pause(ctx: typer.Context, agent: Ref, form: FormatOption = Format.TABLE) -> None:
    """Take an agent out of service for a while."""
    _act(ctx, agent, "pause", form, {})


@app.command()
def rollback(
    ctx: typer.Context,
    agent: Ref,
    version: Annotated[int | None, typer.Option(min=1, help="Which version. (default: the one before)")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Put an earlier version back into service."""
    _act(ctx, agent, "rollback", form, {"version": version} if version else {})


@app.command()
def archive(ctx: typer.Context, agent: Ref) -> None:
    """Put an agent away for good; its conversations stay readable."""
    from agent_factory.cli import client

    found = find(ctx, agent)
    client.call(ctx, "DELETE", f"/agents/{found['id']}")
    typer.echo(f"{found['name']} is archived")


def _act(ctx: typer.Context, ref: str, verb: str, form: Format, body: dict[str, Any]) -> None:
    from agent_factory.cli import client

    reply = client.call(ctx, "POST", f"/agents/{find(ctx, ref)['id']}:{verb}", json=body)
    show(reply.data, form, _COLUMNS)
