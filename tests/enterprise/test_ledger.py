"""Limits over several processes: nobody takes more than there is, and nothing that was taken is lost (S207-S209)."""

import asyncio
from decimal import Decimal

import asyncpg
import msgspec
import pytest
from sqlalchemy import text

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.enterprise.multitenancy.errors import BudgetExceeded, LimitReached, QuotaExceeded
from agent_factory.enterprise.multitenancy.ledger import Call, Ledger
from agent_factory.enterprise.multitenancy.limits import Limit, Metric, Period, Spender
from agent_factory.enterprise.multitenancy.settings import QuotaSettings
from agent_factory.enterprise.multitenancy.statements import CLEAN
from agent_factory.kit.errors import Invalid
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.services.billing import service as billing
from tests.enterprise.world import World

JOIN = text("insert into users (id, organization_id, email) values (:id, :organization_id, :email)")

CALL = Call("double:echo", 60, 40, Decimal("0.01"))


@pytest.fixture
def world(database: Database, actor: Actor) -> World:
    return World(database, actor)


async def test_of_400_that_start_at_once_in_four_processes_exactly_100_find_a_place_in_a_quota_of_100(
    world: World, database_url: str
) -> None:
    """Abuse 70."""
    await world.quota(Metric.RUNS, 100)
    databases = [Database(database_url, DatabaseSettings(pool_size=3)) for _ in range(4)]
    processes = [world.process(each) for each in databases]

    async def start(process: Ledger) -> bool:
        try:
            async with process.one_run(world.spender()):
                return True
        except QuotaExceeded:
            return False

    begun = await asyncio.gather(*(start(processes[n % 4]) for n in range(400)))
    assert begun.count(True) == 100
    assert await world.used("quota/runs") == 100
    assert await world.held() == 0
    for each in databases:
        await each.close()


async def test_without_a_limit_nothing_is_asked_of_the_database(world: World) -> None:
    process = world.process()
    assert await process.reserve(world.spender(), {Metric.TOKENS: 10}) is None
    await world.budget(Metric.TOKENS, Period.DAY, 5)
    assert await process.reserve(world.spender(), {Metric.TOKENS: 10}) is None  # known for 5 s, without a word of it
    process.heard(str(world.organization_id))
    with pytest.raises(BudgetExceeded, match="5 tokens a day, of which 5 are left; this may need 10"):
        await process.reserve(world.spender(), {Metric.TOKENS: 10})


async def test_what_is_not_used_is_free_again(world: World) -> None:
    budget = await world.budget(Metric.TOKENS, Period.MONTH, 100)
    process = world.process()
    held = await process.reserve(world.spender(), {Metric.TOKENS: 100})
    assert held is not None
    with pytest.raises(BudgetExceeded):
        await process.reserve(world.spender(), {Metric.TOKENS: 1})
    await process.settle(held, {Metric.TOKENS: 30})
    again = await process.reserve(world.spender(), {Metric.TOKENS: 70})
    assert again is not None
    await process.release(again)
    assert await world.used(f"budget/{budget}") == 30
    assert await world.held() == 0


async def test_a_call_takes_from_all_limits_or_from_none(world: World) -> None:
    wide = await world.budget(Metric.TOKENS, Period.TOTAL, 1000)
    key_id, agent_id = uuid7(), await world.agent("support")
    await world.budget(Metric.TOKENS, Period.DAY, 50, key_id=key_id)
    await world.budget(Metric.USD, Period.DAY, "0.5", agent_id=agent_id)
    process = world.process()
    for spender, amounts in (
        (world.spender(key_id=key_id), {Metric.TOKENS: 51}),
        (world.spender(agents=("boss", "support")), {Metric.TOKENS: 51, Metric.USD: Decimal("0.51")}),
    ):
        with pytest.raises(BudgetExceeded):
            await process.reserve(spender, amounts)
    assert await world.held() == 0
    assert await world.used(f"budget/{wide}") == 0
    assert await process.reserve(world.spender(), {Metric.TOKENS: 900, Metric.USD: 3}) is not None


