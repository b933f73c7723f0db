"""Limits hold exactly, over all processes, whatever becomes of the counters (S20, S28, S191 to S195, merge 16)."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent_factory.cache.redis import Redis
from agent_factory.cache.settings import RedisSettings
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit import (
    Counters,
    Limiter,
    LimitsSettings,
    PostgresCounters,
    RateLimited,
    RedisCounters,
    limiting,
)
from agent_factory.security.rate_limit.counters import Ask
from agent_factory.security.rate_limit.rules import Grant, Rate, grant, parse, wait
from agent_factory.security.rate_limit.uses import Uses
from tests.doubles.redis_server import RedisServer
from tests.security.limits import HERE, Clock, Crowd, KeptCounters, ask, at_once, lets_in, only, someone

LEASE = 4.0
"""Seconds for which a process keeps units that it has taken ahead."""


# The rules


@given(
    count=st.integers(1, 50),
    moves=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20)), max_size=60),
)
def test_a_counter_gives_what_the_plain_algorithm_gives(count: int, moves: list[tuple[float, int]]) -> None:
    """GCRA as it is published, one unit at a time, beside the rule that gives several."""
    tick, span = 60 / count, 60.0
    now = theoretical = whole_at = 0.0
    for pause, need in moves:
        now += pause
        plain = 0
        for _ in range(need):
            if max(theoretical, now) + tick - now > span + tick / 1000:
                break
            theoretical = max(theoretical, now) + tick
            plain += 1
        given_now = grant(whole_at - now, need, 0, tick, span)
        assert given_now.units == plain
        whole_at = now + given_now.lead


@given(lead=st.floats(0, 60), need=st.integers(0, 200), extra=st.integers(0, 200), count=st.integers(1, 100))
def test_what_is_taken_ahead_leaves_half_of_a_counter_to_others(lead: float, need: int, extra: int, count: int) -> None:
    tick = 60 / count
    without, given_now = grant(lead, need, 0, tick, 60), grant(lead, need, extra, tick, 60)
    assert without.units <= given_now.units <= without.units + extra
    if given_now.units > without.units:
        assert (60 - given_now.lead) / tick >= count // 2 - 0.01


@given(lead=st.floats(0, 60), count=st.integers(1, 100))
def test_after_the_wait_there_is_a_unit_and_before_it_there_is_none(lead: float, count: int) -> None:
    tick = 60 / count
    seconds = wait(lead, tick, 60)
    assert grant(lead - seconds, 1, 0, tick, 60).units == 1
    if seconds > 0.01:
        assert grant(lead - seconds + 0.01 + tick / 500, 1, 0, tick, 60).units == 0


def test_a_limit_is_read_as_people_write_it() -> None:
    assert parse("100/minute, 1000/hour") == (Rate(100, "minute"), Rate(1000, "hour"))
    assert parse("") == ()


@pytest.mark.parametrize(
    "text", ["100", "0/minute", "-1/minute", "1/fortnight", "1/minute,", "9999999/second", "1e3/hour"]
)
def test_what_is_no_limit_is_refused_when_the_settings_are_read(text: str) -> None:
    with pytest.raises(ValidationError, match="100/minute"):
        LimitsSettings(user=text)


def test_the_limits_of_the_specification_are_the_defaults() -> None:
    """S28, S191 to S195."""
    usual = LimitsSettings()
    assert usual.address == usual.user == usual.key == "100/minute, 1000/hour"
    assert usual.endpoint == "60/minute"
    assert usual.endpoints == {
        "/api/v1/agents": "100/minute",
        "/api/v1/workflows/execute": "50/minute",
        "/api/v1/integrations": "200/minute",
    }


# One process


@pytest.mark.parametrize(
    ("route", "most"),
    [
        ("/api/v1/agents", 100),
        ("/api/v1/agents/{agent_id}:deploy", 100),
        ("/api/v1/workflows/execute", 50),
        ("/api/v1/integrations", 100),
        ("/api/v1/agent-templates", 60),
        ("/api/v1/runs/{run_id}", 60),
    ],
)
async def test_the_strictest_of_all_limits_wins(route: str, most: int) -> None:
    """Merge 16: integrations have 200 a minute, and everybody 100."""
    limiter = Limiter(LimitsSettings(), KeptCounters(Clock()))
    assert await at_once(limiter, someone(), 300, route) == most


async def test_everybody_has_limits_of_their_own() -> None:
    limiter = Limiter(only(user="3/minute", key="2/minute"), KeptCounters(Clock()))
    one, other = someone(key_id=uuid7()), someone(key_id=uuid7())
    assert await at_once(limiter, one, 10) == 2
    same_person = Actor(organization_id=one.organization_id, user_id=one.user_id, role="viewer", key_id=uuid7())
    assert await at_once(limiter, same_person, 10) == 1
    assert await at_once(limiter, other, 10) == 2


async def test_an_address_is_limited_whoever_asks_from_it() -> None:
    limiter = Limiter(only(address="5/minute"), KeptCounters(Clock()))
    assert sum([await lets_in(limiter, actor) for actor in (someone(), None, someone()) for _ in range(3)]) == 5
    assert await lets_in(limiter, None, "192.0.2.2")


async def test_a_subscriber_has_one_limit_for_all_of_its_ipv6_addresses() -> None:
    limiter = Limiter(only(address="2/minute"), KeptCounters(Clock()))
    asked = ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3", "2001:db8:0:1::1"]
    assert [await lets_in(limiter, None, address) for address in asked] == [True, True, False, True]
    mapped = ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"]
    assert [await lets_in(limiter, None, address) for address in mapped] == [True, True, False]


async def test_units_come_back_one_by_one() -> None:
    clock = Clock()
    limiter = Limiter(only(user="60/minute"), KeptCounters(clock), clock=clock)
    actor = someone()
    assert await at_once(limiter, actor, 100) == 60
    clock.now += 0.9
    assert not await lets_in(limiter, actor)
    clock.now += 0.2
    assert await at_once(limiter, actor, 5) == 1
    clock.now += 10
    assert await at_once(limiter, actor, 50) == 10


async def test_who_is_refused_uses_up_nothing_more() -> None:
    """A caller at one limit does not lose what other limits still have for it."""
    clock = Clock()
    counters = KeptCounters(clock)
    limiter = Limiter(only(user="100/minute", endpoints={"/busy": "1/minute"}), counters, clock=clock)
    actor = someone()
    assert await at_once(limiter, actor, 50, "/busy") == 1
    asked = counters.questions
    for _ in range(200):
        assert not await lets_in(limiter, actor, route="/busy")
    assert counters.questions == asked
    assert await at_once(limiter, actor, 200, "/other") >= 50


async def test_a_refusal_says_when_to_come_back_and_which_limit_it_was() -> None:
    clock = Clock()
    limiter = Limiter(only(user="60/minute", key="10/hour"), KeptCounters(clock), clock=clock)
    actor = someone(key_id=uuid7())
    assert await at_once(limiter, actor, 20) == 10
    standing = limiter.standing(actor, HERE, "/x")
    with pytest.raises(RateLimited, match="10 requests a hour") as refused:
        await standing.admit()
    assert refused.value.retry_after == pytest.approx(360, abs=1)
    assert standing.policy == b'"user-minute";q=60;w=60,"key-hour";q=10;w=3600'
    assert standing.state() == b'"key-hour";r=0;t=360'
    clock.now += 361
    await standing.admit()


async def test_many_requests_at_once_are_one_question() -> None:
    counters = KeptCounters(Clock())
    limiter = Limiter(LimitsSettings(), counters)
    assert await at_once(limiter, someone(), 90, "/api/v1/agents") == 90
    assert counters.questions == 1


async def test_a_caller_who_asks_often_seldom_costs_a_question() -> None:
    clock = Clock()
    counters = KeptCounters(clock)
    limiter = Limiter(only(user="100000/minute"), counters, clock=clock)
    actor = someone()
    for _ in range(5000):
        assert await lets_in(limiter, actor)
        clock.now += 0.001
    assert counters.questions < 100


async def test_a_request_that_is_given_up_leaves_its_unit_to_the_next() -> None:
    counters = KeptCounters(Clock())
    limiter = Limiter(only(user="1/minute"), counters, clock=counters.clock)
    actor = someone()
    asking = asyncio.create_task(lets_in(limiter, actor))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await at_once(limiter, actor, 5) == 1


async def test_without_limits_nothing_is_asked() -> None:
    counters = KeptCounters(Clock())
    limiter = Limiter(LimitsSettings(enabled=False), counters)
    assert await at_once(limiter, someone(), 1000) == 1000
    assert counters.questions == 0


async def test_a_fault_of_ours_reaches_those_who_wait_and_not_those_who_come_later() -> None:
    class Broken(KeptCounters):
        async def take(self, asks: Sequence[Ask]) -> Sequence[Grant]:
            if not self.questions:
                self.questions += 1
                raise ZeroDivisionError
            return await super().take(asks)

    limiter = Limiter(only(user="5/minute"), Broken(Clock()))
    with pytest.raises(ZeroDivisionError):
        await lets_in(limiter, someone())
    assert await lets_in(limiter, someone())


async def test_what_is_whole_again_is_forgotten() -> None:
    clock = Clock()
    limiter = Limiter(LimitsSettings(), KeptCounters(clock), clock=clock)
    actor = someone()
    await at_once(limiter, actor, 80, "/api/v1/agents")
    limiter.forget()
    assert await at_once(limiter, actor, 80, "/api/v1/agents") == 20
    clock.now += 4000
    limiter.forget()
    assert limiter._buckets == {}


# Several processes


@pytest.mark.parametrize("seed", range(20))
async def test_no_stretch_of_time_has_more_than_its_limit_whatever_the_processes_do(seed: int) -> None:
    """Three processes, bursts and trickles: never more than the burst and what has flowed back."""
    dice = random.Random(seed)  # noqa: S311 - a repeatable mixture, no secret
    clock = Clock()
    counters = KeptCounters(clock)
    count = dice.choice((5, 60, 600))
    limiters = [Limiter(only(user=f"{count}/minute"), counters, clock=clock) for _ in range(3)]
    actor = someone()
    admitted: list[tuple[float, int]] = []
    for _ in range(300):
        clock.now += dice.choice((0, 0.001, 0.01, 0.3, 2))
        burst = await asyncio.gather(
            *(at_once(dice.choice(limiters), actor, dice.choice((1, 1, 3, 40))) for _ in range(3))
        )
        admitted.append((clock.now, sum(burst)))
    for begin in range(len(admitted)):
        total = 0
        for end in range(begin, len(admitted)):
            total += admitted[end][1]
            seconds = admitted[end][0] - admitted[begin][0] + LEASE
            assert total <= count + seconds * count / 60 + 1


async def test_what_is_taken_ahead_and_not_used_is_little() -> None:
    """Two processes share a caller: together they give nearly all that there is."""
    clock = Clock()
    counters = KeptCounters(clock)
    limiters = [Limiter(only(user="600/minute"), counters, clock=clock) for _ in range(2)]
    actor = someone()
    given_out = 0
    for number in range(6000):
        given_out += await lets_in(limiters[number % 2], actor)
        clock.now += 0.01
    assert 1200 * 0.97 <= given_out <= 1201


@pytest.fixture(params=["postgres", "redis"])
async def counters(
    request: pytest.FixtureRequest, fresh: Database, redis: RedisServer
) -> AsyncGenerator[Counters, None]:
    """The counters that there are, each before its own server."""
    if request.param == "postgres":
        yield PostgresCounters(fresh.pool)
        return
    client = Redis(redis.url)
    yield RedisCounters(client, Uses(fresh.pool))
    await client.close()


async def test_the_servers_count_as_the_rule_says(counters: Counters) -> None:
    """Over a day's limits, so that the time that the test takes is no unit."""
    dice = random.Random(7)  # noqa: S311 - a repeatable mixture, no secret
    keys = [uuid4().bytes for _ in range(5)]
    leads = dict.fromkeys(keys, 0.0)
    for _ in range(60):
        asks = [
            ask(key, dice.randrange(12), dice.choice((0, 0, 9)), lead=dice.choice((0, 0, 0, 20_000)))
            for key in dice.sample(keys, dice.randrange(1, 6))
        ]
        for asked, given_now in zip(asks, await counters.take(asks), strict=True):
            wanted = grant(max(leads[asked.key], asked.lead), asked.need, asked.extra, asked.tick, asked.span)
            assert given_now.units == wanted.units
            assert given_now.lead == pytest.approx(wanted.lead, abs=30)
            leads[asked.key] = given_now.lead


