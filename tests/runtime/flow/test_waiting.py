"""Waits, approvals and long pauses: what waits holds nothing, and goes on from the journal."""

import asyncio
from typing import Any

import pytest

from agent_factory.core.event import ApprovalNeeded
from agent_factory.kit.clock import now
from agent_factory.runtime.flow.outcome import Completed, Waiting
from tests.runtime.flow.parts import Away, World, seconds_from, task, tool


async def test_a_long_wait_suspends_the_run_and_its_timer_lets_it_go_on() -> None:
    world = World()
    tasks = [tool("a", next=["w"]), task("w", "wait", {"seconds": 3600}, next=["b"]), tool("b")]
    start = now()
    assert await world.waiting(tasks) == ["w/wait"]
    (wait,) = world.waits
    assert wait.kind == "timer"
    assert 3590 < seconds_from(start, wait.wake_at) < 3700
    assert world.called == ["a"]
    await world.fire("w/wait")
    assert isinstance(await world.run(tasks), Completed)
    assert world.called == ["a", "b"]


async def test_a_short_wait_is_spent_in_the_process() -> None:
    world = World()
    assert await world.output([task("w", "wait", {"seconds": 0.001})]) is None
    assert world.waits == []


async def test_a_time_that_has_passed_is_no_wait() -> None:
    assert await World().output([task("w", "wait", {"until": "2001-01-01T00:00:00Z"})]) is None


@pytest.mark.parametrize("until", ["soon", "2050-01-01T00:00:00", "9999-01-01T00:00:00Z", ""])
async def test_a_time_that_is_none_or_too_far_away_fails_the_task(until: str) -> None:
    error = await World().error([task("w", "wait", {"until": "{{ input }}"})], until)
    assert (error["code"], error["path"]) == ("task_failed", "w")


async def test_a_wait_until_a_time_wakes_then() -> None:
    world = World()
    when = f"{now().year + 1}-01-01T00:00:00+00:00"
    if seconds_from(now(), when) > 366 * 86_400 - 100:
        pytest.skip("the first hours of a leap year")
    end = await world.run([task("w", "wait", {"until": when})])
    assert isinstance(end, Waiting)
    assert seconds_from(now(), end.waits[0].wake_at) == pytest.approx(seconds_from(now(), when), abs=5)


async def test_an_event_brings_its_data_and_its_condition_travels_with_its_values() -> None:
    world = World()
    event = {"type": "order.paid", "match": "{{ event.order == a.output }}"}
    tasks = [
        tool("a", arguments={"value": 42}, next=["w"]),
        task("w", "wait", {"event": event, "deadline": 60}, next=["b"]),
        tool("b", arguments={"value": "{{ w.output.amount }}"}),
    ]
    await world.waiting(tasks)
    (wait,) = world.waits
    assert (wait.kind, wait.event_type) == ("event", "order.paid")
    assert wait.data["match"] == "{{ event.order == a.output }}"
    assert wait.data["values"]["a"]["output"] == 42
    assert wait.wake_at is not None
    await world.fire("w/wait", {"order": 42, "amount": 7})
    assert await world.output(tasks) == 7


async def test_an_event_that_does_not_come_in_time_fails_the_task() -> None:
    world = World()
    tasks = [task("w", "wait", {"event": {"type": "order.paid"}, "deadline": 60})]
    await world.waiting(tasks)
    await world.fire("w/wait", overdue=True)
    assert (await world.error(tasks))["code"] == "wait_overdue"


class TestApproval:
    tasks = [  # noqa: RUF012 - never changed
        task(
            "ok",
            "approval",
            {
                "title": "Pay {{ input.sum }}?",
                "details": {"sum": "{{ input.sum }}"},
                "roles": ["team_lead"],
                "deadline": 60,
            },
            next=["pay"],
        ),
        tool("pay", arguments={"value": "{{ ok.output.by }}"}),
    ]

    async def test_people_are_asked_once_and_the_run_goes_on_with_their_decision(self) -> None:
        world = World()
        assert await world.waiting(self.tasks, {"sum": 5}) == ["ok/approval"]
        assert await world.waiting(self.tasks, {"sum": 5}) == ["ok/approval"]
        (wait,) = world.waits
        assert wait.data == {
            "name": "ok",
            "title": "Pay 5?",
            "details": {"sum": 5},
            "roles": ["team_lead"],
            "users": [],
            "default": None,
        }
        asked = [e for e in world.events if isinstance(e, ApprovalNeeded)]
        assert [(e.path, e.reason) for e in asked] == [("ok/approval", "Pay 5?")]
        await world.fire("ok/approval", {"approved": True, "by": "usr_1", "comment": "fine"})
        assert await world.output(self.tasks, {"sum": 5}) == "usr_1"
        assert world.outcome("ok").output == {"approved": True, "by": "usr_1", "comment": "fine"}

    async def test_a_denial_fails_the_task(self) -> None:
        world = World()
        await world.waiting(self.tasks, {"sum": 5})
        await world.fire("ok/approval", {"approved": False, "by": "usr_1", "comment": "too much"})
        error = await world.error(self.tasks, {"sum": 5})
        assert (error["code"], error["detail"]) == ("approval_denied", "usr_1 did not approve: too much")
        assert world.called == []

    @pytest.mark.parametrize(
        ("default", "code"), [("approve", None), ("deny", "approval_denied"), (None, "wait_overdue")]
    )
    async def test_after_the_deadline_the_default_decides(self, default: str | None, code: str | None) -> None:
        world = World()
        tasks = [task("ok", "approval", {"title": "?", "deadline": 60, "default": default})]
        await world.waiting(tasks)
        await world.fire("ok/approval", overdue=True)
        if code is None:
            assert (await world.output(tasks))["by"] == "deadline"
        else:
            assert (await world.error(tasks))["code"] == code


