"""Commands over what a server keeps in versions, agents and workflows alike: look at it, change it, lead its life."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from agent_factory.cli.output import Format, FormatOption, Limit, show, to_yaml

COLUMNS = ("id", "name", "status", "latest_version", "deployed_version", "updated_at")


def find(ctx: typer.Context, noun: str, ref: str) -> dict[str, Any]:
    """Fetch an agent or a workflow by id or by name; raises `NotFound`."""
    from agent_factory.cli import client

    async def once() -> dict[str, Any]:
        async with client.connected(ctx) as server:
            return await server.find(noun, ref)

    return asyncio.run(once())


def add_commands(
    app: typer.Typer, noun: str, *, read: Callable[[Path], dict[str, Any]], parse: Callable[[str], dict[str, Any]]
) -> None:
    """Give a noun the commands of its kind; `read` and `parse` check a definition in a file or a text."""
    named = typer.Argument(metavar=noun.upper(), help="Id or name.")

    def act(ctx: typer.Context, ref: str, verb: str, version: int | None = None) -> dict[str, Any]:
        from agent_factory.cli import client

        body = {"version": version} if version else {}
        return client.call(ctx, "POST", f"/{noun}s/{find(ctx, noun, ref)['id']}:{verb}", json=body).data

    @app.command("list", help=f"List {noun}s, newest first.")
    def list_(
        ctx: typer.Context,
        limit: Limit = 20,
        status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
        form: FormatOption = Format.TABLE,
    ) -> None:
        from agent_factory.cli import client

        found = client.call(ctx, "GET", f"/{noun}s", params={"limit": limit, "status": status})
        show(found.data["data"], form, COLUMNS)

    @app.command(help=f"Show one {noun} with its definition.")
    def get(ctx: typer.Context, ref: Annotated[str, named], form: FormatOption = Format.YAML) -> None:
        show(find(ctx, noun, ref), form)

    @app.command(help="Edit the definition in your editor; a change makes a new version.")
    def edit(
        ctx: typer.Context,
        ref: Annotated[str, named],
        file: Annotated[
            Path | None, typer.Option("--file", exists=True, dir_okay=False, help="Take the definition from here.")
        ] = None,
        editor: Annotated[str, typer.Option(envvar=["VISUAL", "EDITOR"], help="Editor to open.")] = "vi",
    ) -> None:
        _edit(ctx, f"/{noun}s/{find(ctx, noun, ref)['id']}", editor, parse, file and read(file))

    @app.command(help="List the versions, newest first.")
    def versions(ctx: typer.Context, ref: Annotated[str, named], form: FormatOption = Format.TABLE) -> None:
        from agent_factory.cli import client

        found = client.call(ctx, "GET", f"/{noun}s/{find(ctx, noun, ref)['id']}/versions", params={"limit": 100})
        show(found.data["data"], form, ("number", "digest", "created_at"))

    @app.command(help="Put a version into service; runs in flight keep theirs.")
    def deploy(
        ctx: typer.Context,
        ref: Annotated[str, named],
        version: Annotated[int | None, typer.Option(min=1, help="Which version. (default: the newest)")] = None,
        form: FormatOption = Format.TABLE,
    ) -> None:
        show(act(ctx, ref, "deploy", version), form, COLUMNS)

    @app.command(help=f"Take the {noun} out of service for a while; runs in flight go on.")
    def pause(ctx: typer.Context, ref: Annotated[str, named], form: FormatOption = Format.TABLE) -> None:
        show(act(ctx, ref, "pause"), form, COLUMNS)

    @app.command(help="Put an earlier version back into service.")
    def rollback(
        ctx: typer.Context,
        ref: Annotated[str, named],
        version: Annotated[int | None, typer.Option(min=1, help="Which version. (default: the one before)")] = None,
        form: FormatOption = Format.TABLE,
    ) -> None:
        show(act(ctx, ref, "rollback", version), form, COLUMNS)

    @app.command(help=f"Put the {noun} away for good; its runs stay readable.")
    def archive(ctx: typer.Context, ref: Annotated[str, named]) -> None:
        from agent_factory.cli import client

        found = find(ctx, noun, ref)
        client.call(ctx, "DELETE", f"/{noun}s/{found['id']}")
        typer.echo(f"{found['name']} is archived")


def _edit(
    ctx: typer.Context,
    path: str,
    editor: str,
    parse: Callable[[str], dict[str, Any]],
    given: dict[str, Any] | None,
) -> None:
    """Make a definition the newest version: the one that is given, or what a person makes of the one before."""
    from agent_factory.cli import client
    from agent_factory.cli.editor import edited
    from agent_factory.kit.errors import Problem

    before = client.call(ctx, "GET", path)
    text = None if given is not None else edited(to_yaml(before.data["definition"]), before.data["id"], editor)
    if given is None and text is None:
        typer.echo("nothing changed", err=True)
        return
    try:
        after = given if text is None else parse(text)
        reply = client.call(ctx, "PUT", path, json=after, headers={"if-match": before.headers["etag"]})
    except Problem:
        if text is not None:
            kept = Path(f"{before.data['id']}.rejected.yaml")
            kept.write_text(text)
            typer.echo(f"not saved; your text is kept in {kept}", err=True)
        raise
    show(reply.data, Format.TABLE, COLUMNS)
