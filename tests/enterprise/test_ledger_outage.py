"""The database goes away in the middle of calls and comes back: nothing is had for nothing, and nothing stays held.

With AF_SLOW_PROOFS set it is away for 30 seconds.
"""

import asyncio
import os
import random
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path

import pytest

from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.enterprise.multitenancy.errors import LimitReached
from agent_factory.enterprise.multitenancy.ledger import Call, Ledger, Reservation
from agent_factory.enterprise.multitenancy.limits import Metric, Period
from agent_factory.kit.errors import Unavailable
from agent_factory.kit.ids import uuid7
from tests.enterprise.world import World

AWAY = 30.0 if "AF_SLOW_PROOFS" in os.environ else 1.5  # noqa: TID251 - a test's own switch, no setting of the product
"""Seconds; longer than the patience and the lease of the short form."""

LEASE = 1.0
PATIENCE = 0.5
CALLERS = 60
TOKENS = 100_000


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    """A server of the test's own, to stop and start."""
    with tempfile.TemporaryDirectory(prefix="af-test-") as folder:
        made = Server(Path(folder) / "postgres", {"fsync": "off"})
        await migrate(await made.start())
        yield made
        await made.stop()


async def test_a_ledger_whose_database_was_away_counts_all_that_was_used(server: Server) -> None:
    """S207-S209: calls that end while it is away are settled when it is back; none begins meanwhile."""
    database = Database(server.url, DatabaseSettings(pool_size=8))
    world = await World.found(database)
    budget = await world.budget(Metric.TOKENS, Period.TOTAL, TOKENS)
    ledgers = [Ledger(database.pool, f"p{n}-{uuid7().hex}", lease=LEASE, patience=PATIENCE) for n in range(2)]
    for ledger in ledgers:
        await world.beat(ledger)
    used: Counter[str] = Counter()
    gone, back = asyncio.Event(), asyncio.Event()
    keeping = [asyncio.create_task(ledger.keep_forever()) for ledger in ledgers]
    dice = [random.Random(n) for n in range(CALLERS)]  # noqa: S311 - repeatable, no secret
    calls = [asyncio.create_task(_call(world, ledgers[n % 2], used, gone, back, each)) for n, each in enumerate(dice)]
    while await world.held() < CALLERS:  # noqa: ASYNC110 - the database calls nobody back
        await asyncio.sleep(0.01)
    await server.stop()
    gone.set()
    with pytest.raises(Unavailable):
        await ledgers[0].reserve(world.spender(), {Metric.TOKENS: 1})
    await asyncio.sleep(AWAY)
    await server.start()
    back.set()
    await asyncio.gather(*calls)
    async with asyncio.timeout(60):
        while await world.held():  # noqa: ASYNC110 - as above
            await asyncio.sleep(LEASE / 10)
    for task in keeping:
        task.cancel()
    assert await world.overshot() == []
    assert await world.unequal() == []
    assert used["refused while away"] > 0
    assert await world.used(f"budget/{budget}") == used["tokens"]
    assert (await world.told())[0] == used["tokens"]
    await database.close()


async def _call(
    world: World, ledger: Ledger, used: Counter[str], gone: asyncio.Event, back: asyncio.Event, dice: random.Random
) -> None:
    """Make calls: one that lasts until the database is gone, some while it is, and some once it is back."""
    held = await _reserved(world, ledger, dice)
    assert held is not None
    await gone.wait()
    await _end(ledger, held, used, dice)
    while not back.is_set():
        try:
            held = await _reserved(world, ledger, dice)
        except Unavailable:
            used["refused while away"] += 1
            await asyncio.sleep(0.05)
        else:
            if held is not None:
                await _end(ledger, held, used, dice)
    for _ in range(5):
        try:
            held = await _reserved(world, ledger, dice)
        except Unavailable:
            continue
        if held is not None:
            await _end(ledger, held, used, dice)


async def _reserved(world: World, ledger: Ledger, dice: random.Random) -> Reservation | None:
    most = dice.randrange(1, 300)
    try:
        return await ledger.reserve(world.spender(), {Metric.TOKENS: most}, call=Call("double:echo", most, 0))
    except LimitReached:
        return None


async def _end(ledger: Ledger, held: Reservation, used: Counter[str], dice: random.Random) -> None:
    """End a call as calls end: told, given up, or free."""
    most = int(held.amounts[Metric.TOKENS])
    kind = dice.random()
    if kind < 0.6:
        tokens = dice.randrange(most + 1)
        await ledger.settle(held, {Metric.TOKENS: Decimal(tokens)}, told=Call("double:echo", tokens, 0))
    elif kind < 0.8:
        tokens = most
        await ledger.forfeit(held)
    else:
        tokens = 0
        await ledger.release(held)
    used["tokens"] += tokens
