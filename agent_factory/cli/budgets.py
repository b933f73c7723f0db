"""`agent-factory budget` and `usage`: what an organisation lets itself use, and has used."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from agent_factory.cli.output import Format, FormatOption, show

app = typer.Typer(no_args_is_help=True, help="Limit what agents, API keys, runs and the organisation use.")
_COLUMNS = ("id", "subject", "agent_id", "key_id", "metric", "period", "amount", "used", "left", "resets_at")
_USAGE = ("runs", "calls", "unconfirmed", "input_tokens", "output_tokens", "cost_usd")


class Metric(StrEnum):
    """What is counted."""

    USD = "usd"
    TOKENS = "tokens"
    TOOL_CALLS = "tool_calls"
    RUNS = "runs"


class Period(StrEnum):
    """How long it counts before it starts again."""

    RUN = "run"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Dimension(StrEnum):
    """By what usage is told apart."""

    AGENT = "agent"
    KEY = "key"
    MODEL = "model"


AgentOption = Annotated[str | None, typer.Option("--agent", help="Only of this agent (id or name).")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only of this API key (id).")]


@app.command("set")
def set_budget(
    ctx: typer.Context,
    amount: Annotated[str, typer.Argument(help="How much, such as 50 or 0.25.")],
    metric: Annotated[Metric, typer.Option(help="What is counted.")] = Metric.USD,
    period: Annotated[
        Period, typer.Option(help="How long it counts; days and months are those of UTC.")
    ] = Period.MONTH,
    *,
    agent: AgentOption = None,
    key: KeyOption = None,
    form: FormatOption = Format.YAML,
) -> None:
    """Set a budget, or change the amount of the one that is there. What is used stays used."""
    import asyncio

    from agent_factory.cli import client

    async def put() -> Any:  # noqa: ANN401 - any JSON value
        async with client.connected(ctx) as server:
            agent_id = (await server.find("agent", agent))["id"] if agent else None
            wanted = {"agent_id": agent_id, "key_id": key, "metric": metric.value, "period": period.value}
            async for budget in server.every("/api/v1/budgets"):
                if all(budget[name] == value for name, value in wanted.items()):
                    path = f"/api/v1/budgets/{budget['id']}"
                    return (await server.request("PATCH", path, json={"amount": amount})).data
            body = {name: value for name, value in wanted.items() if value is not None}
            return (await server.request("POST", "/api/v1/budgets", json={**body, "amount": amount})).data

    show(asyncio.run(put()), form)


@app.command("list")
def list_budgets(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List budgets with what is used of them, newest first."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/budgets", params={"limit": 100}).data["data"], form, _COLUMNS)


@app.command()
def delete(
    ctx: typer.Context, budget: Annotated[str, typer.Argument(metavar="BUDGET", help="Id of the budget.")]
) -> None:
    """Remove a budget; nothing is limited by it from then on."""
    from agent_factory.cli import client

    client.call(ctx, "DELETE", f"/budgets/{budget}")
    typer.echo(f"{budget} is deleted")


def usage(
    ctx: typer.Context,
    *,
    by: Annotated[list[Dimension] | None, typer.Option(help="Tell apart by this, too; may be given again.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day (UTC), such as 2026-11-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day (UTC). (default: today)")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show what the organisation used, by day: runs, model calls, tokens and money."""
    import asyncio

    from agent_factory.cli import client

    names = [each.value for each in by or []]

    async def all_rows() -> list[dict[str, Any]]:
        async with client.connected(ctx) as server:
            organization = (await server.request("GET", "/api/v1/auth/me")).data["organization_id"]
            path = f"/api/v1/organizations/{organization}/usage"
            query = "&".join(f"by={name}" for name in names)
            asked = {"from": first, "to": last}
            return [row async for row in server.every(f"{path}?{query}" if query else path, asked)]

    columns = {"agent": "agent_id", "key": "key_id", "model": "model"}
    show(asyncio.run(all_rows()), form, ("day", *(columns[name] for name in names), *_USAGE))
