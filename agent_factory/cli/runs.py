"""`agent-factory runs`: what ran on a server, step by step."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agent_factory.cli.following import WaitOption, finish, post
from agent_factory.cli.output import Format, FormatOption, Limit, show
from agent_factory.cli.workflow_run import InputOption

app = typer.Typer(no_args_is_help=True, help="Look at the runs of a server, and cancel, resume and fork them.")
Id = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
StepPath = Annotated[str, typer.Argument(metavar="PATH", help="Path of the step, such as each[3]/fetch.")]
_COLUMNS = ("id", "status", "source", "input_tokens", "output_tokens", "cost_usd", "duration_ms", "created_at")


@app.command("list")
def list_runs(
    ctx: typer.Context,
    *,
    limit: Limit = 20,
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of an `agent`, or of a `workflow`.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only those of this workflow (id or name).")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List runs, newest first."""
    from agent_factory.cli import client, definitions

    wanted = {"limit": limit, "status": status, "kind": kind}
    if workflow is not None:
        wanted["workflow_id"] = definitions.find(ctx, "workflow", workflow)["id"]
    found = client.call(ctx, "GET", "/runs", params=wanted)
    show(found.data["data"], form, _COLUMNS)


@app.command()
def get(ctx: typer.Context, run: Id, form: FormatOption = Format.YAML) -> None:
    """Show a run with its result."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/runs/{run}").data, form)


@app.command()
def output(ctx: typer.Context, run: Id, form: FormatOption = Format.JSON) -> None:
    """Print a completed run's whole output, however large."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/runs/{run}/output").data, form)


@app.command()
def steps(
    ctx: typer.Context,
    run: Id,
    *,
    tree: Annotated[bool, typer.Option("--tree", help="Show all of them, as they lie in each other.")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the steps of a run: tasks, model calls, tool calls, decisions."""
    from agent_factory.cli import client
    from agent_factory.cli.step_tree import all_steps, as_tree

    if tree:
        found = all_steps(ctx, run)
        show(as_tree(found) if form is Format.TABLE else found, form, ("step", "kind", "status", "duration_ms"))
        return
    page = client.call(ctx, "GET", f"/runs/{run}/steps", params={"limit": 100})
    show(page.data["data"], form, ("path", "kind", "name", "is_error", "duration_ms", "cost_usd"))


@app.command()
def step(ctx: typer.Context, run: Id, path: StepPath, form: FormatOption = Format.YAML) -> None:
    """Show one step by its path, with its values whole."""
    from urllib.parse import quote

    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/runs/{run}/steps/{quote(path)}").data, form)


@app.command()
def events(ctx: typer.Context, run: Id) -> None:
    """Follow a run's events, one JSON document a line, until it ends."""
    from agent_factory.cli import client

    async def follow() -> None:
        async with client.connected(ctx) as server:
            async for event in server.events("GET", f"/api/v1/runs/{run}/events"):
                typer.echo(event.data)

    asyncio.run(follow())


@app.command()
def approve(ctx: typer.Context, run: Id) -> None:
    """Let a waiting run do what it asks for."""
    _decide(ctx, run, "approve")


@app.command()
def deny(ctx: typer.Context, run: Id) -> None:
    """Forbid a waiting run what it asks for; it goes on without."""
    _decide(ctx, run, "deny")


def _decide(ctx: typer.Context, run: str, decision: str) -> None:
    from agent_factory.cli import client

    reply = client.call(ctx, "POST", f"/runs/{run}:resume", json={"decision": decision}, params={"wait": 30})
    typer.echo(f"{run} is {reply.data['status']}")


@app.command()
def cancel(ctx: typer.Context, run: Id) -> None:
    """Cancel a run that is under way."""
    from agent_factory.cli import client

    client.call(ctx, "POST", f"/runs/{run}:cancel")
    typer.echo(f"{run} is being cancelled")


@app.command()
def resume(ctx: typer.Context, run: Id, *, wait: WaitOption = False) -> None:
    """Let a workflow's run go on that failed or was cancelled; nothing that is recorded is done again."""
    _again(ctx, f"/runs/{run}:resume", {}, wait=wait)


@app.command()
def retry(ctx: typer.Context, run: Id, *, wait: WaitOption = False) -> None:
    """Let a failed workflow run go on from the task that failed."""
    _again(ctx, f"/runs/{run}:retry", {}, wait=wait)


@app.command()
def fork(
    ctx: typer.Context,
    run: Id,
    task: Annotated[str, typer.Option("--from", metavar="TASK", help="Id of the task to begin again from.")],
    *,
    given: InputOption = None,
    prompt: Annotated[str | None, typer.Option(help="Another prompt of that task.")] = None,
    model: Annotated[str | None, typer.Option(help="Another model of that task.")] = None,
    config: Annotated[str | None, typer.Option(help="Changes to that task's settings, as JSON or @FILE.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="Another definition, as a whole.")
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Run a workflow's run again from a task on, with something changed; what was done before is taken over."""
    from agent_factory.cli import workflow_files

    changes: dict[str, object] = {"prompt": prompt, "model": model}
    if config is not None:
        changes["config"] = workflow_files.read_input(config)
    if file is not None:
        changes["definition"] = workflow_files.read(file).flow.workflow.to_dict()
    body: dict[str, object] = {"from": task}
    if changed := {key: value for key, value in changes.items() if value is not None}:
        body["changes"] = changed
    if given is not None:
        body["input"] = workflow_files.read_input(given)
    _again(ctx, f"/runs/{run}:fork", body, wait=wait)


def _again(ctx: typer.Context, path: str, body: dict[str, object], *, wait: bool) -> None:
    run = post(ctx, path, body)
    typer.echo(f"{run['id']} is {run['status']}", err=wait)
    if wait:
        finish(ctx, run["id"])


@app.command()
def diff(
    ctx: typer.Context,
    run: Id,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Id of the run to compare with.")],
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also tasks that are the same.")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare two runs of workflows, task by task."""
    from agent_factory.cli import client
    from agent_factory.cli.step_tree import sides

    params = {"with": other, "changed": str(not everything).lower(), "limit": 100}
    found = client.call(ctx, "GET", f"/runs/{run}/diff", params=params).data
    if form is not Format.TABLE:
        show(found, form)
        return
    for part in ("definition", "input", "output"):
        typer.echo(f"{part}: {'the same' if found[f'same_{part}'] else 'differs'}")
    if found["data"]:
        show(sides(found["data"]), form)


@app.command()
def replay(ctx: typer.Context, run: Id, form: FormatOption = Format.TABLE) -> None:
    """Work a workflow's run out again from what it recorded; nothing outside is called."""
    from agent_factory.cli import client

    show(client.call(ctx, "POST", f"/runs/{run}:replay").data, form)


@app.command()
def cost(ctx: typer.Context, run: Id, form: FormatOption = Format.YAML) -> None:
    """Show what a run came to, by model and by task."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/runs/{run}/cost").data, form)
