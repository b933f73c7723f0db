"""Errors at the terminal."""

import typer
from typer.testing import CliRunner

from agent_factory.cli.commands import Commands
from agent_factory.cli.problems import Told, exit_code, lines
from agent_factory.kit.errors import FieldError, Invalid, Kind, Problem


class TooDear(Problem):
    kind = Kind.BUDGET
    code = "too_dear"
    title = "Too dear"


class Forbidden(Problem):
    kind = Kind.FORBIDDEN
    code = "forbidden"
    title = "Forbidden"


def test_kinds_become_the_documented_exit_codes() -> None:
    assert exit_code(Problem("x")) == 1
    assert exit_code(Invalid("x")) == 1
    assert exit_code(Forbidden()) == 4
    assert exit_code(TooDear()) == 5


def test_a_reported_problem_keeps_the_code_and_kind_of_the_server() -> None:
    told = Told({"code": "quota_exceeded", "detail": "No more today."}, Kind.BUDGET)
    assert exit_code(told) == 5
    assert lines(told) == ["error: No more today. [quota_exceeded]"]


def test_a_report_that_is_no_problem_document_still_gives_a_sentence() -> None:
    assert lines(Told({})) == ["error: The request failed. [internal_error]"]


def test_each_fault_is_shown_with_its_pointer_up_to_a_screenful() -> None:
    faults = [FieldError(f"/tools/{n}", "no such tool") for n in range(25)]
    shown = lines(Invalid("25 faults.", errors=faults))
    assert shown[:2] == ["error: 25 faults. [validation_failed]", "  /tools/0: no such tool"]
    assert shown[-1] == "  and 5 more"


def test_a_fault_of_the_whole_document_is_shown_at_the_root() -> None:
    assert lines(Invalid("Bad.", errors=[FieldError("", "not an object")]))[1] == "  /: not an object"


def _app() -> typer.Typer:
    app = typer.Typer(cls=Commands)

    @app.callback()
    def options(debug: bool = False) -> None:
        """Take the flag."""

    @app.command()
    def fail() -> None:
        raise TooDear("It costs 3 USD, and 2 are left.")

    return app


def test_a_command_that_raises_a_problem_prints_one_line_and_no_traceback() -> None:
    result = CliRunner().invoke(_app(), ["fail"])
    assert result.exit_code == 5
    assert result.stderr == "error: It costs 3 USD, and 2 are left. [too_dear]\n"
    assert result.stdout == ""


def test_debug_adds_the_traceback() -> None:
    result = CliRunner().invoke(_app(), ["--debug", "fail"])
    assert result.exit_code == 5
    assert "Traceback" in result.stderr
    assert "raise TooDear" in result.stderr
