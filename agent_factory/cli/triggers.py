"""`agent-factory trigger`: what starts workflows by itself."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from agent_factory.cli.output import Format, FormatOption, Limit, show

app = typer.Typer(no_args_is_help=True, help="Let webhooks, schedules and events start workflows.")
Id = Annotated[str, typer.Argument(metavar="TRIGGER", help="Id of the trigger.")]
_COLUMNS = ("id", "type", "enabled", "workflow_id", "path", "next_at", "last_at")


class Type(StrEnum):
    """What a trigger waits for."""

    WEBHOOK = "webhook"
    CRON = "cron"
    EVENT = "event"


@app.command("list")
def list_triggers(
    ctx: typer.Context,
    limit: Limit = 20,
    kind: Annotated[Type | None, typer.Option("--type", help="Only those of this type.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List triggers, newest first."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", "/triggers", params={"limit": limit, "type": kind and kind.value})
    show(found.data["data"], form, _COLUMNS)


@app.command()
def get(ctx: typer.Context, trigger: Id, form: FormatOption = Format.YAML) -> None:
    """Show a trigger with its settings."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/triggers/{trigger}").data, form)


@app.command()
def create(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Id or name of the workflow.")],
    kind: Annotated[Type, typer.Argument(metavar="TYPE", help="webhook, cron or event.")],
    config: Annotated[
        str | None,
        typer.Option(help='Settings as JSON, such as {"cron": "0 8 * * 1", "timezone": "Europe/Berlin"}; @FILE, too.'),
    ] = None,
    form: FormatOption = Format.YAML,
) -> None:
    """Make a trigger. A secret that is made for it is shown here, and nowhere else."""
    from agent_factory.cli import client, workflow_files

    settings: Any = workflow_files.read_input(config) if config else {}
    body = {"workflow": workflow, "type": kind.value, "config": settings}
    show(client.call(ctx, "POST", "/triggers", json=body).data, form)


@app.command()
def enable(ctx: typer.Context, trigger: Id) -> None:
    """Let a trigger start its workflow again."""
    _set(ctx, trigger, on=True)


@app.command()
def disable(ctx: typer.Context, trigger: Id) -> None:
    """Keep a trigger, but let it start nothing."""
    _set(ctx, trigger, on=False)


def _set(ctx: typer.Context, trigger: str, *, on: bool) -> None:
    from agent_factory.cli import client

    client.call(ctx, "PATCH", f"/triggers/{trigger}", json={"enabled": on})
    typer.echo(f"{trigger} is {'enabled' if on else 'disabled'}")


@app.command()
def delete(ctx: typer.Context, trigger: Id) -> None:
    """Remove a trigger."""
    from agent_factory.cli import client

    client.call(ctx, "DELETE", f"/triggers/{trigger}")
    typer.echo(f"{trigger} is deleted")
