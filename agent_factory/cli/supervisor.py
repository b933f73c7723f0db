"""The process behind `up`: keeps PostgreSQL, prepares the database, has the application served.

It imports as little as it can, for it stays in memory beside the server.
"""

import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agent_factory.cli import serve
from agent_factory.cli.plan import Plan, ServerKind
from agent_factory.cli.postgres import embedded
from agent_factory.cli.prepare import in_child
from agent_factory.cli.problems import exit_code, lines
from agent_factory.cli.state import AlreadyRunning, Credentials, State
from agent_factory.kit.errors import Problem


def supervise(plan: Plan) -> None:
    """Start everything, serve until told to stop, stop everything."""
    started = time.monotonic()
    state = State(Path(plan.home))
    try:
        with state.claim():
            state.withdraw()  # a process that was killed could not do it itself
            port = serve.free_port(plan.host, plan.port)
            with _database(state, plan.database_url) as url:
                address = _address(plan.host, port)
                _prepare(state, url, address)
                try:
                    ready = partial(_ready, state, address, started)
                    load = partial(_load, state, url, plan.host)
                    if plan.server is ServerKind.UVICORN:
                        serve.serve_uvicorn(load, plan.host, port, ready=ready)
                    else:
                        serve.serve_granian(
                            load,
                            plan.host,
                            port,
                            workers=plan.workers,
                            header_timeout=plan.header_timeout,
                            ready=ready,
                        )
                finally:
                    state.withdraw()
    except AlreadyRunning as found:
        if found.running is None:
            _say(f"another process is starting it already, from {state.home}")
        else:
            _say(f"already running at {found.running.url} (process {found.running.pid}), from {state.home}")
        return
    _say("stopped")


def _say(text: str) -> None:
    sys.stdout.write(f"> {text}\n")
    sys.stdout.flush()


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - names it
    return f"http://{shown}:{port}"


@contextmanager
def _database(state: State, url: str | None) -> Generator[str, None, None]:
    if url is not None:
        yield url
        return
    _say(f"starting PostgreSQL in {state.postgres}")
    with embedded(state.postgres) as address:
        yield address


def _prepare(state: State, database_url: str, url: str) -> None:
    """Bring the schema to its head and make sure that there is an owner; keep the owner's key."""
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


def _load(state: State, database_url: str, host: str) -> Callable[..., Any]:
    """Make the application, in the process that serves it."""
    from agent_factory.cli.configuration import settings
    from agent_factory.server import app

    try:
        return app(settings(database={"url": database_url, "data_dir": state.home}, server={"host": host}))
    except Problem as problem:
        sys.exit("\n".join(lines(problem)))


def main() -> int:
    """Do what the plan says, and give the exit code."""
    plan = Plan.received()
    try:
        supervise(plan)
    except Problem as problem:
        if plan.debug:
            traceback.print_exc()
        sys.stderr.write("\n".join([*lines(problem), ""]))
        return exit_code(problem)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
