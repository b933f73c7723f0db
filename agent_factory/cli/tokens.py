"""`agent-factory token`: the keys that sign access tokens, for whoever operates the installation."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from agent_factory.cli import options

if TYPE_CHECKING:
    from agent_factory.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Rotate the key that signs access tokens.")


@app.callback()
def tokens() -> None:
    """Rotate the key that signs access tokens."""


@app.command()
def rotate(
    ctx: typer.Context,
    *,
    distrust: Annotated[
        bool, typer.Option("--distrust", help="Refuse all older tokens within 5 seconds, as when a key was stolen.")
    ] = False,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="AF_DATABASE__URL", show_envvar=True, help="PostgreSQL to use. (default: that of the running `up`)"
        ),
    ] = None,
) -> None:
    """Make the next signing key, while everything runs; people stay logged in, for their clients refresh."""
    from agent_factory.cli.configuration import settings
    from agent_factory.cli.work import running_database

    state = options.of(ctx).state
    configured = settings(database={"url": database_url or running_database(ctx), "data_dir": state.home})
    kid = asyncio.run(_rotated(configured, distrust=distrust))
    typer.echo(f"the next key is {kid}" + ("; older ones are refused" if distrust else "; older tokens live on"))


async def _rotated(configured: "Settings", *, distrust: bool) -> str:
    from agent_factory.database.session import Database
    from agent_factory.security.encryption import open_vault
    from agent_factory.security.tokens import Tokens

    assert configured.database.url is not None
    database = Database(configured.database.url, configured.database)
    try:
        vault = open_vault(configured.encryption, database.pool, configured.database.data_dir)
        return await Tokens(database.pool, vault, configured.auth).rotate(distrust=distrust)
    finally:
        await database.close()