async def test_what_can_run_beside_a_wait_runs_before_the_run_waits() -> None:
    world = World()
    tasks = [
        task("ok", "approval", {"title": "?"}, next=["end"]),
        tool("a", depends_on=[], next=["b"]),
        tool("b", next=["end"]),
        tool("end"),
    ]
    assert await world.waiting(tasks) == ["ok/approval"]
    assert world.called == ["a", "b"]


async def test_waits_of_branches_items_and_subworkflows_are_told_together() -> None:
    world = World()
    ask = task("ask", "approval", {"title": "?"})
    branches = {
        "one": [ask],
        "two": [task("m", "map", {"items": [1, 2], "concurrency": 1, "tasks": [task("w", "wait", {"seconds": 99})]})],
        "three": [tool("a")],
    }
    tasks = [task("p", "parallel", {"branches": branches})]
    every = ["p/one/ask/approval", "p/two/m[0]/w/wait", "p/two/m[1]/w/wait"]
    assert await world.waiting(tasks) == every
    assert world.called == ["p/three/a"]
    for path in every:
        await world.fire(path, {"approved": True})
    assert isinstance(await world.run(tasks), Completed)
    assert world.called == ["p/three/a"]


async def test_a_failure_beside_a_wait_fails_the_run() -> None:
    tasks = [task("ok", "approval", {"title": "?"}), tool("bad", "fail", depends_on=[])]
    assert (await World().error(tasks))["path"] == "bad"


async def test_the_clock_of_a_timeout_goes_on_while_a_container_waits() -> None:
    world = World()
    inside = {"tasks": [task("ok", "approval", {"title": "?"})], "catch": [tool("c", arguments={"value": "never"})]}
    tasks = [task("t", "try", inside, timeout=600)]
    assert await world.waiting(tasks) == ["t#1/timeout", "t/ok/approval"]
    await world.fire("t#1/timeout")
    error = await world.error(tasks)
    assert (error["code"], error["path"]) == ("task_timeout", "t")


async def test_a_long_pause_before_a_retry_is_a_timer() -> None:
    """S88."""
    fails = iter([True, True, False])

    def flaky() -> str:
        if next(fails):
            raise Away("later")
        return "done"

    world = World({"flaky": flaky})
    tasks = [tool("a", "flaky", retry={"attempts": 3, "backoff": 60, "factor": 3, "jitter": False})]
    start = now()
    assert await world.waiting(tasks) == ["a#1/pause"]
    assert await world.waiting(tasks) == ["a#1/pause"]
    assert world.called == ["a"]
    await world.fire("a#1/pause")
    assert await world.waiting(tasks) == ["a#2/pause"]
    assert [round(seconds_from(start, w.wake_at), -1) for w in world.waits] == [60, 180]
    await world.fire("a#2/pause")
    assert await world.output(tasks) == "done"
    assert world.called == ["a", "a", "a"]


async def test_a_cancelled_run_stops_what_runs_and_raises_as_usual() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    world = World({"hang": hang})
    config = {"items": [1, 2], "tasks": [tool("a", "hang")]}
    run = asyncio.create_task(world.run([task("m", "map", config), tool("b", "hang", depends_on=[])]))
    await entered.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert left.is_set()
    assert world.recorded() == []


async def test_two_thousand_waiting_items_are_one_wait_each() -> None:
    world = World()
    config: dict[str, Any] = {"items": "{{ range(2000) }}", "tasks": [task("w", "wait", {"seconds": 99})]}
    end = await world.run([task("m", "map", config)])
    assert isinstance(end, Waiting)
    assert len({w.path for w in end.waits}) == 2000
