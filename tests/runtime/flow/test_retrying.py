"""Attempts: retries by the class of error, pauses, timeouts, keys (S86, S88)."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.event import TaskRetrying
from agent_factory.core.journal import Entry, MemoryJournal
from agent_factory.core.task import TaskRetry
from agent_factory.kit.errors import Conflict, Problem, Unavailable
from agent_factory.runtime.flow.retrying import _delay
from tests.runtime.flow.parts import Away, Broken, World, task, tool

AT_ONCE = {"attempts": 3, "backoff": 0}


def flaky(*problems: Problem) -> Callable[..., Any]:
    left: Iterator[Problem] = iter(problems)

    def run(**arguments: Any) -> Any:
        problem = next(left, None)
        if problem is not None:
            raise problem
        return arguments.get("value", "done")

    return run


async def test_what_may_pass_by_itself_is_tried_again() -> None:
    """S88."""
    world = World({"flaky": flaky(Away("1"), Away("2"))})
    assert await world.output([tool("a", "flaky", retry=AT_ONCE)]) == "done"
    assert world.called == ["a", "a", "a"]
    assert set(world.keys) == {"run_1/a"}
    assert [(e.code, e.attempt) for e in world.events if isinstance(e, TaskRetrying)] == [("away", 1), ("away", 2)]
    assert world.recorded() == ["a#1", "a#2", "a"]
    assert world.outcome("a#2").error == {
        "code": "away",
        "title": "Away",
        "detail": "2",
        "kind": "unavailable",
        "retryable": True,
        "path": "a",
    }


async def test_attempts_run_out() -> None:
    world = World({"flaky": flaky(Away("1"), Away("2"), Away("3"))})
    assert (await world.error([tool("a", "flaky", retry=AT_ONCE)]))["detail"] == "3"
    assert world.recorded() == ["a#1", "a#2", "a"]


async def test_what_will_not_pass_is_not_tried_again() -> None:
    world = World()
    await world.error([tool("a", "fail", retry=AT_ONCE)])
    assert world.called == ["a"]


@pytest.mark.parametrize(("on", "calls"), [(["broken"], 2), (["invalid"], 2), (["away"], 1), (["unavailable"], 1)])
async def test_a_retry_can_name_codes_and_kinds(on: list[str], calls: int) -> None:
    """S88."""
    world = World({"flaky": flaky(Broken("once"))})
    await world.run([tool("a", "flaky", retry={**AT_ONCE, "on": on})])
    assert len(world.called) == calls


async def test_a_restart_does_not_count_anew() -> None:
    world = World({"flaky": flaky(Away("1"))})
    tasks = [tool("a", "flaky", retry={"attempts": 2, "backoff": 500})]
    await world.waiting(tasks)
    await world.fire("a#1/pause")
    world.tools["flaky"] = flaky(Away("2"), Away("3"))
    assert (await world.error(tasks))["detail"] == "2"


async def test_a_container_is_done_anew_as_a_whole() -> None:
    world = World({"flaky": flaky(Away("1"))})
    config = {"branches": {"x": [tool("a", next=["b"]), tool("b", "flaky")]}}
    tasks = [task("p", "parallel", config, retry=AT_ONCE)]
    assert await world.output(tasks) == {"x": "done"}
    assert world.called == ["p/x/a", "p/x/b", "p#2/x/a", "p#2/x/b"]
    world.called.clear()
    assert await world.output(tasks) == {"x": "done"}
    assert world.called == []


@given(st.integers(1, 50), st.floats(0, 100), st.floats(1, 10), st.floats(0, 1000))
def test_pauses_grow_up_to_the_most_and_spread_over_the_upper_half(
    n: int, backoff: float, factor: float, most: float
) -> None:
    policy = TaskRetry(backoff=backoff, factor=factor, max_backoff=most)
    full = _delay(policy.model_copy(update={"jitter": False}), n)
    assert full == min(backoff * factor ** (n - 1), most)
    assert full / 2 <= _delay(policy, n) <= full


async def test_a_task_that_takes_too_long_is_stopped() -> None:
    stopped = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    world = World({"hang": hang})
    error = await world.error([tool("a", "hang", timeout=0.01)])
    assert (error["code"], error["retryable"]) == ("task_timeout", True)
    assert stopped.is_set()


async def test_a_timeout_is_for_each_attempt() -> None:
    calls = 0

    async def slow_once() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        return "done"

    world = World({"slow": slow_once})
    assert await world.output([tool("a", "slow", timeout=0.01, retry=AT_ONCE)]) == "done"


async def test_a_container_that_takes_too_long_stops_what_is_inside() -> None:
    cancelled: list[str] = []

    async def hang(value: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(value)

    world = World({"hang": hang})
    config = {"items": ["x", "y"], "tasks": [tool("a", "hang", {"value": "{{ item }}"})]}
    error = await world.error([task("m", "map", config, timeout=0.01)])
    assert error["path"] == "m"
    assert sorted(cancelled) == ["x", "y"]


async def test_a_tool_that_breaks_in_an_unforeseen_way_fails_its_task_without_telling_its_secrets() -> None:
    def explode() -> None:
        raise RuntimeError("password=hunter2")

    error = await World({"explode": explode}).error([tool("a", "explode")])
    assert error["code"] == "task_broken"
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("value", [object(), {"x": object()}, "\ud800"])
async def test_an_output_that_is_no_json_fails_the_task(value: Any) -> None:
    def give() -> Any:
        return value

    assert (await World({"give": give}).error([tool("a", "give")]))["code"] == "task_failed"


async def test_later_tasks_see_an_output_as_a_restart_would() -> None:
    def give() -> Any:
        return {"pair": (1, 2), "nothing": float("nan")}

    world = World({"give": give})
    tasks = [
        tool("a", "give", next=["b"]),
        tool("b", arguments={"value": "{{ [a.output.pair + [3], a.output.nothing] }}"}),
    ]
    assert await world.output(tasks) == [[1, 2, 3], None]


async def test_a_value_that_grows_ever_deeper_fails_its_task() -> None:
    config = {"max_iterations": 10_000, "tasks": [tool("a")], "output": "{{ [last(results)] }}"}
    error = await World().error([task("l", "loop", config)])
    assert (error["code"], error["path"]) == ("task_failed", "l")


class Closed(MemoryJournal):
    """A journal that another process has taken over after so many rows."""

    def __init__(self, rows: int, problem: Problem) -> None:
        super().__init__()
        self.left = rows
        self.problem = problem

    async def put(self, entry: Entry, *, durable: bool) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.problem
        await super().put(entry, durable=durable)


@pytest.mark.parametrize("problem", [Conflict("taken over"), Unavailable("the database is away")])
@pytest.mark.parametrize("rows", range(6))
async def test_a_journal_that_cannot_be_written_to_ends_the_interpretation_not_a_task(
    rows: int, problem: Problem
) -> None:
    """No `try`, `on_error` or retry takes it for a failure of the workflow."""
    world = World()
    world.journal = Closed(rows, problem)
    inner = [tool("a", on_error="continue", retry=AT_ONCE, next=["b"]), tool("b")]
    tasks = [
        task(
            "t", "try", {"tasks": inner, "catch": [tool("c")], "finally": [tool("f")]}, on_error="continue", next=["m"]
        ),
        task("m", "map", {"items": [1], "on_item_error": "collect", "tasks": [tool("x")]}, next=["z"]),
        tool("z"),
    ]
    with pytest.raises(type(problem), match=str(problem)):
        await world.run(tasks)
    assert "t/catch/c" not in world.called


async def test_a_part_of_ours_that_is_away_interrupts_the_run_and_fails_no_task() -> None:
    """A task that looks something up while the database is away, say; the run goes on when it is back."""

    def look_up(**_arguments: Any) -> None:
        raise Unavailable("The database does not answer.")

    world = World({"look_up": look_up})
    with pytest.raises(Unavailable):
        await world.run([tool("a", "look_up", retry=AT_ONCE)])
    assert world.journal.get("a") is None
    world.tools["look_up"] = flaky()
    assert await world.output([tool("a", "look_up", arguments={"value": 1}, retry=AT_ONCE)]) == 1
