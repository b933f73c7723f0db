"""Runs that wait: for a time, a person or an event, and hold nothing meanwhile (S83, S90)."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from agent_factory.database.session import Database
from agent_factory.kit.clock import now, rfc3339
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.errors import RunNotWaiting
from agent_factory.runtime.queue.events import Event
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.waits import Decision
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import Effects, act, begin, count, drained, ended, flow, pure, until

YES = Decision(approved=True, by="usr_1", comment="fine")


def ask(**config: Any) -> dict[str, Any]:
    return {"id": "ask", "type": "approval", "config": {"title": "Send it?", **config}, "next": ["send"]}


def wait(task_id: str = "pause", **config: Any) -> dict[str, Any]:
    return {"id": task_id, "type": "wait", "config": config, "next": ["send"]}


async def test_a_run_that_waits_holds_no_worker_and_goes_on_when_its_time_has_come(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    worker = await work()
    at = now() + timedelta(seconds=1.5)
    started = await begin(queue, actor.organization_id, flow(wait(until=rfc3339(at)), act("send")))
    await until(queue, actor.organization_id, started.id, "waiting")
    assert worker.busy == 0
    assert effects.done == {}
    run = await ended(queue, actor.organization_id, started.id)
    assert run.status == "completed"
    assert run.completed_at is not None
    assert run.completed_at >= at
    assert effects.done == {"send": 1}


async def test_a_timer_fires_although_whoever_set_it_is_gone(
    queue: Queue, work: Work, actor: Actor, own_database: Database, effects: Effects
) -> None:
    started = await begin(queue, actor.organization_id, flow(wait(seconds=3600), act("send")))
    first = await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    await first.close()
    await own_database.pool.execute("update run_waits set wake_at = now()")
    await work()
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    assert effects.done == {"send": 1}


async def test_a_hundred_timers_that_are_due_together_each_wake_their_run_once(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    at = rfc3339(now() + timedelta(seconds=2))
    what = flow(wait(until=at), act("send"))
    await work()
    await work()
    started = await asyncio.gather(*(begin(queue, actor.organization_id, what) for _ in range(100)))
    for one in started:
        assert (await ended(queue, actor.organization_id, one.id)).status == "completed"
    assert effects.done == {"send": 100}
    assert set(effects.keys.values()) == {1}


async def test_what_was_done_before_the_wait_is_not_done_again(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    started = await begin(queue, actor.organization_id, flow(act("first", next=["ask"]), ask(), act("send")))
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    await queue.decide(actor.organization_id, started.id, "ask/approval", YES)
    run = await ended(queue, actor.organization_id, started.id)
    assert run.status == "completed"
    assert effects.done == {"first": 1, "send": 1}


async def test_a_person_approves_and_the_run_knows_who(
    queue: Queue, work: Work, actor: Actor, own_database: Database
) -> None:
    what = flow(ask(roles=["owner"], details={"amount": 5}), act("send"), output="{{ ask.output }}")
    started = await begin(queue, actor.organization_id, what)
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    [row] = await own_database.pool.fetch("select * from approvals")
    assert (row["run_id"], row["path"], row["title"], row["status"]) == (
        started.id,
        "ask/approval",
        "Send it?",
        "pending",
    )
    assert row["roles"] == ["owner"]
    await queue.decide(
        actor.organization_id, started.id, row["path"], Decision(approved=True, by="usr_1", user_id=actor.user_id)
    )
    run = await ended(queue, actor.organization_id, started.id)
    assert run.result() == {"approved": True, "by": "usr_1", "comment": ""}
    [row] = await own_database.pool.fetch("select * from approvals")
    assert (row["status"], row["decided_by"]) == ("approved", actor.user_id)
    assert await count(own_database, "select count(*) from run_waits") == 0


async def test_a_denial_fails_the_run(queue: Queue, work: Work, actor: Actor, effects: Effects) -> None:
    started = await begin(queue, actor.organization_id, flow(ask(), act("send")))
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    await queue.decide(actor.organization_id, started.id, "ask/approval", Decision(approved=False))
    run = await ended(queue, actor.organization_id, started.id)
    assert (run.status, (run.problem() or {})["code"]) == ("failed", "approval_denied")
    assert effects.done == {}


async def test_of_two_people_who_decide_at_once_one_is_told_that_he_is_late(
    queue: Queue, work: Work, actor: Actor
) -> None:
    started = await begin(queue, actor.organization_id, flow(ask(), act("send")))
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    answers = await asyncio.gather(
        *(
            queue.decide(actor.organization_id, started.id, "ask/approval", Decision(approved=approved))
            for approved in (True, False)
        ),
        return_exceptions=True,
    )
    assert [isinstance(answer, RunNotWaiting) for answer in answers].count(True) == 1
    run = await ended(queue, actor.organization_id, started.id)
    assert run.status == ("completed" if answers[0] is None else "failed")


async def test_nobody_decides_for_another_organisation(
    queue: Queue, work: Work, actor: Actor, other_actor: Actor
) -> None:
    started = await begin(queue, actor.organization_id, flow(ask(), act("send")))
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    with pytest.raises(RunNotWaiting):
        await queue.decide(other_actor.organization_id, started.id, "ask/approval", YES)
    assert (await queue.run(actor.organization_id, started.id)).status == "waiting"


@pytest.mark.parametrize(("default", "status"), [("approve", "completed"), ("deny", "failed"), (None, "failed")])
async def test_an_approval_that_nobody_gives_in_time_is_decided_by_its_default(
    queue: Queue, work: Work, actor: Actor, own_database: Database, default: str | None, status: str
) -> None:
    started = await begin(queue, actor.organization_id, flow(ask(deadline=3600, default=default), act("send")))
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    await own_database.pool.execute("update run_waits set wake_at = now()")
    assert (await ended(queue, actor.organization_id, started.id)).status == status
    assert await own_database.pool.fetchval("select status from approvals") == "expired"


async def test_a_decision_while_other_branches_still_run_is_not_lost(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    """The run would begin to wait after the answer came."""
    held = effects.hold("slow")
    what = flow(ask(), act("send"), act("slow", depends_on=[]))
    started = await begin(queue, actor.organization_id, what)
    await work()
    await effects.entered["slow"].wait()
    await drained(queue.pool, "select count(*) = 0 from run_waits where resolved_at is null")
    assert (await queue.run(actor.organization_id, started.id)).status == "running"
    await queue.decide(actor.organization_id, started.id, "ask/approval", YES)
    held.set()
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    assert effects.done == {"slow": 1, "send": 1}


async def test_an_event_that_meets_what_a_run_asks_for_wakes_it(
    queue: Queue, work: Work, actor: Actor, other_actor: Actor
) -> None:
    """S90: the type and the expression have to fit, and the organisation is the run's own."""
    event = {"type": "order.paid", "match": "event.order == input.order"}
    what = flow(wait(event=event), act("send"), output="{{ pause.output }}")
    started = await begin(queue, actor.organization_id, what, {"order": 7})
    await work()
    await until(queue, actor.organization_id, started.id, "waiting")
    await queue.tell(actor.organization_id, "order.paid", {"order": 8})
    await queue.tell(actor.organization_id, "order.sent", {"order": 7})
    await queue.tell(other_actor.organization_id, "order.paid", {"order": 7})
    await queue.tell(actor.organization_id, "order.paid", "no order at all")
    await drained(queue.pool, "select count(*) from events where handled_at is null")
    assert (await queue.run(actor.organization_id, started.id)).status == "waiting"
    await queue.tell(actor.organization_id, "order.paid", {"order": 7, "amount": 5})
    run = await ended(queue, actor.organization_id, started.id)
    assert run.result() == {"order": 7, "amount": 5}


