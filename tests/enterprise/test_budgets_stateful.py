"""Many callers, dying processes, lost connections and ending periods: no limit is overshot, and nothing leaks.

What stands for a process is inside this one, but in the last test: there real
ones are killed. The long form, with AF_SLOW_PROOFS set, does more of it all
(S207-S209, abuse 70).
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, cast

import asyncpg
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.enterprise.multitenancy.errors import LimitReached
from agent_factory.enterprise.multitenancy.ledger import Call, Ledger, Reservation
from agent_factory.enterprise.multitenancy.limits import Metric, Period, Spender
from agent_factory.kit.errors import Unavailable
from agent_factory.kit.ids import uuid7
from tests.enterprise.world import World
from tests.serving import ROOT

LEASE = 1.5
"""Seconds, as the spending processes have it."""

SLOW = "AF_SLOW_PROOFS" in os.environ  # noqa: TID251 - a test's own switch, no setting of the product
CALLERS = 200
PROCESSES = 3
KILLS = 60 if SLOW else 2

CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and query like '%_reservations(%'
"""

END_OF_DAY = """
with day as (
  select 'budget/' || id as key from budgets where organization_id = $1 and period = 'day'
), m as (
  update meters set since = since - interval '1000 days' where organization_id = $1 and key in (select key from day)
)
update reservations r set sinces = (
  select array_agg(case when k.key in (select key from day) then k.since - interval '1000 days' else k.since end
    order by k.ord)
  from unnest(r.keys, r.sinces) with ordinality as k(key, since, ord)
)
where organization_id = $1
"""
"""What was counted until now belongs to a day that is over; 1,000 of them, so that no two rows meet on the way."""


class Holding(msgspec.Struct):
    """A call under way: who makes it, and what it holds."""

    process: Ledger
    spender: Spender
    held: Reservation
    path: str
    call: Call


class Running(msgspec.Struct):
    """A process that spends, and the name in which it holds."""

    process: asyncio.subprocess.Process
    holder: str


