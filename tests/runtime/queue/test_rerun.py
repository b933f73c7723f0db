"""Runs once more: resumed, forked and replayed (S86)."""

import random
from typing import Any

import pytest

from agent_factory.core.workflow import Flow
from agent_factory.kit.errors import NotFound
from agent_factory.runtime.errors import RunEnded
from agent_factory.runtime.flow.outcome import Completed, Failed
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.rerun import Fork, RunNotEnded, fork, replayed, resume
from agent_factory.runtime.queue.rows import read_entries, read_paths
from agent_factory.runtime.rows import RunNotFound
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import Effects, act, begin, ended, flow, pure, until

CHAIN = flow(act("a", next=["b"]), act("b", next=["c"]), act("c"), output="{{ c.output }}")


async def test_a_failed_run_goes_on_from_the_task_that_failed(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    effects.failing.add("b")
    started = await begin(queue, actor.organization_id, CHAIN)
    await work()
    assert (await ended(queue, actor.organization_id, started.id)).status == "failed"
    effects.failing.clear()
    await resume(queue, actor.organization_id, started.id, by="usr_1")
    run = await ended(queue, actor.organization_id, started.id)
    assert (run.status, run.error, run.result()) == ("completed", None, {"did": "c"})
    assert effects.done == {"a": 1, "b": 2, "c": 1}
    marks = [one for one in await read_paths(queue.pool, actor.organization_id, started.id) if one.kind == "resume"]
    assert [mark.name for mark in marks] == ["failed"]


async def test_whoever_has_seen_the_failure_sees_what_comes_after_the_resume(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    effects.failing.add("b")
    started = await begin(queue, actor.organization_id, CHAIN)
    await work()
    seen = [pair async for pair in await queue.watch(actor.organization_id, started.id)]
    effects.failing.clear()
    await resume(queue, actor.organization_id, started.id)
    fresh = [pair async for pair in await queue.watch(actor.organization_id, started.id, seen[-1][0])]
    assert [getattr(event, "path", type(event).__name__) for _, event in fresh] == ["b", "c", "TurnCompleted"]


async def test_a_failed_item_of_a_map_is_done_again_alone(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    each = {
        "id": "each",
        "type": "map",
        "config": {"items": "{{ input }}", "tasks": [act("one", "/{{ item }}")], "concurrency": 1},
    }
    effects.failing.add("c")
    started = await begin(queue, actor.organization_id, flow(each), ["a", "b", "c", "d"])
    await work()
    run = await ended(queue, actor.organization_id, started.id)
    assert (run.problem() or {})["path"] == "each[2]/one"
    effects.failing.clear()
    await resume(queue, actor.organization_id, started.id)
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    assert effects.done == {"a": 1, "b": 1, "c": 2, "d": 1}


async def test_what_a_try_has_undone_is_done_again(queue: Queue, work: Work, actor: Actor, effects: Effects) -> None:
    undo = {"type": "http", "config": {"url": "/undo"}}
    attempt = {
        "id": "attempt",
        "type": "try",
        "config": {"tasks": [act("book", compensate=undo, next=["pay"]), act("pay")]},
    }
    effects.failing.add("pay")
    started = await begin(queue, actor.organization_id, flow(act("before", next=["attempt"]), attempt))
    await work()
    assert (await ended(queue, actor.organization_id, started.id)).status == "failed"
    assert effects.done == {"before": 1, "book": 1, "pay": 1, "undo": 1}
    effects.failing.clear()
    await resume(queue, actor.organization_id, started.id)
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    assert effects.done == {"before": 1, "book": 2, "pay": 2, "undo": 1}


async def test_a_cancelled_run_goes_on_where_it_was(queue: Queue, work: Work, actor: Actor, effects: Effects) -> None:
    effects.hold("b")
    started = await begin(queue, actor.organization_id, CHAIN)
    await work()
    await effects.entered["b"].wait()
    await queue.cancel(actor.organization_id, started.id)
    effects.held["b"].set()
    await resume(queue, actor.organization_id, started.id)
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    assert (effects.done["a"], effects.done["c"]) == (1, 1)


async def test_a_cancelled_run_asks_again_for_what_it_waited_for(queue: Queue, work: Work, actor: Actor) -> None:
    asks = {"id": "ask", "type": "approval", "config": {"title": "Send it?"}}
    started = await begin(queue, actor.organization_id, flow(asks))
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    await queue.cancel(actor.organization_id, started.id)
    await resume(queue, actor.organization_id, started.id)
    await until(queue, actor.organization_id, started.id, "waiting")
    assert await queue.pool.fetchval("select count(*) from run_waits") == 1
    assert await queue.pool.fetchval("select status from approvals") == "pending"


async def test_only_what_has_ended_badly_is_resumed(
    queue: Queue, work: Work, actor: Actor, other_actor: Actor, effects: Effects
) -> None:
    started = await begin(queue, actor.organization_id, CHAIN)
    with pytest.raises(RunNotEnded):
        await resume(queue, actor.organization_id, started.id)
    with pytest.raises(RunNotFound):
        await resume(queue, other_actor.organization_id, started.id)
    await work()
    await ended(queue, actor.organization_id, started.id)
    with pytest.raises(RunEnded):
        await resume(queue, actor.organization_id, started.id)
    assert effects.done == {"a": 1, "b": 1, "c": 1}


async def test_a_fork_does_only_the_task_and_what_follows_from_it(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    what = flow(act("a", next=["b", "x"]), act("b", next=["c"]), act("c"), act("x"))
    started = await begin(queue, actor.organization_id, what)
    await work()
    await ended(queue, actor.organization_id, started.id)
    forked = await fork(queue, Fork(organization_id=actor.organization_id, run_id=started.id, task="b"))
    run = await ended(queue, actor.organization_id, forked.id)
    assert (run.status, run.forked_from, run.trigger) == ("completed", started.id, "fork")
    assert effects.done == {"a": 1, "b": 2, "c": 2, "x": 1}
    assert len(effects.keys) == 6, "the tasks of the fork have keys of their own"


async def test_a_fork_with_another_definition_does_what_differs_too(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    """S86: an edited prompt, model or anything else of any task."""
    started = await begin(queue, actor.organization_id, CHAIN)
    await work()
    await ended(queue, actor.organization_id, started.id)
    other = flow(act("a", next=["b"]), act("b", "/better", next=["c"]), act("c"), output="{{ b.output }}")
    forked = await fork(queue, Fork(organization_id=actor.organization_id, run_id=started.id, task="c", flow=other))
    run = await ended(queue, actor.organization_id, forked.id)
    assert run.result() == {"did": "better"}
    assert effects.done == {"a": 1, "b": 1, "c": 2, "better": 1}


async def test_a_fork_with_another_input_sees_it_from_the_task_on(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    what = flow(
        pure("first", "{{ input }}", next=["second"]),
        pure("second", "{{ input }}"),
        output=["{{ first.output }}", "{{ second.output }}"],
    )
    started = await begin(queue, actor.organization_id, what, "old")
    await work()
    await ended(queue, actor.organization_id, started.id)
    forked = await fork(
        queue, Fork(organization_id=actor.organization_id, run_id=started.id, task="second", input="new")
    )
    assert (await ended(queue, actor.organization_id, forked.id)).result() == ["old", "new"]


async def test_a_fork_of_what_is_not_there_is_refused(
    queue: Queue, work: Work, actor: Actor, other_actor: Actor
) -> None:
    started = await begin(queue, actor.organization_id, CHAIN)
    with pytest.raises(NotFound, match="no task 'z'"):
        await fork(queue, Fork(organization_id=actor.organization_id, run_id=started.id, task="z"))
    with pytest.raises(RunNotFound):
        await fork(queue, Fork(organization_id=other_actor.organization_id, run_id=started.id, task="a"))


def layers(dice: random.Random) -> tuple[Flow, list[str]]:
    """Make a random workflow of pure tasks, some in a map, whose values depend on all that lead to them."""
    names = [f"t{i}" for i in range(dice.randint(3, 9))]
    tasks: list[dict[str, Any]] = []
    for index, name in enumerate(names):
        before = dice.sample(names[:index], min(index, dice.randint(0, 3)))
        value = {"own": f"{name} {{{{ input }}}}", **{one: f"{{{{ {one}.output }}}}" for one in before}}
        task = pure(name, value, depends_on=before)
        if dice.random() < 0.3:
            inner = pure(f"in_{name}", {"item": "{{ item }}", **value})
            config = {"items": [1, 2, 3], "tasks": [inner]}
            task = {"id": name, "type": "map", "depends_on": before, "config": config}
        tasks.append(task)
    return flow(*tasks), names


async def test_a_fork_comes_to_what_a_fresh_run_comes_to(queue: Queue, work: Work, actor: Actor) -> None:
    """For random workflows and every one of their tasks: nodes downstream are as in a run from the start."""
    dice = random.Random(20261121)  # noqa: S311 - a repeatable mixture, no secret
    await work()
    for _ in range(6):
        what, names = layers(dice)
        first = await begin(queue, actor.organization_id, what, "same")
        whole = (await ended(queue, actor.organization_id, first.id)).result()
        expected = await outputs(queue, actor, first.id)
        for name in names:
            forked = await fork(queue, Fork(organization_id=actor.organization_id, run_id=first.id, task=name))
            assert (await ended(queue, actor.organization_id, forked.id)).result() == whole
            assert await outputs(queue, actor, forked.id) == expected


async def outputs(queue: Queue, actor: Actor, run_id: Any) -> dict[str, bytes]:
    known = await read_paths(queue.pool, actor.organization_id, run_id)
    entries = await read_entries(queue.pool, actor.organization_id, run_id, [one.path for one in known])
    return {path: bytes(entry.output) for path, entry in entries.items()}


async def test_a_replay_calls_nothing_and_comes_to_the_same(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    started = await begin(queue, actor.organization_id, CHAIN)
    await work()
    await ended(queue, actor.organization_id, started.id)
    replay = await replayed(queue, actor.organization_id, started.id)
    assert (replay.same, replay.end) == (True, Completed({"did": "c"}))
    assert effects.done == {"a": 1, "b": 1, "c": 1}


async def test_a_replay_of_a_failed_run_fails_in_the_same_way(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    effects.failing.add("b")
    started = await begin(queue, actor.organization_id, CHAIN)
    await work()
    await ended(queue, actor.organization_id, started.id)
    assert (await replayed(queue, actor.organization_id, started.id)).same


async def test_a_replay_tells_where_the_journal_has_a_hole(queue: Queue, work: Work, actor: Actor) -> None:
    started = await begin(queue, actor.organization_id, CHAIN)
    await work()
    await ended(queue, actor.organization_id, started.id)
    await queue.pool.execute("delete from run_steps where path = 'b'")
    replay = await replayed(queue, actor.organization_id, started.id)
    assert not replay.same
    assert isinstance(replay.end, Failed)
    assert (replay.end.path, replay.end.problem["code"]) == ("b", "not_recorded")
