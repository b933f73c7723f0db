"""`agent-factory up`: the whole product in one command."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from agent_factory.cli import options
from agent_factory.cli.state import AlreadyRunning, Credentials, State


class ServerKind(StrEnum):
    """The HTTP servers."""

    GRANIAN = "granian"
    UVICORN = "uvicorn"


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
    from agent_factory.cli import serve

    started = time.monotonic()
    state = options.of(ctx).state
    try:
        with state.claim():
            chosen = serve.free_port(host, port)
            with _database(state, database_url) as url:
                _prepare(state, url, _address(host, chosen))
                try:
                    ready = partial(_ready, state, _address(host, chosen), started)
                    load = partial(_load, state, url)
                    if server is ServerKind.UVICORN:
                        serve.serve_uvicorn(load, host, chosen, ready=ready)
                    else:
                        serve.serve_granian(load, host, chosen, workers=workers, ready=ready)
                finally:
                    state.withdraw()
    except AlreadyRunning as found:
        where = f" at {found.running.url} (process {found.running.pid})" if found.running else ", but is still starting"
        _say(f"already running{where}, from {state.home}")
        return
    _say("stopped")


def _say(text: str) -> None:
    typer.echo(f"> {text}")


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - names it
    return f"http://{shown}:{port}"


@contextmanager
def _database(state: State, url: str | None) -> Generator[str, None, None]:
    if url is not None:
        yield url
        return
    from agent_factory.cli.postgres import embedded

    _say(f"starting PostgreSQL in {state.postgres}")
    with embedded(state.postgres) as address:
        yield address


def _prepare(state: State, database_url: str, url: str) -> None:
    """Bring the schema to its head and make sure that there is an owner; keep the owner's key."""
    from agent_factory.cli.prepare import in_child

    _say("bringing the database up to date")
    key = in_child(database_url)
    kept = state.credentials
    if key is not None:
        path = state.keep(Credentials(url, key))
        _say(f"first API key: {key}")
        _say(f"it is shown this once, and kept in {path}, readable by you only")
    elif kept is not None:
        state.keep(Credentials(url, kept.api_key))
    else:
        _say(f"the database has an owner already, whose key is not in {state.home}; give it by AF_API_KEY")


def _ready(state: State, url: str, started: float) -> None:
    state.announce(url)
    _say(f"ready at {url} after {time.monotonic() - started:.1f} s; API at {url}/docs; Ctrl-C stops")


def _load(state: State, database_url: str) -> Callable[..., Any]:
    """Make the application, in the process that serves it."""
    from agent_factory.cli.configuration import settings
    from agent_factory.server import app

    return app(settings(database={"url": database_url, "data_dir": state.home}))
