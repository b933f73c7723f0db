"""Schedules fire, each tick once, whoever looks after them (S72, S90)."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from agent_factory.database.session import Database
from agent_factory.kit.errors import Conflict, Unavailable
from agent_factory.runtime.scheduler.misfires import MOST, spread
from agent_factory.runtime.scheduler.naming import named
from agent_factory.runtime.scheduler.scheduler import Tick
from tests.runtime.scheduler.parts import START, Clock, Starts, minutes, next_at, runs, schedule, scheduler, ticks

Owner = tuple[UUID, UUID]
FIRST = datetime.fromisoformat("2026-05-04T08:01:00Z")


async def test_a_tick_fires_when_it_is_due_and_the_schedule_moves_on(own: Database, owner: Owner) -> None:
    clock, starts = Clock(), Starts(own)
    trigger = await schedule(own, owner)
    due = scheduler(own, clock, starts)
    assert not await due.look()
    assert starts.asked == []
    clock.moment = FIRST
    await due.look()
    (tick,) = starts.asked
    assert (tick.trigger_id, tick.workflow_id, tick.at) == (trigger, owner[1], FIRST)
    assert await ticks(own) == [(FIRST, tick.run_id)]
    assert await runs(own) == {tick.run_id}
    assert await next_at(own, trigger) == FIRST + minutes(1)
    assert await own.pool.fetchval("select last_at from triggers") == FIRST
    await due.look()
    assert len(starts.asked) == 1


def test_the_run_of_a_tick_has_an_id_that_anybody_can_tell() -> None:
    trigger = UUID(int=7)
    made = named(FIRST, trigger, FIRST.isoformat())
    assert made == named(FIRST, trigger, FIRST.isoformat())
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(FIRST.timestamp() * 1000)
    assert made != named(FIRST, UUID(int=8), FIRST.isoformat())


async def test_four_schedulers_fire_each_tick_once(own: Database, owner: Owner) -> None:
    """S72: two schedulers never fire one tick twice."""
    clock, starts = Clock(), Starts(own)
    for _ in range(30):
        await schedule(own, owner)
    many = [scheduler(own, clock, starts, at_once=4) for _ in range(4)]
    for minute in range(1, 6):
        clock.moment = START + minutes(minute)
        while any(await asyncio.gather(*(each.look() for each in many))):
            pass
        await many[0].look()  # whatever the others had locked when they were asked
    assert len(starts.asked) == 30 * 5
    assert len({(tick.trigger_id, tick.at) for tick in starts.asked}) == 30 * 5
    assert len(await ticks(own)) == len(await runs(own)) == 30 * 5


async def test_who_dies_after_the_start_of_a_run_leaves_a_tick_that_starts_no_second_one(
    own: Database, owner: Owner
) -> None:
    clock, starts = Clock(FIRST), Starts(own)
    await schedule(own, owner)
    started = asyncio.Event()

    async def dies(tick: Tick) -> None:
        await starts(tick)
        started.set()
        await asyncio.Event().wait()

    dying = asyncio.create_task(scheduler(own, clock, dies).look())
    await started.wait()
    assert not await scheduler(own, clock, starts).look()  # it is being fired
    assert len(starts.asked) == 1
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert await ticks(own) == []
    await scheduler(own, clock, starts).look()
    assert [tick.run_id for tick in starts.asked] == [starts.asked[0].run_id] * 2
    assert await runs(own) == {starts.asked[0].run_id}
    assert await ticks(own) == [(FIRST, starts.asked[0].run_id)]


async def test_a_schedule_that_is_disabled_or_no_schedule_never_fires(own: Database, owner: Owner) -> None:
    starts = Starts(own)
    await schedule(own, owner, enabled=False)
    await scheduler(own, Clock(START + minutes(9)), starts).look()
    assert starts.asked == []


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [("skip", [10]), ("once", [10]), ("all", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])],
)
async def test_after_a_time_without_anybody_the_trigger_says_what_is_made_up_for(
    own: Database, owner: Owner, misfire: str, expected: list[int]
) -> None:
    starts = Starts(own)
    trigger = await schedule(own, owner, misfire=misfire)
    moment = START + minutes(10)  # half a minute after the tenth tick
    await scheduler(own, Clock(moment), starts).look()
    assert [tick.at for tick in starts.asked] == [START + minutes(n) - timedelta(seconds=30) for n in expected]
    assert await next_at(own, trigger) == FIRST + minutes(10)


@pytest.mark.parametrize(("misfire", "expected"), [("skip", []), ("once", [3]), ("all", [1, 2, 3])])
async def test_a_tick_that_nobody_fired_in_time_is_missed(
    own: Database, owner: Owner, misfire: str, expected: list[int]
) -> None:
    starts = Starts(own)
    trigger = await schedule(own, owner, "0 9 * * *", misfire=misfire)
    await scheduler(own, Clock(START + timedelta(days=2, hours=5)), starts).look()
    assert [tick.at.day - 3 for tick in starts.asked] == expected
    assert await next_at(own, trigger) == datetime.fromisoformat("2026-05-07T09:00:00Z")


async def test_what_is_made_up_for_is_bounded(own: Database, owner: Owner) -> None:
    starts = Starts(own)
    await schedule(own, owner, misfire="all")
    due = scheduler(own, Clock(START + timedelta(days=400)), starts)
    while await due.look():
        pass
    assert len(starts.asked) == MOST
    assert starts.asked[-1].at == START + timedelta(days=400) - timedelta(seconds=30)


async def test_jitter_moves_all_ticks_of_a_schedule_by_the_same_part_of_it(own: Database, owner: Owner) -> None:
    clock, starts = Clock(), Starts(own)
    trigger = UUID(int=5)
    later = spread(trigger, 40)
    assert timedelta() < later <= timedelta(seconds=40)
    await schedule(own, owner, id=trigger, config={"jitter": 40}, next_at=FIRST + later)
    clock.moment = FIRST + later - timedelta(milliseconds=1)
    due = scheduler(own, clock, starts)
    await due.look()
    assert starts.asked == []
    clock.moment = FIRST + later
    await due.look()
    assert [tick.at for tick in starts.asked] == [FIRST]
    assert await next_at(own, trigger) == FIRST + minutes(1) + later


async def test_a_tick_waits_for_what_is_away_and_others_do_not_wait_for_it(own: Database, owner: Owner) -> None:
    clock, starts = Clock(FIRST), Starts(own)
    unlucky, lucky = await schedule(own, owner), await schedule(own, owner)
    away = True

    async def fire(tick: Tick) -> None:
        if away and tick.trigger_id == unlucky:
            raise Unavailable("Away for now.")
        await starts(tick)

    due = scheduler(own, clock, fire)
    await due.look()
    assert [t.trigger_id for t in starts.asked] == [lucky]
    assert (await next_at(own, unlucky), await ticks(own, unlucky)) == (FIRST, [])
    away = False
    await due.look()
    assert [t.trigger_id for t in starts.asked] == [lucky, unlucky]
    assert await ticks(own, unlucky) == [(FIRST, starts.asked[1].run_id)]


@pytest.mark.parametrize("error", [Conflict("It is not deployed."), RuntimeError("a fault of ours")])
async def test_a_tick_that_cannot_start_a_run_is_recorded_without_one(
    own: Database, owner: Owner, error: Exception
) -> None:
    trigger = await schedule(own, owner)

    async def fire(_tick: Tick) -> None:
        raise error

    await scheduler(own, Clock(FIRST), fire).look()
    assert await ticks(own) == [(FIRST, None)]
    assert await next_at(own, trigger) == FIRST + minutes(1)


async def test_a_schedule_that_cannot_be_read_stops_and_holds_up_nobody(own: Database, owner: Owner) -> None:
    starts = Starts(own)
    broken = await schedule(own, owner, config={"cron": "often"}, next_at=FIRST - minutes(1))
    sound = await schedule(own, owner)
    await scheduler(own, Clock(FIRST), starts, at_once=1).look()
    await scheduler(own, Clock(FIRST), starts, at_once=1).look()
    assert [tick.trigger_id for tick in starts.asked] == [sound]
    assert await next_at(own, broken) is None


async def test_a_clock_that_is_put_back_fires_nothing_a_second_time(own: Database, owner: Owner) -> None:
    clock, starts = Clock(FIRST), Starts(own)
    trigger = await schedule(own, owner)
    due = scheduler(own, clock, starts)
    await due.look()
    await own.pool.execute("update triggers set next_at = $2 where id = $1", trigger, FIRST)
    await due.look()
    assert len(await runs(own)) == len(await ticks(own)) == 1


async def test_the_loop_sees_what_becomes_due_and_what_is_made_meanwhile(own: Database, owner: Owner) -> None:
    clock, starts = Clock(), Starts(own)
    fired = asyncio.Queue[Tick]()

    async def fire(tick: Tick) -> None:
        await starts(tick)
        fired.put_nowait(tick)

    loop = asyncio.create_task(scheduler(own, clock, fire).run_forever())
    try:
        await schedule(own, owner)
        clock.moment = FIRST
        assert (await asyncio.wait_for(fired.get(), 10)).at == FIRST
        clock.moment = FIRST + minutes(1)
        assert (await asyncio.wait_for(fired.get(), 10)).at == FIRST + minutes(1)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