async def test_a_budget_of_each_run_counts_each_run_for_itself(world: World) -> None:
    await world.budget(Metric.TOKENS, Period.RUN, 10)
    process = world.process()
    first, second = world.spender(run_id=uuid7()), world.spender(run_id=uuid7())
    assert await process.reserve(first, {Metric.TOKENS: 10}) is not None
    assert await process.reserve(second, {Metric.TOKENS: 10}) is not None
    with pytest.raises(BudgetExceeded):
        await process.reserve(first, {Metric.TOKENS: 1})


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "-Infinity", "1e16", "sNaN"])
async def test_what_is_no_amount_is_refused_before_and_after(world: World, amount: str) -> None:
    """Abuse 74."""
    budget = await world.budget(Metric.TOKENS, Period.DAY, 100)
    process = world.process()
    with pytest.raises(Invalid):
        await process.reserve(world.spender(), {Metric.TOKENS: Decimal(amount)})
    held = await process.reserve(world.spender(), {Metric.TOKENS: 10})
    assert held is not None
    with pytest.raises(Invalid):
        await process.settle(held, {Metric.TOKENS: Decimal(amount)})
    assert await world.used(f"budget/{budget}") == 0
    await process.release(held)


@pytest.mark.parametrize("used", ["-5", "NaN", "1e19"])
async def test_the_database_itself_refuses_what_no_meter_may_show(world: World, used: str) -> None:
    """Abuse 74: the wall behind the check."""
    await world.budget(Metric.TOKENS, Period.DAY, 100)
    held = await world.process().reserve(world.spender(), {Metric.TOKENS: 10})
    assert held is not None
    ops = f'[{{"id": "{held.id}", "told": false, "used": {{"tokens": "{used}"}}}}]'
    with pytest.raises(asyncpg.CheckViolationError):
        await world.database.pool.fetch("select settle_reservations($1::text::jsonb)", ops)


async def test_the_dead_are_settled_by_what_their_runs_have_recorded_else_whole(world: World) -> None:
    budget = await world.budget(Metric.TOKENS, Period.DAY, 1000)
    dying, living = world.process(), world.process()
    await world.beat(living)
    recorded, unknown = uuid7(), uuid7()
    for run_id in (recorded, unknown):
        spender = world.spender(run_id=run_id)
        assert await dying.reserve(spender, {Metric.TOKENS: 100}, path="model/0", call=CALL) is not None
    await world.record(recorded, "model/0", 7)
    await world.sweep(living)
    assert await world.held() == 0
    assert await world.used(f"budget/{budget}") == 107
    assert (await world.told())[0] == 107


async def test_a_step_that_the_next_process_recorded_says_nothing_of_the_dead_one(world: World) -> None:
    budget = await world.budget(Metric.TOKENS, Period.DAY, 1000)
    dying, living = world.process(), world.process()
    for each in (dying, living):
        await world.beat(each)
    spender = world.spender(run_id=uuid7())
    assert spender.run_id is not None
    assert await dying.reserve(spender, {Metric.TOKENS: 100}, path="model/0", call=CALL) is not None
    await world.die(dying, silent_since="1 minute")
    held = await living.reserve(spender, {Metric.TOKENS: 100}, path="model/0", call=CALL)
    assert held is not None
    await world.record(spender.run_id, "model/0", 7)
    await living.settle(held, {Metric.TOKENS: 7})
    await world.sweep(living)
    assert await world.held() == 0
    assert await world.used(f"budget/{budget}") == 107
    assert (await world.told())[0] == 107


async def test_the_living_keep_what_they_hold(world: World) -> None:
    await world.budget(Metric.TOKENS, Period.DAY, 1000)
    holding, other = world.process(), world.process()
    for each in (holding, other):
        await world.beat(each)
    held = await holding.reserve(world.spender(), {Metric.TOKENS: 100})
    assert held is not None
    await world.sweep(other)
    await world.sweep(holding)
    assert await world.held() == 1
    await holding.release(held)


