"""`agent-factory up`: the whole product in one command."""

from typing import Annotated

import typer

from agent_factory.cli import options
from agent_factory.cli.plan import Plan, ServerKind


def up(
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option(envvar="AF_SERVER__HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, envvar="AF_SERVER__PORT", help="Port; 0 takes any free one.")
    ] = 8080,
    workers: Annotated[
        int, typer.Option(min=1, max=256, envvar="AF_SERVER__WORKERS", help="Processes that serve.")
    ] = 1,
    header_timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600,
            envvar="AF_SERVER__HEADER_TIMEOUT",
            help="Seconds until all headers of a request are there.",
        ),
    ] = 10.0,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="AF_DATABASE__URL", show_envvar=True, help="PostgreSQL to use. (default: the embedded one)"
        ),
    ] = None,
    server: Annotated[ServerKind, typer.Option(help="HTTP server.")] = ServerKind.GRANIAN,
) -> None:
    """Start the product: database, migrations, first organisation, server.

    Everything is kept in the state folder; a second start takes seconds. Ctrl-C
    or SIGTERM let the requests in flight finish and then stop the database.
    """
    chosen = options.of(ctx)
    Plan(
        home=str(chosen.state.home),
        host=host,
        port=port,
        workers=workers,
        header_timeout=header_timeout,
        database_url=database_url,
        server=server,
        debug=chosen.debug,
    ).become()