async def test_the_servers_clock_refills_a_counter(counters: Counters) -> None:
    key = uuid4().bytes
    first = (await counters.take([ask(key, 30, count=20, span=1)]))[0]
    assert first.units == 20
    async with asyncio.timeout(10):
        while (found := (await counters.take([ask(key, 1, count=20, span=1)]))[0]).units == 0:  # noqa: ASYNC110 - time
            await asyncio.sleep(wait(found.lead, 0.05, 1))


async def test_many_questions_at_once_give_each_unit_once(counters: Counters) -> None:
    keys = [uuid4().bytes for _ in range(8)]
    dice = random.Random(3)  # noqa: S311 - a repeatable mixture, no secret

    async def one() -> dict[bytes, int]:
        asks = [ask(key, 3) for key in dice.sample(keys, len(keys))]
        return dict(zip((a.key for a in asks), (g.units for g in await counters.take(asks)), strict=True))

    answers = await asyncio.gather(*(one() for _ in range(60)))
    assert {key: sum(a[key] for a in answers) for key in keys} == dict.fromkeys(keys, 100)


async def test_a_question_that_had_to_wait_takes_nothing_back_from_a_later_one(
    database: Database, database_url: str
) -> None:
    """PostgreSQL's clock is that of the beginning of a statement, and the later one may be through first."""
    counters = PostgresCounters(database.pool)
    key = uuid4().bytes
    await counters.take([ask(key, 1, count=10, span=60)])
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("set local role af_system")
            # stands for a statement that begins later, and holds the row first
            await other.execute("update rate_counters set need = need where key = $1", key)
            earlier = asyncio.create_task(counters.take([ask(key, 1, count=10, span=60)]))
            async with asyncio.timeout(5):
                while not await other.fetchval("select count(*) from pg_locks where not granted"):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.01)
            used_up = await other.fetchval(
                "update rate_counters set whole_at = date_part('epoch', clock_timestamp()) + 60 where key = $1"
                " returning whole_at",
                key,
            )
        assert (await earlier)[0].units == 0
    finally:
        await other.close()
    assert await database.pool.fetchval("select whole_at from rate_counters where key = $1", key) == used_up


