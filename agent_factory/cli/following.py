"""A workflow's run on a server, followed to its end."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agent_factory.cli.client import Server

ENDED = frozenset({"completed", "failed", "cancelled"})
COLUMNS = ("id", "kind", "status", "trigger", "workflow_version", "cost_usd", "duration_ms", "created_at")
WaitOption = Annotated[bool, typer.Option("--wait", help="Follow it to its end, and print what it gave.")]
_PAUSE = 1.0
"""Seconds before a stream of events that broke off is asked for again."""


def post(ctx: typer.Context, path: str, body: object) -> dict[str, Any]:
    """Ask for a run, below `/api/v1`, and give it."""
    from agent_factory.cli import client

    return client.call(ctx, "POST", path, json=body).data


def finish(ctx: typer.Context, run_id: str) -> None:
    """Follow a run to its end and print its output; raises the problem that ended it."""
    from agent_factory.cli import client, output
    from agent_factory.cli.problems import CommandFailed, Told
    from agent_factory.cli.screen import clean
    from agent_factory.kit.errors import Kind

    async def whole() -> tuple[dict[str, Any], Any]:
        async with client.connected(ctx) as server:
            run = await _ended(server, run_id)
            given = None
            if run["status"] == "completed":
                given = (await server.request("GET", f"/api/v1/runs/{run_id}/output")).data
            return run, given

    run, given = asyncio.run(whole())
    error = run["error"]
    if error is not None:
        at = error.get("path")
        detail = f"at {at}: {error.get('detail', '')}" if at else error.get("detail")
        raise Told({**error, "detail": detail}, Kind(error.get("kind", Kind.INTERNAL)))
    if run["status"] != "completed":
        raise CommandFailed(f"{run_id} is {run['status']}.")
    typer.echo(clean(given if isinstance(given, str) else output.to_json(given)))


async def _ended(server: "Server", run_id: str) -> dict[str, Any]:
    """Show a run's events until it has ended, also when the stream breaks off in between."""
    from agent_factory.cli.client import NoServer
    from agent_factory.cli.flow_screen import FlowScreen

    screen = FlowScreen()
    last = ""
    try:
        while True:
            try:
                last = await _watch(server, run_id, screen, last)
            except NoServer:
                screen.note("the server is away; waiting for it")
            run = (await server.request("GET", f"/api/v1/runs/{run_id}")).data
            if run["status"] in ENDED:
                return run
            await asyncio.sleep(_PAUSE)
    finally:
        screen.pause()


async def _watch(server: "Server", run_id: str, screen: Any, last: str) -> str:  # noqa: ANN401 - a FlowScreen
    import msgspec

    from agent_factory.core.event import ApprovalNeeded, TurnEvent

    headers = {"last-event-id": last} if last else {}
    async for event in server.events("GET", f"/api/v1/runs/{run_id}/events", headers=headers):
        last = event.id or last
        if event.name == "run.started":
            continue
        try:
            told = msgspec.json.decode(event.data, type=TurnEvent)
        except msgspec.ValidationError:
            continue  # a newer server may tell more
        screen.show(told)
        if isinstance(told, ApprovalNeeded):
            screen.note("  decide it by: agent-factory approval list --status pending")
    return last