async def test_who_has_not_looked_for_a_lease_takes_nobody_for_dead(world: World) -> None:
    """After an outage of the database nobody has beaten for a while."""
    await world.budget(Metric.TOKENS, Period.DAY, 1000)
    assert await world.process().reserve(world.spender(), {Metric.TOKENS: 100}) is not None
    waking = Ledger(world.database.pool, "waking", lease=60)
    assert await waking.sweep() == 0
    assert await world.held() == 1


async def test_a_settlement_that_comes_after_the_sweep_counts_nothing_twice(world: World) -> None:
    """A process that was stopped for longer than its lease, and goes on."""
    budget = await world.budget(Metric.TOKENS, Period.DAY, 1000)
    stopped, other = world.process(), world.process()
    held = await stopped.reserve(world.spender(), {Metric.TOKENS: 100})
    assert held is not None
    await world.beat(other)
    await world.sweep(other)
    assert await world.held() == 0
    await stopped.settle(held, {Metric.TOKENS: 3})
    assert await world.used(f"budget/{budget}") == 100


async def test_an_end_that_is_told_twice_counts_once(world: World) -> None:
    budget = await world.budget(Metric.TOKENS, Period.DAY, 1000)
    process = world.process()
    held = await process.reserve(world.spender(), {Metric.TOKENS: 100}, call=CALL)
    assert held is not None
    end = f'{{"id": "{held.id}", "told": true, "used": null}}'
    await world.database.pool.fetch("select settle_reservations($1::text::jsonb)", f"[{end}, {end}]")
    await asyncio.gather(process.forfeit(held), process.forfeit(held), process.sweep())
    assert (await world.used(f"budget/{budget}"), (await world.told())[0]) == (100, 100)


async def test_who_is_cancelled_while_he_asks_holds_nothing(world: World) -> None:
    await world.budget(Metric.TOKENS, Period.DAY, 1000)
    process = world.process()
    asking = [asyncio.create_task(process.reserve(world.spender(), {Metric.TOKENS: 1})) for _ in range(50)]
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    done = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in done)
    await process.idle()
    assert await world.held() == 0


async def test_a_quota_of_the_settings_holds_where_the_operator_set_none(world: World) -> None:
    quotas = QuotaSettings(tokens=100)
    process = Ledger(world.database.pool, "default", quotas)
    with pytest.raises(QuotaExceeded) as refused:
        await process.reserve(world.spender(), {Metric.TOKENS: 101})
    assert refused.value.rooms == {Metric.TOKENS: 100}
    await world.quota(Metric.TOKENS, 200)
    process.heard("")
    held = await process.reserve(world.spender(), {Metric.TOKENS: 101})
    assert held is not None
    await process.release(held)


async def test_a_quota_of_another_organisation_is_not_touched(
    world: World, database: Database, other_actor: Actor
) -> None:
    await world.quota(Metric.TOKENS, 10)
    other = World(database, other_actor)
    await other.quota(Metric.TOKENS, 10)
    process = world.process()
    assert await process.reserve(world.spender(), {Metric.TOKENS: 10}) is not None
    assert await process.reserve(other.spender(), {Metric.TOKENS: 10}) is not None
    for spender in (world.spender(), other.spender()):
        with pytest.raises(LimitReached):
            await process.reserve(spender, {Metric.TOKENS: 1})


async def test_seats_are_counted_in_the_transaction_that_fills_them(world: World, database: Database) -> None:
    await world.quota(Metric.SEATS, 11)
    process = world.process()

    async def join(number: int) -> bool:
        try:
            async with database.write(world.organization_id) as session:
                await process.seats(session, world.organization_id)
                await session.execute(
                    JOIN, {"id": uuid7(), "organization_id": world.organization_id, "email": f"{number}@example.com"}
                )
        except QuotaExceeded:
            return False
        return True

    joined = await asyncio.gather(*(join(n) for n in range(40)))
    assert joined.count(True) == 10  # beside the owner


