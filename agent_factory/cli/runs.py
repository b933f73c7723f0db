"""`agent-factory runs`: what ran on a server, step by step."""

import asyncio
from typing import Annotated

import typer

from agent_factory.cli.agents import Limit
from agent_factory.cli.output import Format, FormatOption, show

app = typer.Typer(no_args_is_help=True, help="Look at the runs of a server, and cancel them.")
Id = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
_COLUMNS = ("id", "status", "source", "input_tokens", "output_tokens", "cost_usd", "duration_ms", "created_at")


@app.command("list")
def list_runs(
    ctx: typer.Context,
    limit: Limit = 20,
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List runs, newest first."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", "/runs", params={"limit": limit, "status": status})
    show(found.data["data"], form, _COLUMNS)


@app.command()
def get(ctx: typer.Context, run: Id, form: FormatOption = Format.YAML) -> None:
    """Show a run with its result."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/runs/{run}").data, form)


@app.command()
def steps(ctx: typer.Context, run: Id, form: FormatOption = Format.TABLE) -> None:
    """List the steps of a run: model calls, tool calls, decisions."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", f"/runs/{run}/steps", params={"limit": 100})
    show(found.data["data"], form, ("path", "kind", "name", "is_error", "duration_ms", "cost_usd"))


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
