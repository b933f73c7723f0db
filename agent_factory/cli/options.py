"""What is given before the noun: state folder, server, key, traceback."""

from pathlib import Path

import msgspec
import typer

from agent_factory.cli.state import State


class Options(msgspec.Struct, frozen=True):
    """The global options of one call."""

    home: Path | None = None
    url: str | None = None
    api_key: str | None = None
    debug: bool = False

    @property
    def state(self) -> State:
        """The state folder in use."""
        return State(self.home)


def of(ctx: typer.Context) -> Options:
    """Find the global options from any command."""
    found = ctx.find_object(Options)
    return found or Options()