async def test_postgresql_forgets_counters_that_are_whole(database: Database) -> None:
    counters = PostgresCounters(database.pool)
    whole, used = uuid4().bytes, uuid4().bytes
    await counters.take([ask(whole, 1, count=100_000, span=1), ask(used, 50)])
    await asyncio.sleep(0.01)
    await counters.sweep()
    kept = await database.pool.fetch("select key from rate_counters where key = any($1)", [whole, used])
    assert [row["key"] for row in kept] == [used]


@pytest.mark.parametrize("where", ["postgres", "redis"])
async def test_800_at_once_on_a_limit_of_100_over_two_processes_are_100(
    crowd: Crowd, redis: RedisServer, where: str
) -> None:
    """Abuse 69: exactly the limit, and what flows back while they ask (100 an hour: nothing)."""
    address = redis.url if where == "redis" else None
    admitted = await crowd(400, 1, address, only(user="100/hour"))
    assert sum(admitted) == 100
    admitted = await crowd(40, 20, address, only(user="100/hour", endpoints={"/api/v1/agents": "100/hour"}))
    assert sum(admitted) == 100


@pytest.mark.parametrize("where", ["postgres", "redis"])
async def test_the_usual_limits_hold_over_two_processes(crowd: Crowd, redis: RedisServer, where: str) -> None:
    """Address, person and endpoint have 100 each: the units of one request come from all three."""
    began = time.monotonic()
    admitted = await crowd(400, 1, redis.url if where == "redis" else None, LimitsSettings())
    refilled = (time.monotonic() - began) * 100 / 60 + 1
    assert 100 <= sum(admitted) <= 100 + refilled


