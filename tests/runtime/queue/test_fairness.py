"""Who is served when: priorities, limits, and no organisation at the cost of another."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from uuid import UUID

import asyncpg
import pytest

from agent_factory.database.driver import Row
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.statements import CLAIM
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import QUICK, Effects, act, becomes, begin, count, drained, ended, flow

SPREAD = """
insert into runs (id, organization_id, kind, snapshot, status, input)
select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7000' || '8000'
    || lpad(to_hex(n), 12, '0'))::uuid, lpad(to_hex(n % $3), 32, '0')::uuid, 'workflow', $1, 'pending',
    '{"input": null}'
from generate_series(1, $2) n
"""
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


async def claims(
    database: Database, *, room: int = 1, guests: int = 0, limit: int = 100, here: tuple[UUID, ...] = ()
) -> AsyncGenerator[list[Row], None]:
    """Claim again and again as one worker does, until nothing comes."""
    after = UUID(int=0)
    while True:
        *rows, rest = await database.pool.fetch(CLAIM, "w", room, guests, limit, list(here), after)
        if not rows:
            return
        after = rest["turn"]
        yield rows


async def test_organisations_take_turns_in_the_queue(queue: Queue, own_database: Database) -> None:
    """Whoever claims one run after another serves each once before it serves one twice."""
    organizations = [uuid7() for _ in range(5)]
    for organization_id in organizations:
        for _ in range(4):
            await begin(queue, organization_id, flow(act("send")))
    order = [row["organization_id"] async for rows in claims(own_database) for row in rows]
    assert order == organizations * 4


async def test_a_worker_lets_everybody_in_once_before_it_lets_one_in_twice(
    queue: Queue, work: Work, own_database: Database
) -> None:
    organizations = {uuid7() for _ in range(5)}
    for organization_id in organizations:
        for _ in range(4):
            await begin(queue, organization_id, flow(act("send")))
    await work(QUICK.model_copy(update={"runs": 1, "guests": 1, "tasks": 1}))
    await drained(own_database.pool, "select count(*) from runs where status <> 'completed'")
    order = await own_database.pool.fetch("select organization_id from runs order by started_at")
    assert {row["organization_id"] for row in order[:5]} == organizations


async def test_a_claim_shares_its_room_and_lets_guests_in_beside_it(queue: Queue, own_database: Database) -> None:
    first, second, third = organizations = [uuid7() for _ in range(3)]
    for organization_id in organizations:
        for _ in range(10):
            await begin(queue, organization_id, flow(act("send")))
    claimed = claims(own_database, room=6, guests=2)
    assert Counter(row["organization_id"] for row in await anext(claimed)) == {first: 2, second: 2, third: 2}
    full = claims(own_database, room=0, guests=2, here=(first,))
    assert [row["organization_id"] for row in await anext(full)] == [second, third]


async def test_organisations_at_their_limit_keep_nobody_from_their_turn(queue: Queue, own_database: Database) -> None:
    """Far more of them than one claim takes runs of."""
    what = flow(act("send"))
    crowd = [uuid7() for _ in range(100)]
    for organization_id in crowd:
        await asyncio.gather(*(begin(queue, organization_id, what) for _ in range(2)))
    async for _ in claims(own_database, room=100, limit=1):
        pass
    assert await count(own_database, "select count(*) from runs where status = 'running'") == 100
    late = await begin(queue, uuid7(), what)
    rows = await anext(claims(own_database, limit=1))
    assert [row["id"] for row in rows] == [late.id]


async def test_a_claim_tells_whether_runs_were_left(queue: Queue, own_database: Database) -> None:
    async def claim(room: int, limit: int = 100) -> tuple[int, bool]:
        *rows, rest = await own_database.pool.fetch(CLAIM, "w", room, 0, limit, [], UUID(int=0))
        return len(rows), rest["more"]

    assert await claim(5) == (0, False)
    organization_id = uuid7()
    for _ in range(3):
        await begin(queue, organization_id, flow(act("send")))
    assert await claim(2) == (2, True)
    assert await claim(5, limit=2) == (0, True), "one that is kept back by a limit is left, too"
    assert await claim(5) == (1, False)
    for _ in range(70):
        await begin(queue, uuid7(), flow(act("send")))
    assert await claim(1000) == (64, True), "organisations that were not come to"
    assert await claim(1000) == (6, False)


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


@pytest.mark.parametrize("organizations", [1, 10_000])
async def test_a_claim_reads_no_more_however_many_runs_are_queued(
    own_database: Database, queue: Queue, organizations: int
) -> None:
    """Also where PostgreSQL planned it while the table was empty, and keeps that plan."""
    await maintained(own_database)
    async for _ in claims(own_database):
        pytest.fail("nothing is queued")
    organization_id = uuid7()
    started = await begin(queue, organization_id, flow(act("send")))
    snapshot = (await queue.run(organization_id, started.id)).snapshot
    few = await claiming(own_database)
    await own_database.pool.execute(SPREAD, snapshot, 10_000, organizations)
    many = await claiming(own_database)
    assert few > 0
    assert many < few + 100, "blocks that a claim touches"


async def maintained(database: Database) -> None:
    """Do what autovacuum does to tables that hold nothing yet."""
    connection = await asyncpg.connect(database.url)
    await connection.execute("vacuum analyze")
    await connection.close()


async def claiming(database: Database) -> int:
    """Claim a run; gives how many blocks were touched."""
    plan = await database.pool.fetchval(
        "explain (analyze, buffers, format json) select * from claim_runs('w', 1, 0, 100, '{}', $1)", UUID(int=0)
    )
    return json.loads(plan)[0]["Plan"]["Shared Hit Blocks"]
