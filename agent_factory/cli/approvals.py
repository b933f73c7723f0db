"""`agent-factory approval`: what runs ask people."""

from enum import StrEnum
from typing import Annotated

import typer

from agent_factory.cli.output import Format, FormatOption, Limit, show

app = typer.Typer(no_args_is_help=True, help="See what runs ask people, and decide.")
Id = Annotated[str, typer.Argument(metavar="APPROVAL", help="Id of the approval.")]
_COLUMNS = ("id", "status", "title", "run_id", "path", "deadline", "created_at")


class Verdict(StrEnum):
    """What can be decided."""

    APPROVE = "approve"
    DENY = "deny"


@app.command("list")
def list_approvals(
    ctx: typer.Context,
    limit: Limit = 20,
    status: Annotated[str | None, typer.Option(help="Only those with this status, such as pending.")] = None,
    run: Annotated[str | None, typer.Option(help="Only those of this run.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List approvals, newest first."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", "/approvals", params={"limit": limit, "status": status, "run_id": run})
    show(found.data["data"], form, _COLUMNS)


@app.command()
def get(ctx: typer.Context, approval: Id, form: FormatOption = Format.YAML) -> None:
    """Show an approval with its details."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/approvals/{approval}").data, form)


@app.command()
def decide(
    ctx: typer.Context,
    approval: Id,
    decision: Annotated[Verdict, typer.Argument(help="Your decision.")],
    comment: Annotated[str, typer.Option(help="Why; the run sees it.")] = "",
    form: FormatOption = Format.TABLE,
) -> None:
    """Approve or deny; the run goes on by itself."""
    from agent_factory.cli import client

    body = {"decision": decision.value, "comment": comment}
    show(client.call(ctx, "POST", f"/approvals/{approval}:decide", json=body).data, form, _COLUMNS)
