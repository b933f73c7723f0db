"""`agent-factory worker`: one more process that works on the runs of a database."""

from typing import Annotated

import typer

from agent_factory.cli import options


def worker(
    ctx: typer.Context,
    *,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Runs that it holds at once. (default: AF_QUEUE__RUNS, or 100)"),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="AF_DATABASE__URL", show_envvar=True, help="PostgreSQL to use. (default: that of the running `up`)"
        ),
    ] = None,
) -> None:
    """Work on runs beside the server, on the same database.

    `up` works on runs, too, unless AF_QUEUE__WORKER=false. SIGTERM or Ctrl-C
    stops it: runs that do not end in time go on in another process.
    """
    import uvloop

    from agent_factory.cli.configuration import settings
    from agent_factory.worker import work

    state = options.of(ctx).state
    configured = settings(database={"url": database_url or running_database(ctx), "data_dir": state.home})
    if concurrency is not None:
        queue = configured.queue.model_copy(update={"runs": concurrency, "tasks": concurrency})
        configured = configured.model_copy(update={"queue": queue})
    typer.echo(f"> working on runs, {configured.queue.runs} at once; Ctrl-C stops")
    uvloop.run(work(configured))
    typer.echo("> stopped")


def running_database(ctx: typer.Context) -> str:
    """Give the address of the database that `up` keeps; raises `NoDatabase` where none runs."""
    from agent_factory.cli.problems import NoDatabase
    from agent_factory.database.embedded import Server

    server = Server(options.of(ctx).state.postgres)
    if server.pid is None:
        raise NoDatabase(
            f"No PostgreSQL runs in {server.folder}. Start `agent-factory up` first, or name one by AF_DATABASE__URL."
        )
    return server.url
