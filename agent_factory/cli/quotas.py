"""`agent-factory quota`: what the operator lets organisations use; works on the database itself."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from agent_factory.cli.output import Format, FormatOption, show

if TYPE_CHECKING:
    from agent_factory.database.session import Session

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Set what organisations may use, as their operator, on the database.")
_COLUMNS = ("metric", "period", "amount", "used", "held", "left", "resets_at")

Organization = Annotated[str, typer.Argument(metavar="ORGANIZATION", help="Id of the organisation (org_…).")]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="AF_DATABASE__URL",
        show_envvar=True,
        help="PostgreSQL to use. (default: that of the running `up`)",
    ),
]


class Metric(StrEnum):
    """What quotas are about; all but storage and seats start again with each month."""

    RUNS = "runs"
    TOKENS = "tokens"
    USD = "usd"
    STORAGE_BYTES = "storage_bytes"
    SEATS = "seats"


@app.command("set")
def set_quota(
    ctx: typer.Context,
    organization: Organization,
    metric: Annotated[Metric, typer.Argument(help="What is limited.")],
    amount: Annotated[str, typer.Argument(help="How much; `unlimited`, or `default` for that of AF_QUOTAS.")],
    database_url: DatabaseOption = None,
) -> None:
    """Set what an organisation may use: at most so much a month, or in all for storage_bytes and seats."""
    from agent_factory.enterprise.multitenancy import limits
    from agent_factory.kit import ids
    from agent_factory.services.billing import service

    organization_id, kind = ids.decode("org", organization), limits.Metric(metric.value)

    async def put(session: "Session") -> None:
        if amount == "default":
            await service.reset_quota(session, organization_id, kind)
        else:
            most = None if amount == "unlimited" else limits.amount(amount)
            await service.set_quota(session, organization_id, kind, most)

    _in_database(ctx, database_url, put)
    typer.echo(f"{metric.value} of {organization}: {amount}")


@app.command("list")
def list_quotas(
    ctx: typer.Context,
    organization: Organization,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List what an organisation may use, and has used of it."""
    from agent_factory.cli.configuration import settings
    from agent_factory.kit import ids
    from agent_factory.services.billing import service

    organization_id, defaults = ids.decode("org", organization), settings().quotas

    async def read(session: "Session") -> Any:  # noqa: ANN401 - rows of the table
        return await service.shown_quotas(session, organization_id, defaults)

    found = _in_database(ctx, database_url, read)
    show([{name: _shown(getattr(quota, name)) for name in _COLUMNS} for quota in found], form, _COLUMNS)


def _shown(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value if value is None else str(value)


def _in_database(ctx: typer.Context, url: str | None, work: "Callable[[Session], Awaitable[T]]") -> T:
    """Do something in one transaction that sees every organisation."""
    from agent_factory.cli.work import running_database
    from agent_factory.database.session import Database

    async def once() -> T:
        database = Database(url or running_database(ctx))
        try:
            async with database.system() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(once())