async def test_an_event_is_told_once_for_each_key(queue: Queue, actor: Actor, other_actor: Actor) -> None:
    first = await queue.tell(actor.organization_id, "done", 1, key="a")
    assert await queue.tell(actor.organization_id, "done", 2, key="a") == first
    assert await queue.tell(actor.organization_id, "done", 1, key="b") != first
    assert await queue.tell(other_actor.organization_id, "done", 1, key="a") != first
    assert await queue.tell(actor.organization_id, "done", 1) != await queue.tell(actor.organization_id, "done", 1)


async def test_a_subscriber_hears_of_every_event_and_one_that_stumbles_hears_again(
    own_database: Database, work: Work, actor: Actor
) -> None:
    queue = Queue(own_database)
    heard: list[Event] = []

    async def hear(event: Event) -> None:
        heard.append(event)
        if len(heard) == 1:
            raise ZeroDivisionError

    queue.subscribers.append(hear)
    await work(queue=queue)
    told = await queue.tell(actor.organization_id, "done", {"a": 1}, source_run=uuid7())
    await drained(queue.pool, "select count(*) from events where handled_at is null")
    assert [event.id for event in heard] == [told, told]
    assert (heard[1].type, heard[1].data, heard[1].organization_id) == ("done", {"a": 1}, actor.organization_id)


async def test_settled_gives_a_run_that_waits_for_a_person_at_once_and_one_that_waits_for_time_at_its_end(
    queue: Queue, work: Work, actor: Actor
) -> None:
    await work()
    asks = await begin(queue, actor.organization_id, flow(ask(), act("send")))
    assert (await queue.settled(actor.organization_id, asks.id, 60)).status == "waiting"
    soon = rfc3339(now() + timedelta(seconds=1.3))
    sleeps = await begin(queue, actor.organization_id, flow(wait(until=soon), act("send"), pure("x", 1, depends_on=[])))
    assert (await queue.settled(actor.organization_id, sleeps.id, 60)).status == "completed"
    assert (await queue.settled(actor.organization_id, asks.id, 0)).status == "waiting"
