"""Errors at the terminal: one clear line, and the exit code that says what kind it was."""

from collections.abc import Mapping
from typing import Any, ClassVar

from agent_factory.kit.errors import FieldError, Invalid, Kind, Problem

OK, ERROR, USAGE, GATE_FAILED, DENIED, OVER_BUDGET = range(6)
"""The exit codes of every command."""

_CODES = {Kind.UNAUTHENTICATED: DENIED, Kind.FORBIDDEN: DENIED, Kind.BUDGET: OVER_BUDGET}
_SHOWN = 20
"""Faults of one document that fit a screen."""


class CommandFailed(Problem):
    """Something at this machine that stops a command."""

    kind: ClassVar[Kind] = Kind.CONFLICT
    code = "command_failed"
    title = "The command failed"


class NoDatabase(CommandFailed):
    """No database is there to work on."""

    kind = Kind.UNAVAILABLE
    code = "no_database"
    title = "No database runs"


class Refused(Invalid):
    """What the command was given cannot be used: a usage error, with a pointer for every fault."""


class Told(Problem):
    """A problem that a server reported; it keeps that problem's own code and kind."""

    def __init__(self, report: Mapping[str, Any], kind: Kind = Kind.INTERNAL) -> None:
        """Read the members of a problem document (RFC 9457)."""
        named: list[Mapping[str, Any]] = report.get("errors") or []
        faults = [FieldError(str(e.get("pointer", "")), str(e.get("detail", ""))) for e in named]
        super().__init__(str(report.get("detail") or report.get("title") or "The request failed."), errors=faults)
        self.reported_code = str(report.get("code") or "internal_error")
        self.reported_kind = kind


def exit_code(problem: Problem) -> int:
    """Map a problem's kind to the exit code of the process."""
    if isinstance(problem, Refused):
        return USAGE
    kind = problem.reported_kind if isinstance(problem, Told) else problem.kind
    return _CODES.get(kind, ERROR)


def lines(problem: Problem) -> list[str]:
    """Write a problem for a person: the sentence, then each fault with its pointer."""
    code = problem.reported_code if isinstance(problem, Told) else problem.code
    out = [f"error: {problem.detail} [{code}]"]
    out += [f"  {e.pointer or '/'}: {e.detail}" for e in problem.errors[:_SHOWN]]
    if len(problem.errors) > _SHOWN:
        out.append(f"  and {len(problem.errors) - _SHOWN} more")
    return out
