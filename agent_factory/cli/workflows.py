"""`agent-factory workflow`: from files, and the workflows of a server and their life."""

from pathlib import Path
from typing import Annotated, Any

import typer

from agent_factory.cli import workflow_run
from agent_factory.cli.definitions import COLUMNS, add_commands, find
from agent_factory.cli.following import COLUMNS as RUN_COLUMNS
from agent_factory.cli.following import WaitOption, finish, post
from agent_factory.cli.output import Format, FormatOption, show
from agent_factory.cli.workflow_run import File, InputOption

app = typer.Typer(no_args_is_help=True, help="Run workflows from files; create, deploy and start those of a server.")
app.command("run")(workflow_run.run)
app.command("validate")(workflow_run.validate)

Ref = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Id or name.")]


@app.command()
def create(ctx: typer.Context, file: File, form: FormatOption = Format.TABLE) -> None:
    """Create the workflows of a file as drafts."""
    from agent_factory.cli import client, workflow_files

    found = workflow_files.definitions(file)
    show([client.call(ctx, "POST", "/workflows", json=each).data for each in found], form, COLUMNS)


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
    run = post(ctx, f"/workflows/{find(ctx, 'workflow', workflow)['id']}/runs", body)
    if wait:
        typer.echo(run["id"], err=True)
        finish(ctx, run["id"])
    else:
        show(run, form, RUN_COLUMNS)


def _read(file: Path) -> dict[str, Any]:
    from agent_factory.cli import workflow_files

    return workflow_files.read(file).flow.workflow.to_dict()


def _parse(text: str) -> dict[str, Any]:
    from agent_factory.core.workflow import read_workflow

    return read_workflow(text).to_dict()


add_commands(app, "workflow", read=_read, parse=_parse)
