"""Runs from their start to their end (S83, S96)."""

import asyncio

import pytest

from agent_factory.core.event import ApprovalNeeded, RunWaiting, TaskFinished, TaskStarted, TurnCompleted, TurnFailed
from agent_factory.database.session import Database
from agent_factory.kit.errors import Conflict
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.errors import RunEnded
from agent_factory.runtime.hub import EventId
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.rows import RunNotFound
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import QUICK, Effects, act, becomes, begin, count, drained, ended, flow, pure, until


async def test_a_run_is_queued_worked_on_and_completed(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    """S96: pending, running and completed, each with its time."""
    what = flow(
        pure("greet", "Hello {{ input.name }}", next=["send"]), act("send"), output={"said": "{{ greet.output }}"}
    )
    held = effects.hold("send")
    started = await begin(queue, actor.organization_id, what, {"name": "Ada"})
    pending = await queue.run(actor.organization_id, started.id)
    assert (pending.status, pending.started_at) == ("pending", None)
    await work()
    await effects.entered["send"].wait()
    assert (await queue.run(actor.organization_id, started.id)).status == "running"
    held.set()
    run = await ended(queue, actor.organization_id, started.id)
    assert (run.status, run.result()) == ("completed", {"said": "Hello Ada"})
    assert run.started_at is not None
    assert run.completed_at is not None
    assert run.created_at <= run.started_at <= run.completed_at
    assert run.duration_ms is not None
    assert effects.done == {"send": 1}


async def test_a_task_that_fails_fails_the_run_with_its_path(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    effects.failing.add("send")
    started = await begin(queue, actor.organization_id, flow(act("send")))
    await work()
    run = await ended(queue, actor.organization_id, started.id)
    assert run.status == "failed"
    problem = run.problem()
    assert problem is not None
    assert (problem["code"], problem["path"]) == ("broken", "send")


async def test_a_run_with_the_same_id_is_started_once(queue: Queue, work: Work, actor: Actor, effects: Effects) -> None:
    """S90: what a schedule or a webhook starts twice runs once."""
    own = uuid7()
    what = flow(act("send"))
    started = await asyncio.gather(*(begin(queue, actor.organization_id, what, id=own) for _ in range(5)))
    assert sorted(one.new for one in started) == [False] * 4 + [True]
    await work()
    await ended(queue, actor.organization_id, own)
    assert not (await begin(queue, actor.organization_id, what, id=own)).new
    assert effects.done == {"send": 1}


async def test_the_id_of_a_turn_is_no_workflow_runs(queue: Queue, own_database: Database, actor: Actor) -> None:
    taken = uuid7()
    await own_database.pool.execute(
        "insert into runs (id, organization_id, status) values ($1, $2, 'completed')", taken, actor.organization_id
    )
    with pytest.raises(Conflict):
        await begin(queue, actor.organization_id, flow(act("send")), id=taken)
    with pytest.raises(RunNotFound):
        await queue.run(actor.organization_id, taken)


async def test_nobody_sees_or_stops_the_run_of_another_organisation(
    queue: Queue, actor: Actor, other_actor: Actor
) -> None:
    started = await begin(queue, actor.organization_id, flow(act("send")))
    for attempt in (queue.run, queue.cancel, queue.watch):
        with pytest.raises(RunNotFound):
            await attempt(other_actor.organization_id, started.id)
    assert (await queue.run(actor.organization_id, started.id)).status == "pending"


async def test_a_thousand_runs_of_one_task_are_all_done_once(
    queue: Queue, work: Work, actor: Actor, effects: Effects, own_database: Database
) -> None:
    what = flow(act("send"))
    await work()
    await work()
    await asyncio.gather(*(begin(queue, actor.organization_id, what) for _ in range(1000)))
    await drained(own_database.pool, "select count(*) from runs where status <> 'completed'")
    assert effects.done == {"send": 1000}
    assert set(effects.keys.values()) == {1}
    assert await count(own_database, "select count(*) from run_steps") == 1000
    assert await count(own_database, "select count(*) from run_snapshots") == 1


@pytest.mark.parametrize("here", [True, False], ids=["in the worker's process", "from another process"])
async def test_a_watcher_sees_every_task_in_order_and_the_end(
    queue: Queue, work: Work, actor: Actor, *, here: bool
) -> None:
    tasks = [pure(f"t{i}", i, next=[f"t{i + 1}"]) for i in range(20)]
    started = await begin(queue, actor.organization_id, flow(*tasks, act("t20")))
    watched = await queue.watch(actor.organization_id, started.id)
    await work(queue=queue if here else None)
    told = [pair async for pair in watched]
    assert [event.task for _, event in told if isinstance(event, TaskFinished)] == [f"t{i}" for i in range(21)]
    assert isinstance(told[-1][1], TurnCompleted)
    assert [at for at, _ in told] == sorted({at for at, _ in told})
    assert any(isinstance(event, TaskStarted) for _, event in told) == here


async def test_a_watcher_who_comes_back_gets_what_he_has_not_seen(queue: Queue, work: Work, actor: Actor) -> None:
    """Whatever he saw last, the rest is told in the same order with the same ids."""
    started = await begin(queue, actor.organization_id, flow(*(pure(f"t{i}", i, depends_on=[]) for i in range(5))))
    await work()
    await ended(queue, actor.organization_id, started.id)

    async def after(seen: EventId | None) -> list[EventId]:
        return [at async for at, _ in await queue.watch(actor.organization_id, started.id, seen)]

    whole = await after(None)
    assert len(whole) == 6
    for index, seen in enumerate(whole):
        assert await after(seen) == whole[index + 1 :]


async def test_a_run_of_more_tasks_than_a_feed_keeps_is_told_whole(queue: Queue, work: Work, actor: Actor) -> None:
    items = {"id": "each", "type": "map", "config": {"items": "{{ input }}", "tasks": [pure("one", "{{ item }}")]}}
    started = await begin(queue, actor.organization_id, flow(items), list(range(5000)))
    await work(queue=queue)
    finished = [
        event.path
        async for _, event in await queue.watch(actor.organization_id, started.id)
        if isinstance(event, TaskFinished)
    ]
    rows = await queue.pool.fetch("select path from run_steps where kind = 'task' and path !~ '[]]$' order by ord")
    assert finished == [row["path"] for row in rows]
    assert len(finished) > 5000


async def test_a_pending_run_is_cancelled_and_never_worked_on(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    started = await begin(queue, actor.organization_id, flow(act("send")))
    await queue.cancel(actor.organization_id, started.id)
    await work()
    other = await begin(queue, actor.organization_id, flow(act("other")))
    await ended(queue, actor.organization_id, other.id)
    run = await queue.run(actor.organization_id, started.id)
    assert (run.status, run.problem()) == (
        "cancelled",
        {"code": "run_cancelled", "title": "The run was cancelled", "detail": "Somebody cancelled the run."},
    )
    assert effects.done == {"other": 1}


@pytest.mark.parametrize("here", [True, False], ids=["in the worker's process", "from another process"])
async def test_a_running_run_is_cancelled_wherever_it_is(
    queue: Queue, work: Work, actor: Actor, effects: Effects, own_database: Database, *, here: bool
) -> None:
    effects.hold("send")
    started = await begin(queue, actor.organization_id, flow(act("send", next=["after"]), act("after")))
    worker = await work(queue=queue if here else None)
    await effects.entered["send"].wait()
    await queue.cancel(actor.organization_id, started.id)
    await becomes(lambda: not worker.busy)
    effects.held["send"].set()
    run = await queue.run(actor.organization_id, started.id)
    assert run.status == "cancelled"
    assert effects.done == {"send": 1}
    last = [event async for _, event in await queue.watch(actor.organization_id, started.id)][-1]
    assert isinstance(last, TurnFailed)
    assert last.problem["code"] == "run_cancelled"
    await queue.cancel(actor.organization_id, started.id)  # again changes nothing
    assert await count(own_database, "select count(*) from run_waits") == 0


async def test_what_has_ended_cannot_be_cancelled(queue: Queue, work: Work, actor: Actor) -> None:
    started = await begin(queue, actor.organization_id, flow(act("send")))
    await work()
    await ended(queue, actor.organization_id, started.id)
    with pytest.raises(RunEnded):
        await queue.cancel(actor.organization_id, started.id)


async def test_a_waiting_run_says_what_for_and_is_cancelled_with_its_waits(
    queue: Queue, work: Work, actor: Actor, own_database: Database
) -> None:
    ask = {"id": "ask", "type": "approval", "config": {"title": "Send it?"}}
    started = await begin(queue, actor.organization_id, flow(ask))
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    watched = await queue.watch(actor.organization_id, started.id)
    asked, waiting = [(await anext(watched))[1] for _ in range(2)]
    assert asked == ApprovalNeeded(path="ask/approval", reason="Send it?", name="ask")
    assert isinstance(waiting, RunWaiting)
    assert [wait["kind"] for wait in waiting.waits] == ["approval"]
    await queue.cancel(actor.organization_id, started.id)
    assert (await queue.run(actor.organization_id, started.id)).status == "cancelled"
    assert await count(own_database, "select count(*) from run_waits") == 0
    assert await own_database.pool.fetchval("select status from approvals") == "cancelled"


async def test_what_breaks_in_a_run_is_a_failure_of_that_run_alone(
    queue: Queue, work: Work, actor: Actor, own_database: Database
) -> None:
    broken = await begin(queue, actor.organization_id, flow(act("send")))
    await own_database.pool.execute("update runs set input = null where id = $1", broken.id)
    fine = await begin(queue, actor.organization_id, flow(act("send")))
    await work()
    assert (await ended(queue, actor.organization_id, fine.id)).status == "completed"
    run = await ended(queue, actor.organization_id, broken.id)
    assert run.status == "failed"
    assert (run.problem() or {})["code"] == "not_found"


async def test_settings_bound_what_a_worker_holds(queue: Queue, work: Work, actor: Actor, effects: Effects) -> None:
    effects.hold("send")
    for _ in range(5):
        await begin(queue, actor.organization_id, flow(act("send")))
    worker = await work(QUICK.model_copy(update={"runs": 2}))
    await becomes(lambda: effects.done["send"] >= 2)
    assert worker.busy == 2
    effects.held["send"].set()
    await becomes(lambda: effects.done["send"] >= 5)
