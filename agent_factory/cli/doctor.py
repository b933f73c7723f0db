"""`agent-factory doctor`: what is configured, what is missing, and what to do."""

import asyncio
from typing import Annotated

import typer

from agent_factory.cli import options
from agent_factory.cli.output import Format, FormatOption, show
from agent_factory.cli.problems import ERROR


def doctor(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(envvar="AF_SERVER__HOST", help="Address that `up` would take.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="AF_SERVER__PORT", help="Port that `up` would take.")] = 8080,
    form: FormatOption = Format.TABLE,
) -> None:
    """Look at everything that the product needs; exit 1 when something is in the way."""
    import msgspec

    from agent_factory.cli.examination import Health, examine

    findings = asyncio.run(examine(options.of(ctx).state, host, port))
    if form is Format.TABLE:
        marks = {Health.OK: "✓", Health.NOTE: "·", Health.FAIL: "✗"}
        width = max(len(f.what) for f in findings)
        for finding in findings:
            typer.echo(f"{marks[finding.health]} {finding.what.ljust(width)}  {finding.found}")
            if finding.todo:
                typer.echo(f"  {' ' * width}  {finding.todo}")
    else:
        show(msgspec.to_builtins(findings), form)
    if any(f.health is Health.FAIL for f in findings):
        raise typer.Exit(ERROR)