# Counters that go away


async def test_while_the_counters_are_away_processes_give_no_more_than_flows_back() -> None:
    """Harder, never less: nothing of the burst, and the processes share what comes."""
    clock = Clock()
    counters = KeptCounters(clock)
    limiters = [Limiter(only(user="60/minute"), counters, processes=2, clock=clock) for _ in range(2)]
    actor = someone()
    assert await at_once(limiters[0], actor, 40) == 40
    counters.away = True
    try:
        assert [await at_once(limiter, actor, 40) for limiter in limiters] == [0, 0]
        assert all(limiter.supply.alone for limiter in limiters)
        given_out = 0
        for _ in range(600):
            clock.now += 0.1
            given_out += sum([await lets_in(limiter, actor) for limiter in limiters])
        assert 55 <= given_out <= 60
    finally:
        for limiter in limiters:
            await limiter.close()


async def test_a_limit_slower_than_the_processes_are_many_still_lets_somebody_in() -> None:
    clock = Clock()
    counters = KeptCounters(clock)
    counters.away = True
    limiter = Limiter(only(user="1/minute"), counters, processes=4, clock=clock)
    actor = someone()
    assert not await lets_in(limiter, actor)
    clock.now += 241
    assert await at_once(limiter, actor, 10) == 1
    await limiter.close()


