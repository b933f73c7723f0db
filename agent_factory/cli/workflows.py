"""`agent-factory workflow`: from files, and the workflows of a server and their life."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from agent_factory.cli import workflow_run
from agent_factory.cli.agents import Limit
from agent_factory.cli.following import COLUMNS as RUN_COLUMNS
from agent_factory.cli.following import WaitOption, finish, post
from agent_factory.cli.output import Format, FormatOption, show, to_yaml
from agent_factory.cli.workflow_run import File, InputOption

app = typer.Typer(no_args_is_help=True, help="Run workflows from files; create, deploy and start those of a server.")
app.command("run")(workflow_run.run)
app.command("validate")(workflow_run.validate)

_COLUMNS = ("id", "name", "status", "latest_version", "deployed_version", "updated_at")
Ref = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Id or name.")]


def find(ctx: typer.Context, ref: str) -> dict[str, Any]:
    """Fetch a workflow by id or by name; raises `NotFound`."""
    from agent_factory.cli import client
    from agent_factory.kit.errors import NotFound

    async def once() -> dict[str, Any]:
        async with client.connected(ctx) as server:
            found = (await server.request("GET", "/api/v1/workflows", params={"name": ref})).data["data"]
            if not found and not ref.startswith("wf_"):
                raise NotFound(f"There is no workflow {ref!r}; see `agent-factory workflow list`.")
            identity = found[0]["id"] if found else ref
            return (await server.request("GET", f"/api/v1/workflows/{identity}")).data

    return asyncio.run(once())


@app.command()
def create(ctx: typer.Context, file: File, form: FormatOption = Format.TABLE) -> None:
    """Create the workflows of a file as drafts."""
    from agent_factory.cli import client, workflow_files

    found = workflow_files.definitions(file)
    show([client.call(ctx, "POST", "/workflows", json=each).data for each in found], form, _COLUMNS)


@app.command("list")
def list_workflows(
    ctx: typer.Context,
    limit: Limit = 20,
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List workflows, newest first."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", "/workflows", params={"limit": limit, "status": status})
    show(found.data["data"], form, _COLUMNS)


@app.command()
def get(ctx: typer.Context, workflow: Ref, form: FormatOption = Format.YAML) -> None:
    """Show one workflow with its definition."""
    show(find(ctx, workflow), form)


@app.command()
def edit(
    ctx: typer.Context,
    workflow: Ref,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="Take the definition from here.")
    ] = None,
    editor: Annotated[str, typer.Option(envvar=["VISUAL", "EDITOR"], help="Editor to open.")] = "vi",
) -> None:
    """Edit a workflow's definition in your editor; a change makes a new version."""
    from agent_factory.cli import client, workflow_files
    from agent_factory.cli.editor import edited
    from agent_factory.core.workflow import read_workflow
    from agent_factory.kit.errors import Problem

    path = f"/workflows/{find(ctx, workflow)['id']}"
    read = client.call(ctx, "GET", path)
    before: dict[str, Any] = read.data["definition"]
    text = "" if file else edited(to_yaml(before), "workflow", editor)
    if text is None:
        typer.echo("nothing changed", err=True)
        return
    try:
        after = workflow_files.read(file).flow.workflow if file else read_workflow(text)
        reply = client.call(ctx, "PUT", path, json=after.to_dict(), headers={"if-match": read.headers["etag"]})
    except Problem:
        if file is None:
            kept = Path(f"{read.data['id']}.rejected.yaml")
            kept.write_text(text)
            typer.echo(f"not saved; your text is kept in {kept}", err=True)
        raise
    show(reply.data, Format.TABLE, _COLUMNS)


@app.command()
def versions(ctx: typer.Context, workflow: Ref, form: FormatOption = Format.TABLE) -> None:
    """List a workflow's versions, newest first."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", f"/workflows/{find(ctx, workflow)['id']}/versions", params={"limit": 100})
    show(found.data["data"], form, ("number", "digest", "created_at"))


@app.command()
def deploy(
    ctx: typer.Context,
    workflow: Ref,
    version: Annotated[int | None, typer.Option(min=1, help="Which version. (default: the newest)")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Put a version into service; runs in flight keep theirs."""
    _act(ctx, workflow, "deploy", form, {"version": version} if version else {})


@app.command()
def pause(ctx: typer.Context, workflow: Ref, form: FormatOption = Format.TABLE) -> None:
    """Take a workflow out of service for a while; runs in flight go on."""
    _act(ctx, workflow, "pause", form, {})


@app.command()
def rollback(
    ctx: typer.Context,
    workflow: Ref,
    version: Annotated[int | None, typer.Option(min=1, help="Which version. (default: the one before)")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Put an earlier version back into service."""
    _act(ctx, workflow, "rollback", form, {"version": version} if version else {})


@app.command()
def archive(ctx: typer.Context, workflow: Ref) -> None:
    """Put a workflow away for good; its runs stay readable."""
    from agent_factory.cli import client

    found = find(ctx, workflow)
    client.call(ctx, "DELETE", f"/workflows/{found['id']}")
    typer.echo(f"{found['name']} is archived")


@app.command()
def start(
    ctx: typer.Context,
    workflow: Ref,
    *,
    given: InputOption = None,
    version: Annotated[int | None, typer.Option(min=1, help="Which version. (default: the deployed one)")] = None,
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="A higher one goes first.")] = 0,
    wait: WaitOption = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Start a run on the server; it goes on when you leave."""
    from agent_factory.cli import workflow_files

    body: dict[str, Any] = {"input": workflow_files.read_input(given), "priority": priority}
    if version is not None:
        body["version"] = version
    run = post(ctx, f"/workflows/{find(ctx, workflow)['id']}/runs", body)
    if wait:
        typer.echo(run["id"], err=True)
        finish(ctx, run["id"])
    else:
        show(run, form, RUN_COLUMNS)


def _act(ctx: typer.Context, ref: str, verb: str, form: Format, body: dict[str, Any]) -> None:
    reply = post(ctx, f"/workflows/{find(ctx, ref)['id']}:{verb}", body)
    show(reply, form, _COLUMNS)
