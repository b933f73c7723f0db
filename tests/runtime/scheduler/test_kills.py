"""Schedulers that are killed at any moment: no tick is lost, and none starts a second run (S72)."""

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from agent_factory.database.session import Database
from agent_factory.runtime.scheduler.naming import named
from tests.runtime.scheduler.parts import START, Clock, Starts, runs, schedule, scheduler, ticks

ROOT = Path(__file__).resolve().parents[3]
SPEED = 200.0
"""Seconds of the clock that pass in one."""
SCHEDULES = 20
KILLS = 8


@asynccontextmanager
async def child(url: str, began: float) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.runtime.scheduler.child", url, START.isoformat(), str(began), str(SPEED)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},  # noqa: TID251 - a child needs to find its interpreter
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def live(url: str, began: float, dice: random.Random, kills: list[None]) -> None:
    """Run one process after another, and kill each in the midst of what it does."""
    while len(kills) < KILLS:
        async with child(url, began) as process:
            assert process.stdout is not None
            for _ in range(dice.randrange(1, 200)):
                assert await process.stdout.readline(), "a scheduler ended by itself"
            process.kill()
            kills.append(None)


@pytest.mark.timeout(240)
async def test_schedulers_that_are_killed_lose_no_tick_and_start_no_run_twice(
    own: Database, owner: tuple[UUID, UUID], fresh_database_url: str
) -> None:
    made = [await schedule(own, owner, misfire="all") for _ in range(SCHEDULES)]
    began = time.time()
    dice = random.Random(7)  # noqa: S311 - which moments are tried, no secret
    kills: list[None] = []
    await asyncio.gather(*(live(fresh_database_url, began, dice, kills) for _ in range(4)))
    fired_by_them = len(await ticks(own))
    end = START + timedelta(seconds=(time.time() - began) * SPEED)
    await settled(own, end)
    expected = {(trigger, at) for trigger in made for at in each_minute(end)}
    rows = await own.pool.fetch("select trigger_id, tick_at, run_id from trigger_ticks")
    assert fired_by_them > 0
    assert {(row["trigger_id"], row["tick_at"]) for row in rows} == expected
    assert await runs(own) == {named(at, trigger, at.isoformat()) for trigger, at in expected}
    assert len(rows) == len(expected)


async def settled(own: Database, end: datetime) -> None:
    """Fire what nobody has fired, once PostgreSQL has noticed that the killed are gone."""
    last = scheduler(own, Clock(end), Starts(own))
    while await own.pool.fetchval("select count(*) from triggers where next_at <= $1", end):
        await last.look()


def each_minute(end: datetime) -> list[datetime]:
    first = START.replace(second=0) + timedelta(minutes=1)
    return [first + timedelta(minutes=n) for n in range(int((end - first) / timedelta(minutes=1)) + 1)]
