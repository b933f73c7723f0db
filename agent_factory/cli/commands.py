"""The group of all commands: what they raise becomes one clear line."""

import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from agent_factory.cli.problems import ERROR, exit_code, lines
from agent_factory.kit.errors import Problem


class Commands(TyperGroup):
    """A group whose commands may raise `Problem`."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the chosen command and turn what it raises into one line and an exit code."""
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
