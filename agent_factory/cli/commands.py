"""The group of all commands: what they raise becomes one clear line."""

import os
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from agent_factory.cli.problems import ERROR, INTERRUPTED, exit_code, lines
from agent_factory.kit.errors import Problem

_RAN_CODE = "agent_factory.ran_code"


def runs_code(ctx: typer.Context) -> None:
    """Note that this process may run users' code, and so has to be left without taking Python down.

    The snippet interpreter's threads may still touch Python when that comes
    down, which then aborts (PyO3/pyo3-async-runtimes#40).
    """
    ctx.meta[_RAN_CODE] = True


class Commands(TyperGroup):
    """A group whose commands may raise `Problem`."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the chosen command and turn what it raises into one line and an exit code."""
        try:
            answer = self._invoke(ctx)
        except (typer.Exit, KeyboardInterrupt) as leaving:
            if ctx.meta.get(_RAN_CODE):
                _leave(leaving.exit_code if isinstance(leaving, typer.Exit) else INTERRUPTED)
            raise
        if ctx.meta.get(_RAN_CODE):
            _leave(0)
        return answer

    def _invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except Problem as problem:
            if ctx.params.get("debug"):
                typer.echo(traceback.format_exc(), err=True)
            for line in lines(problem):
                typer.echo(line, err=True)
            raise typer.Exit(exit_code(problem)) from problem
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise
        except Exception as error:  # whatever else it is, the person at the terminal gets a sentence
            if ctx.params.get("debug"):
                raise
            typer.echo(f"error: {type(error).__name__}: {error}. Run it with --debug to see where.", err=True)
            raise typer.Exit(ERROR) from error


def _leave(code: int) -> NoReturn:
    """End the process at once, after everything is written."""
    with suppress(OSError):  # nobody may read any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
