"""The `agent-factory` command: nouns, then verbs; every command imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from agent_factory.cli import (
    accounts,
    agents,
    approvals,
    audit,
    budgets,
    chat,
    doctor,
    keys,
    models,
    organizations,
    quotas,
    run,
    runs,
    secrets,
    sessions,
    templates,
    tokens,
    tools,
    triggers,
    up,
    work,
    workflows,
)
from agent_factory.cli.commands import Commands
from agent_factory.cli.options import Options

app = typer.Typer(
    name="agent-factory",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build, run and serve AI agents and workflows.",
    epilog="Exit codes: 0 ok, 1 error, 2 usage, 4 denied, 5 over budget.",
)


def _version(value: bool) -> None:
    if value:
        from agent_factory.kit.version import __version__

        typer.echo(f"agent-factory {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    *,
    home: Annotated[
        Path | None,
        typer.Option(envvar="AF_HOME", help="State folder. (default: ./.data where it exists, or ~/.agent-factory)"),
    ] = None,
    url: Annotated[
        str | None, typer.Option(envvar="AF_URL", help="Address of the server. (default: the one that `up` started)")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="AF_API_KEY", help="Key for the server. (default: the one that `up` kept)", show_envvar=True
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Keep what every command may need."""
    ctx.obj = Options(home=home, url=url, api_key=api_key, debug=debug)


app.command("run")(run.run)
app.command("chat")(chat.chat)
app.command("up")(up.up)
app.command("worker")(work.worker)
app.command("doctor")(doctor.doctor)
app.command("usage")(budgets.usage)
app.command("login")(accounts.login)
app.command("logout")(accounts.logout)
app.add_typer(accounts.app, name="account")
app.add_typer(agents.app, name="agent")
app.add_typer(workflows.app, name="workflow")
app.add_typer(sessions.app, name="session")
app.add_typer(runs.app, name="runs")
app.add_typer(approvals.app, name="approval")
app.add_typer(triggers.app, name="trigger")
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="key")
app.add_typer(budgets.app, name="budget")
app.add_typer(quotas.app, name="quota")
app.add_typer(tokens.app, name="token")
app.add_typer(organizations.organizations, name="org")
app.add_typer(organizations.members, name="member")
app.add_typer(secrets.app, name="secret")
app.add_typer(secrets.app, name="secrets", hidden=True)
app.add_typer(templates.app, name="template")
app.add_typer(models.app, name="model")
app.add_typer(tools.app, name="tool")