async def test_counters_that_were_emptied_are_put_right_by_those_who_remember() -> None:
    clock = Clock()
    counters = KeptCounters(clock)
    limiters = [Limiter(only(user="100/minute"), counters, clock=clock) for _ in range(2)]
    actor = someone()
    assert [await at_once(limiter, actor, 45) for limiter in limiters] == [45, 45]
    counters.whole_at.clear()
    assert sum([await at_once(limiter, actor, 45) for limiter in reversed(limiters)]) == 10


@pytest.mark.parametrize("seed", range(8))
async def test_counters_that_come_and_go_never_let_in_more_than_the_limit(seed: int) -> None:
    """Bursts at two processes while the counters are there, away, and back: what was given without them is charged."""
    dice = random.Random(seed)  # noqa: S311 - a repeatable mixture, no secret
    clock = Clock()
    counters = KeptCounters(clock)
    limiters = [Limiter(only(user="60/minute"), counters, processes=2, clock=clock) for _ in range(2)]
    actor = someone()
    began = clock.now
    total = 0
    for _ in range(3):
        for _ in range(40):
            clock.now += dice.choice((0, 0.1, 0.5, 2))
            total += sum([await at_once(limiter, actor, dice.choice((1, 5, 60))) for limiter in limiters])
            assert total <= 60 + (clock.now - began) + LEASE + 1
            counters.away = dice.random() < (0.9 if counters.away else 0.1)
        counters.away = False
        async with asyncio.timeout(10):
            while any(limiter.supply.alone for limiter in limiters):  # noqa: ASYNC110 - a limiter has no event
                await asyncio.sleep(0.01)
    for limiter in limiters:
        await limiter.close()


async def test_a_process_starts_while_redis_is_away(redis: RedisServer, database: Database) -> None:
    await redis.kill()
    async with limiting(only(user="1000/second"), RedisSettings(url=redis.url), database.pool) as limiter:
        actor = someone()
        await lets_in(limiter, actor)
        assert limiter.supply.alone
        async with asyncio.timeout(10):
            while not await lets_in(limiter, actor):  # noqa: ASYNC110 - it is time that gives units
                await asyncio.sleep(0.01)
