"""Lets a person change a text in their own editor."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from agent_factory.cli.problems import CommandFailed


def edited(text: str, name: str, editor: str) -> str | None:
    """Give the changed text, or `None` where nothing changed.

    `editor` is a command line to which the file is added. Raises
    `CommandFailed` when it fails, and a usage error without a terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter("there is no terminal to edit at; give the definition by --file", param_hint="--file")
    with tempfile.TemporaryDirectory(prefix="agent-factory-") as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(text)
        command = [*shlex.split(editor), str(path)]
        try:
            subprocess.run(command, check=True)  # noqa: S603 - the person's own editor
        except (OSError, subprocess.CalledProcessError) as error:
            raise CommandFailed(
                f"The editor {editor!r} failed: {error}. Choose another by EDITOR or --editor."
            ) from None
        changed = path.read_text()
    return None if changed == text else changed
