"""Who is served when: priorities, limits, and no organisation at the cost of another."""

import asyncio

from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.queue import Queue
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import QUICK, Effects, act, becomes, begin, count, drained, ended, flow

MANY = """
insert into runs (id, organization_id, kind, snapshot, status, input)
select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7000' || '8000'
    || lpad(to_hex(n), 12, '0'))::uuid, $1, 'workflow', $2, 'pending', '{"input": null}'
from generate_series(1, $3) n
"""


async def crowd(queue: Queue, database: Database, actor: Actor, url: str, many: int) -> None:
    """Queue many runs of one organisation."""
    started = await begin(queue, actor.organization_id, flow(act("send", url)))
    snapshot = (await queue.run(actor.organization_id, started.id)).snapshot
    await database.pool.execute(MANY, actor.organization_id, snapshot, many - 1)


async def test_ten_thousand_runs_of_one_organisation_delay_another_by_less_than_one_task(
    queue: Queue, work: Work, actor: Actor, other_actor: Actor, effects: Effects, own_database: Database
) -> None:
    """Every place of the worker is taken by the crowd, in runs and in tasks."""
    await crowd(queue, own_database, actor, "/crowd", 10_000)
    held = effects.hold("crowd")
    settings = QUICK.model_copy(update={"runs": 20, "tasks": 5, "organization_runs": 1000})
    worker = await work(settings)
    await becomes(lambda: effects.done["crowd"] >= 5 and worker.busy >= 20)
    started = await begin(queue, other_actor.organization_id, flow(act("send", "/other")))
    # it is let in although the worker is full, and its task stands in line
    await becomes(lambda: other_actor.organization_id in worker._gate._waiting)
    assert worker.busy == 21
    assert effects.done == {"crowd": 5}
    held.set()
    await ended(queue, other_actor.organization_id, started.id)
    assert effects.order.index("other") <= 6, "after the five that were at work, at most one had been called already"


async def test_organisations_take_turns_in_the_queue(
    queue: Queue, work: Work, effects: Effects, own_database: Database
) -> None:
    """A worker with one place serves each once before it serves one twice."""
    organizations = [uuid7() for _ in range(5)]
    for index, organization_id in enumerate(organizations):
        for _ in range(4):
            await begin(queue, organization_id, flow(act("send", f"/{index}")))
    await work(QUICK.model_copy(update={"runs": 1, "guests": 1, "tasks": 1}))
    await drained(own_database.pool, "select count(*) from runs where status <> 'completed'")
    for turn in range(4):
        served = effects.order[turn * 5 : turn * 5 + 5]
        assert sorted(served) == ["0", "1", "2", "3", "4"], effects.order


async def test_more_organisations_than_one_claim_looks_at_are_all_served(
    queue: Queue, work: Work, own_database: Database
) -> None:
    what = flow(act("send"))
    await asyncio.gather(*(begin(queue, uuid7(), what) for _ in range(200)))
    await work(QUICK.model_copy(update={"runs": 10, "guests": 5}))
    await drained(own_database.pool, "select count(*) from runs where status <> 'completed'")


async def test_runs_that_matter_more_go_first_and_others_in_their_order(
    queue: Queue, work: Work, actor: Actor, effects: Effects, own_database: Database
) -> None:
    for name, priority in (("low", -5), ("first", 0), ("second", 0), ("high", 10)):
        await begin(queue, actor.organization_id, flow(act("send", f"/{name}")), priority=priority)
    await work(QUICK.model_copy(update={"runs": 1}))
    await drained(own_database.pool, "select count(*) from runs where status <> 'completed'")
    assert effects.order == ["high", "first", "second", "low"]


async def test_no_organisation_has_more_runs_at_work_than_its_limit_over_all_workers(
    queue: Queue, work: Work, actor: Actor, other_actor: Actor, effects: Effects, own_database: Database
) -> None:
    held = effects.hold("mine")
    for _ in range(30):
        await begin(queue, actor.organization_id, flow(act("send", "/mine")))
    settings = QUICK.model_copy(update={"organization_runs": 7})
    workers = [await work(settings) for _ in range(3)]
    await becomes(lambda: effects.done["mine"] >= 7)
    other = await begin(queue, other_actor.organization_id, flow(act("send", "/other")))
    await ended(queue, other_actor.organization_id, other.id)
    assert effects.done["mine"] == 7
    assert sum(worker.busy for worker in workers) == 7
    held.set()
    while await count(own_database, "select count(*) from runs where status <> 'completed'"):
        assert sum(worker.busy for worker in workers) <= 7
        await asyncio.sleep(0.005)
    assert effects.done["mine"] == 30


async def test_the_queue_is_read_by_its_index_alone(own_database: Database, queue: Queue, actor: Actor) -> None:
    """Ten thousand runs of one organisation cost a claim of another's nothing."""
    await crowd(queue, own_database, actor, "/crowd", 10_000)
    await begin(queue, uuid7(), flow(act("send")))
    async with own_database.pool.transaction() as connection:
        await connection.execute("set local enable_seqscan = off")
        plan = await connection.fetchval(
            "explain (analyze, costs off, timing off, buffers on, format json) "
            "select organization_id from runs where status = 'pending' and organization_id > $1 "
            "order by organization_id limit 1",
            actor.organization_id,
        )
    assert "Index Only Scan" in plan
    assert "Sort" not in plan.replace("Sort Key", "")
