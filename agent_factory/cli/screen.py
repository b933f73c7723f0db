"""A running turn on a terminal: the answer on stdout as it comes, everything about it on stderr."""

import sys

import typer
from rich.console import Console

from agent_factory.core.event import (
    ApprovalNeeded,
    ReasoningPiece,
    Retrying,
    TextPiece,
    ToolFinished,
    ToolStarted,
    TurnEvent,
)

_BRIEF = 200
_CONTROL = {c: None for c in [*range(32), *range(127, 160)] if chr(c) not in "\n\t"}
"""What a model or a tool says must not steer the reader's terminal."""

DEMO_NOTICE = (
    "The demo model answers: fixed rules, no language model. "
    "For a real one set OPENAI_API_KEY, ANTHROPIC_API_KEY or HF_TOKEN, or start Ollama; see `agent-factory doctor`."
)


class Screen:
    """Shows the events of one turn after the other."""

    def __init__(self, *, answers: bool = True) -> None:
        """Without `answers` only the notes are shown, and the caller prints the result."""
        self._notes = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._answers = answers
        self._open_line = False
        self._answered = False

    def note(self, text: str) -> None:
        """Say something about the turn."""
        self._close_line()
        self._notes.print(text, style="dim")

    def show(self, event: TurnEvent) -> None:
        """Show one event; those that end a turn are the caller's."""
        match event:
            case TextPiece():
                self._say(event.text)
            case ReasoningPiece():
                pass
            case ToolStarted():
                self._answered = False
                self.note(f"{_indent(event.path)}→ {event.name} {brief(event.arguments)}")
            case ToolFinished():
                self._answered = False
                mark = "✗" if event.is_error else "←"
                self.note(f"{_indent(event.path)}{mark} {brief(event.content)} ({event.duration_ms} ms)")
            case Retrying():
                self.note(f"… {event.code}: trying again in {event.delay:.1f} s (attempt {event.attempt})")
            case _:
                pass

    def complete(self, answer: str) -> None:
        """Show a turn's answer unless it came in pieces: of a turn that ended unwatched no pieces are left."""
        if not self._answered:
            self._say(answer)

    def end(self) -> None:
        """Finish the line of the answer."""
        self._close_line()

    def _say(self, text: str) -> None:
        if self._answers and text:
            typer.echo(clean(text), nl=False)
            sys.stdout.flush()
            self._open_line = not text.endswith("\n")
            self._answered = True

    def _close_line(self) -> None:
        if self._open_line:
            typer.echo()
            self._open_line = False


def clean(text: str) -> str:
    """Take control characters out, but line ends and tabs."""
    return text.translate(_CONTROL)


def brief(text: str) -> str:
    """Fold a text to one short line."""
    line = " ".join(clean(text).split())
    return line if len(line) <= _BRIEF else f"{line[: _BRIEF - 1]}…"


def _indent(path: str) -> str:
    """Show the calls of an agent that another one called below that call."""
    return "  " * (path.count("tool/") - 1)


def ask_consent(event: ApprovalNeeded) -> bool:
    """Ask the person at the terminal whether a call may be made."""
    typer.echo(f"{event.name} wants to run with {brief(event.arguments)}: {event.reason}.", err=True)
    return typer.confirm("Allow it?", default=False, err=True)


def can_ask() -> bool:
    """Tell whether a person sits at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