class Spending(RuleBasedStateMachine):
    """Any order of crowds, deaths, cuts and ends of days.

    `expected` is what everything that happened must have added to the limits.
    No rule has a precondition: who holds what depends on who came first, and
    hypothesis wants the same rules to be there whenever it repeats an example.
    """

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.expected: Counter[Metric] = Counter()
        self.holding: list[Holding] = []
        self.steps = 0
        self.runner.run(self._open())

    def teardown(self) -> None:
        try:
            self.runner.run(self._close())
        finally:
            self.runner.close()

    async def _open(self) -> None:
        self.databases = [Database(self.url, DatabaseSettings(pool_size=4)) for _ in range(PROCESSES)]
        self.world = await World.found(self.databases[0])
        self.keys = [uuid7(), uuid7()]
        agent_id = await self.world.agent("support")
        # Money and tokens of the whole organisation without a period tell at the end whether everything adds up.
        self.tokens = await self.world.budget(Metric.TOKENS, Period.TOTAL, 60_000)
        self.usd = await self.world.budget(Metric.USD, Period.TOTAL, "30")
        await self.world.budget(Metric.TOKENS, Period.DAY, 9_000)
        await self.world.budget(Metric.TOKENS, Period.RUN, 2_500)
        await self.world.budget(Metric.TOKENS, Period.DAY, 5_000, agent_id=agent_id)
        await self.world.budget(Metric.USD, Period.MONTH, "9.5", key_id=self.keys[0])
        await self.world.quota(Metric.TOKENS, 50_000)
        self.processes = [self.world.process(each) for each in self.databases]
        for process in self.processes:
            await self.world.beat(process)
        self.runs = [uuid7() for _ in range(6)]

    async def _close(self) -> None:
        try:
            await self._end()
        finally:
            for database in self.databases:
                await database.close()

    async def _end(self) -> None:
        """Let everybody go; whatever was held is counted, and the usage tells of all that the limits counted."""
        for holding in list(self.holding):
            await self._settle(holding, 1)
        survivor = self.world.process()
        await self.world.beat(survivor)
        for process in self.processes:
            await process.idle()
            await self.world.die(process)
        await self.world.sweep(survivor)
        assert await self.world.held() == 0
        assert await self.world.overshot() == []
        assert await self.world.unequal() == []
        assert await self.world.used(f"budget/{self.tokens}") == self.expected[Metric.TOKENS]
        assert await self.world.used(f"budget/{self.usd}") == self.expected[Metric.USD]
        assert await self.world.told() == (self.expected[Metric.TOKENS], self.expected[Metric.USD])

    @invariant()
    def nothing_is_overshot_and_nothing_leaks(self) -> None:
        self.runner.run(self._look())

    async def _look(self) -> None:
        for process in self.processes:
            await process.idle()
        assert await self.world.overshot() == []
        assert await self.world.unequal() == []
        assert await self.world.held() == len(self.holding)

    @rule(seed=st.integers(0, 2**32), callers=st.sampled_from([1, 20, CALLERS]), cut=st.booleans())
    def a_crowd_calls(self, seed: int, callers: int, cut: bool) -> None:
        """200 at once: some settle, some hold on, some leave in the middle."""
        self.runner.run(self._crowd(random.Random(seed), callers, cut=cut))  # noqa: S311 - repeatable, no secret

    async def _crowd(self, dice: random.Random, callers: int, *, cut: bool) -> None:
        calls = [asyncio.create_task(self._call(random.Random(dice.random()))) for _ in range(callers)]  # noqa: S311 - as above
        async with _watched(self.world):
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            for task in dice.sample(calls, callers // 10):
                task.cancel()
            if cut:
                await self.databases[0].ping()
                await _on_its_own(self.url, CUT)
            ended = await asyncio.gather(*calls, return_exceptions=True)
        for each in ended:
            assert each is None or isinstance(each, asyncio.CancelledError | LimitReached | Unavailable), repr(each)

    async def _call(self, dice: random.Random) -> None:
        self.steps += 1
        path = f"model/{self.steps}"
        process = dice.choice(self.processes)
        most = Call("double:echo", dice.randrange(300), dice.randrange(1, 300), Decimal(dice.randrange(1, 20)) / 100)
        spender = self.world.spender(
            run_id=dice.choice(self.runs),
            agents=dice.choice(((), ("support",), ("boss", "support"))),
            key_id=dice.choice((None, *self.keys)),
        )
        amounts = {Metric.TOKENS: most.input_tokens + most.output_tokens, Metric.USD: most.cost_usd or 0}
        held = await process.reserve(spender, amounts, path=path, call=most)
        assert held is not None
        holding = Holding(process, spender, held, path, most)
        self.holding.append(holding)
        try:
            await asyncio.sleep(0)
            if dice.random() < 0.6:
                await self._settle(holding, dice.random())
        except asyncio.CancelledError:
            if holding in self.holding:
                self._give_up(holding)
            raise

    async def _settle(self, holding: Holding, share: float) -> None:
        """End a call that used a share of what it held; half of them leave a step that tells so."""
        self.holding.remove(holding)
        most = holding.call
        used = Call(most.model, int(most.input_tokens * share), int(most.output_tokens * share), most.cost_usd)
        tokens = used.input_tokens + used.output_tokens
        self._expect(tokens, used.cost_usd)
        amounts = {Metric.TOKENS: tokens, Metric.USD: used.cost_usd or 0}
        if tokens % 2:
            holding.process.settle_soon(holding.held, amounts, told=used)
            return
        assert holding.spender.run_id is not None
        recording = self.world.record(holding.spender.run_id, holding.path, tokens, str(used.cost_usd))
        try:
            await asyncio.shield(asyncio.ensure_future(recording))
        finally:
            holding.process.settle_soon(holding.held, amounts)

    def _give_up(self, holding: Holding) -> None:
        """Leave a call in the middle, as one does who is cancelled."""
        self.holding.remove(holding)
        self._expect_whole(holding)
        holding.process.settle_soon(holding.held, None)

    @rule(seed=st.integers(0, 2**32))
    def a_process_dies(self, seed: int) -> None:
        """All that it held is settled by another one: by the step where there is one, else whole."""
        self.runner.run(self._die(random.Random(seed)))  # noqa: S311 - as above

    async def _die(self, dice: random.Random) -> None:
        number = dice.randrange(PROCESSES)
        dead = self.processes[number]
        mine = [each for each in self.holding if each.process is dead]
        self.holding = [each for each in self.holding if each.process is not dead]
        for each in mine:
            tokens = dice.randrange(each.call.input_tokens + each.call.output_tokens + 1)
            if dice.random() < 0.5 and each.spender.run_id is not None:
                await self.world.record(each.spender.run_id, each.path, tokens, "0.01")
                self._expect(tokens, Decimal("0.01"))
            else:
                self._expect_whole(each)
        await self.world.die(dead)
        self.processes[number] = self.world.process(self.databases[number])
        await self.world.beat(self.processes[number])
        await asyncio.gather(*(self.world.sweep(each) for each in self.processes))

    @rule()
    def the_day_ends(self) -> None:
        """What was used and is held belongs to the day before; the new one begins with nothing."""
        self.runner.run(self._end_day())

    async def _end_day(self) -> None:
        done = await _on_its_own(self.url, END_OF_DAY, self.world.organization_id, role="af_system")
        assert done == f"UPDATE {len(self.holding)}"

    @rule(share=st.floats(0, 1))
    def long_calls_end(self, share: float) -> None:
        """Those who held on let go, also of what they took on a day that is over."""
        self.runner.run(self._end_all(share))

    async def _end_all(self, share: float) -> None:
        await asyncio.gather(*(self._settle(each, share) for each in list(self.holding)))

    def _expect_whole(self, holding: Holding) -> None:
        self._expect(holding.call.input_tokens + holding.call.output_tokens, holding.call.cost_usd)

    def _expect(self, tokens: int, usd: Decimal | None) -> None:
        self.expected[Metric.TOKENS] += tokens
        self.expected[Metric.USD] += cast("int", usd or 0)  # a counter adds up anything


@asynccontextmanager
async def _watched(world: World) -> AsyncGenerator[None, None]:
    """See at every moment that no limit is overshot."""
    over = asyncio.Event()

    async def look() -> None:
        while not over.is_set():
            assert await world.overshot() == []

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        over.set()
        with suppress(Unavailable):  # whoever cuts connections cuts this one, too
            await looking


async def _on_its_own(url: str, sql: str, *args: Any, role: str = "none") -> str:
    """Run a statement on a connection that nobody cuts."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"set role {role}")
        return await connection.execute(sql, *args)
    finally:
        await connection.close()


def test_no_limit_is_overshot_and_nothing_leaks_whatever_happens(database_url: str) -> None:
    """S207-S209: 200 concurrent callers, deaths, lost connections, ends of days."""

    class Here(Spending):
        url = database_url

    examples, steps = (150, 40) if SLOW else (6, 8)
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not SLOW,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )


async def test_processes_that_are_killed_or_stopped_lose_nothing_and_overshoot_nothing(
    database_url: str, database: Database
) -> None:
    """S207-S209: three processes with 67 callers each on one budget, killed by SIGKILL one after the other.

    Every other one is stopped before, for longer than its lease, and goes on for a moment: what it had held was
    settled by the others meanwhile.
    """
    world = await World.found(database)
    budget = await world.budget(Metric.TOKENS, Period.TOTAL, 40_000 * KILLS)
    dice = random.Random()  # noqa: S311 - no secret
    survivor = Ledger(database.pool, "survivor", lease=LEASE)
    sweeping = asyncio.create_task(_sweep(survivor))
    alive = list(await asyncio.gather(*(_spender(database_url, world, dice) for _ in range(3))))
    try:
        for number in range(KILLS):
            async with _watched(world):
                following = asyncio.create_task(_spender(database_url, world, dice))
                await asyncio.sleep(dice.uniform(0.1, 0.4))  # what is killed is in the middle of something
                if number % 2:
                    await _paused(alive[0], world)
                await _killed(alive.pop(0))
                alive.append(await following)
    finally:
        for spender in alive:
            await _killed(spender)
    while await world.held():  # noqa: ASYNC110 - the dead have to have been silent for a lease, and nobody says when
        await asyncio.sleep(LEASE / 10)
    sweeping.cancel()
    assert await world.overshot() == []
    assert await world.unequal() == []
    used = await world.used(f"budget/{budget}")
    assert used > 0
    assert (await world.told())[0] == used


async def _sweep(ledger: Ledger) -> None:
    while True:
        with suppress(Unavailable):
            await ledger.sweep()
        await asyncio.sleep(LEASE / 4)


async def _paused(spender: Running, world: World) -> None:
    """Stop a process until others have settled all that it held, and let it go on for a moment."""
    with suppress(ProcessLookupError):  # it may have ended by itself, when it was too slow to beat
        spender.process.send_signal(signal.SIGSTOP)
        while await world.held_by(spender.holder):  # noqa: ASYNC110 - the database calls nobody back
            await asyncio.sleep(LEASE / 10)
        spender.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(LEASE / 10)


async def _killed(spender: Running) -> None:
    with suppress(ProcessLookupError):
        spender.process.kill()
    await spender.process.wait()


async def _spender(url: str, world: World, dice: random.Random) -> Running:
    command = [sys.executable, "-m", "tests.enterprise.spender", "--database", url]
    command += ["--organization", str(world.organization_id), "--seed", str(dice.randrange(2**32))]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return Running(process, (await process.stdout.readline()).decode().strip())