async def test_an_end_that_cannot_be_committed_keeps_no_other_from_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the database says to one of them, the next sweep goes on with the others."""
    budget = await world.budget(Metric.TOKENS, Period.DAY, 1000)
    process = world.process()
    await world.beat(process)
    bad, good = [await process.reserve(world.spender(), {Metric.TOKENS: 100}, call=CALL) for _ in range(2)]
    assert bad is not None
    assert good is not None
    wrong = Decimal(10) ** 19
    monkeypatch.setattr("agent_factory.enterprise.multitenancy.limits.MOST", wrong)
    await process.settle(bad, {Metric.TOKENS: wrong})
    await process.settle(good, {Metric.TOKENS: 7})
    await world.sweep(process)
    assert await world.held() == 0
    assert await world.used(f"budget/{budget}") == 107


async def test_a_budget_that_is_lowered_or_removed_during_a_call_lets_the_call_end(world: World) -> None:
    lowered = await world.budget(Metric.TOKENS, Period.DAY, 1000)
    removed = await world.budget(Metric.TOKENS, Period.MONTH, 1000)
    process = world.process()
    held = await process.reserve(world.spender(), {Metric.TOKENS: 800}, call=CALL)
    assert held is not None
    async with world.database.write(world.organization_id) as session:
        await billing.change_amount(session, world.actor, lowered, Decimal(100))
        await billing.delete_budget(session, world.actor, removed)
    with pytest.raises(LimitReached):  # this process has not heard of it yet, and takes from what is gone
        await process.reserve(world.spender(), {Metric.TOKENS: 201})
    process.heard("")
    await process.settle(held, {Metric.TOKENS: 700})
    assert await world.held() == 0
    assert await world.unequal() == []
    assert await world.used(f"budget/{lowered}") == 700
    with pytest.raises(LimitReached) as refused:
        await process.reserve(world.spender(), {Metric.TOKENS: 1})
    assert refused.value.rooms == {Metric.TOKENS: 0}


async def test_meters_of_budgets_that_are_gone_are_cleaned_away(world: World) -> None:
    kept, gone = [await world.budget(Metric.TOKENS, period, 1000) for period in (Period.TOTAL, Period.MONTH)]
    process = world.process()
    held = await process.reserve(world.spender(), {Metric.TOKENS: 10})
    assert held is not None
    async with world.database.write(world.organization_id) as session:
        await session.execute(text("delete from budgets where id = :id"), {"id": gone})
    await world.database.pool.execute(CLEAN, again=True)
    assert await world.unequal() == []  # what is held of it is not torn away
    await process.settle(held, {Metric.TOKENS: 10})
    await world.database.pool.execute(CLEAN, again=True)
    assert (await world.used(f"budget/{kept}"), await world.used(f"budget/{gone}")) == (10, 0)


def test_a_spender_is_bound_by_what_is_about_him() -> None:
    key_id, run_id = uuid7(), uuid7()
    spender = Spender(organization_id=uuid7(), run_id=run_id, agents=("a",), key_id=key_id)
    everybody = Limit(metric=Metric.TOKENS, period=Period.DAY, amount=Decimal(1))
    assert everybody.binds(spender)
    agent_id = uuid7()
    of_one = msgspec.structs.replace(everybody, agent="a", agent_id=agent_id, names=frozenset({"a", "older"}))
    assert of_one.binds(spender)
    assert of_one.binds(msgspec.structs.replace(spender, agents=("boss", "older")))
    assert of_one.binds(msgspec.structs.replace(spender, agents=("newer",), agent_id=agent_id))
    assert not of_one.binds(msgspec.structs.replace(spender, agents=("b",), agent_id=uuid7()))
    assert not of_one.binds(msgspec.structs.replace(spender, agents=()))
    of_keys = msgspec.structs.replace(everybody, key_id=uuid7(), keys=frozenset({uuid7(), key_id}))
    assert of_keys.binds(spender)
    assert not of_keys.binds(msgspec.structs.replace(spender, key_id=uuid7()))
    assert not of_keys.binds(msgspec.structs.replace(spender, key_id=None))
