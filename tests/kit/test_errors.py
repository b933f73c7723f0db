"""Deliberate errors."""

import importlib
import pkgutil

import agent_factory
from agent_factory.kit.errors import Conflict, FieldError, Invalid, Kind, Problem


def problems() -> list[type[Problem]]:
    for module in pkgutil.walk_packages(agent_factory.__path__, "agent_factory."):
        if not module.name.startswith(("agent_factory.cli", "agent_factory.database.migrations")):
            importlib.import_module(module.name)
    found: list[type[Problem]] = []
    todo: list[type[Problem]] = [Problem]
    while todo:
        found.append(todo[-1])
        todo += todo.pop().__subclasses__()
    return [p for p in found if p.__module__.startswith("agent_factory.")]


def test_a_problem_without_a_sentence_says_its_title() -> None:
    assert str(Conflict()) == Conflict().detail == "Conflict"
    assert str(Conflict("Somebody was faster.")) == "Somebody was faster."


def test_what_is_stored_with_a_run_has_code_title_detail_and_faults() -> None:
    problem = Invalid("Mend it.", errors=[FieldError("/a", "wrong")], retry_after=3)
    assert problem.as_dict() == {
        "code": "validation_failed",
        "title": "Validation failed",
        "detail": "Mend it.",
        "errors": [{"pointer": "/a", "detail": "wrong"}],
    }
    assert problem.retry_after == 3
    assert "errors" not in Conflict().as_dict()


def test_every_problem_of_the_product_has_a_kind_a_stable_code_and_a_title() -> None:
    for problem in problems():
        assert isinstance(problem.kind, Kind), problem
        assert problem.code.isidentifier(), problem
        assert problem.code == problem.code.lower(), problem
        assert problem.title[0].isupper(), problem
        assert not problem.title.endswith("."), problem


def test_no_two_unrelated_problems_share_a_code() -> None:
    seen: dict[str, type[Problem]] = {}
    for problem in problems():
        other = seen.setdefault(problem.code, problem)
        assert issubclass(problem, other) or issubclass(other, problem), (problem, other)
