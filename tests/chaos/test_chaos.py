"""Workers and PostgreSQL killed, stopped and brought back under random workflows (S83, S86).

`AF_CHAOS_KILLS` says how often (200 is the long form), `AF_CHAOS_SEED` repeats
the workflows and the order of what happens to them.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from agent_factory.core.workflow import flow_of
from agent_factory.database.driver import Row
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.kit.errors import Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.errors import RunNotWaiting
from agent_factory.runtime.queue.queue import Queue, StartRun
from agent_factory.runtime.queue.waits import Decision
from agent_factory.security.egress import Egress
from tests.chaos.definitions import Maker, Plain
from tests.doubles.fixtures import EffectsServer
from tests.runtime.queue.processes import WorkerProcess, Workers, workers_on

KILLS = int(os.environ.get("AF_CHAOS_KILLS", "6"))  # noqa: TID251 - a test's own switch, no setting of the product
SEED = int(os.environ.get("AF_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)  # noqa: TID251 - as above
WORKERS = 3
LEASE = 2.0
RUNS = 8
"""Runs that are started before each kill."""


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    """A PostgreSQL of the test's own: it commits for good what it acknowledges, as far as killed processes go."""
    made = Server(tmp_path_factory.mktemp("chaos") / "postgres", {"fsync": "off"})
    await migrate(await made.start())
    yield made
    await made.stop()


class World:
    """What is disturbed, what was promised, and what is watched."""

    def __init__(self, server: Server, database: Database, workers: Workers, effects: EffectsServer) -> None:
        self.random = random.Random(SEED)  # noqa: S311 - a repeatable mixture, no secret
        self.server = server
        self.pool = database.pool
        self.queue = Queue(database)
        self.workers = workers
        self.effects = effects
        self.egress = Egress().trusting(effects.host)
        self.organization_id = uuid7()
        self.at_work: list[WorkerProcess] = []
        self.expected: dict[UUID, tuple[Any, int]] = {}
        self.settled: dict[str, int] = {}
        """Requests of effects that were journaled, by key: there will never be more."""

    # What the product promises is asked here.

    async def rows(self, sql: str, *args: object) -> list[Row]:
        """Ask, however long PostgreSQL is away."""
        while True:
            with suppress(Unavailable):
                return await self.pool.fetch(sql, *args, again=True)
            await asyncio.sleep(0.05)

    async def counts(self) -> dict[str, dict[str, int]]:
        answer = await self.egress.request("GET", f"http://{self.effects.host}/effects", max_bytes=100_000_000)
        return answer.json()

    async def start(self) -> None:
        """Start a run until that is acknowledged; what it has to end with is known from then on."""
        maker = Maker(self.random.getrandbits(32), self.effects.url)
        definition, document, run_id = maker.definition(), self.random.randint(0, 99), uuid7()
        flows = {name: flow_of(child) for name, child in maker.children.items()}
        start = StartRun(
            organization_id=self.organization_id, flow=flow_of(definition), flows=flows, input=document, id=run_id
        )
        while True:
            with suppress(Unavailable):
                await self.queue.start(start)
                break
            await asyncio.sleep(0.05)
        plain = Plain(maker.children)
        status, output = plain.run(definition, document)
        assert status == "completed"
        self.expected[run_id] = (output, plain.requests)

    async def decide_forever(self) -> None:
        """Decide what people are asked, as the title says."""
        while True:
            for row in await self.rows("select run_id, path, title from approvals where status = 'pending'"):
                decision = Decision(approved=row["title"] == "yes", by="chaos")
                with suppress(Unavailable, RunNotWaiting):
                    await self.queue.decide(self.organization_id, row["run_id"], row["path"], decision)
            await asyncio.sleep(0.05)

    async def note(self) -> None:
        """Remember how often each effect that is journaled by now was asked for."""
        rows = await self.rows("select run_id, path from run_steps where name = 'http' and kind = 'task'")
        fresh = {f"{row['run_id']}/{row['path']}" for row in rows} - self.settled.keys()
        counts = await self.counts()
        self.settled |= {key: counts[key]["requests"] for key in fresh}

    # What happens to it.

    async def kill_worker(self) -> None:
        await self.at_work.pop(self.random.randrange(len(self.at_work))).kill()
        self.at_work.append(await self.workers.start())

    async def stop_worker(self) -> None:
        """Stop one for longer than its lease, so that others take its runs; then it goes on as if nothing was."""
        stopped = self.random.choice(self.at_work)
        stopped.send(signal.SIGSTOP)
        await asyncio.sleep(LEASE * self.random.uniform(1.2, 2.0))
        stopped.send(signal.SIGCONT)

    async def kill_postgres(self) -> None:
        pid = self.server.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        await self.rows("select 1")

    async def kill_backend(self) -> None:
        """Kill a process of PostgreSQL's, which ends all connections and recovers."""
        with suppress(psutil.NoSuchProcess):
            self.random.choice(psutil.Process(self.server.pid).children()).kill()
        await self.rows("select 1")

    async def kill_everything(self) -> None:
        await asyncio.gather(self.kill_postgres(), *(worker.kill() for worker in self.at_work))
        self.at_work = [await self.workers.start() for _ in self.at_work]

    def disturbances(self) -> list[str]:
        """Give `KILLS` of them, every kind equally often, in a random order."""
        kinds = ["kill_worker", "kill_postgres", "stop_worker", "kill_worker", "kill_backend", "kill_everything"]
        found = (kinds * (KILLS // len(kinds) + 1))[:KILLS]
        self.random.shuffle(found)
        return found

    async def busy(self) -> None:
        """Wait until an effect is being asked for, so that something is in flight; new workers take a moment."""
        asked = await self._asked()
        await self._until(
            "select not exists (select from runs where status in ('pending', 'running')) as done",
            lambda: self._asked_more_than(asked),
        )

    async def _asked(self) -> int:
        return (await self.egress.request("GET", f"http://{self.effects.host}/counts")).json()["requests"]

    async def _asked_more_than(self, before: int) -> bool:
        return await self._asked() > before

    async def ended(self) -> None:
        """Wait until no run is left."""
        await self._until("select not exists (select from runs where status not in ('completed', 'failed')) as done")

    async def _until(self, sql: str, other: Callable[[], Awaitable[bool]] | None = None) -> None:
        while not (await self.rows(sql))[0]["done"]:
            if other is not None and await other():
                return
            await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Compare everything with what was promised."""
        counts = await self.counts()
        again = {key: counts[key]["requests"] for key, were in self.settled.items() if counts[key]["requests"] != were}
        assert again == {}, "what was journaled is not asked for again"
        for run_id, (output, requests) in self.expected.items():
            run = await self.queue.run(self.organization_id, run_id)
            assert (run.status, run.result()) == ("completed", output), (run_id, run.problem())
            mine = {key: told for key, told in counts.items() if key.startswith(f"{run_id}/")}
            assert len(mine) == requests, run_id
            for key, told in mine.items():
                assert told["effects"] + bool(told["failed"]) == 1, key
                assert told["conflicts"] == 0, key
                assert told["requests"] <= run.epoch, f"{key} was asked for twice by one who had the run"
        assert (await self.rows("select count(*) as n from run_waits"))[0]["n"] == 0
        assert (await self.rows("select count(*) as n from approvals where status = 'pending'"))[0]["n"] == 0
        done = (await self.rows("select count(*) as n from run_steps where name = 'http' and kind = 'task'"))[0]["n"]
        assert done == sum(requests for _, requests in self.expected.values())
        repeated = sum(told["requests"] - 1 for key, told in counts.items() if UUID(key[:36]) in self.expected)
        print(f"{len(self.expected)} runs, {done} effects, {repeated} in flight were asked for again")  # noqa: T201 - the long form's figures


@pytest.mark.timeout(60 + 30 * KILLS)
async def test_nothing_is_lost_and_nothing_that_is_journaled_is_done_again(
    server: Server, effects_server: EffectsServer, tmp_path: Path
) -> None:
    print(f"AF_CHAOS_SEED={SEED} AF_CHAOS_KILLS={KILLS}")  # noqa: T201 - what repeats a failure
    database = Database(server.url)
    began = time.monotonic()
    async with workers_on(server.url, tmp_path, effects_server.host, lease=LEASE, tasks=8, attempts=1000) as workers:
        world = World(server, database, workers, effects_server)
        world.at_work = [await workers.start() for _ in range(WORKERS)]
        deciding = asyncio.create_task(world.decide_forever())
        for number, disturbance in enumerate(world.disturbances(), 1):
            await asyncio.gather(*(world.start() for _ in range(RUNS)))
            await world.busy()
            await asyncio.sleep(world.random.uniform(0.0, 0.3))
            await world.note()
            await getattr(world, disturbance)()
            if KILLS > 6:
                print(f"{time.monotonic() - began:7.1f} s  {number:4}/{KILLS}  {disturbance}")  # noqa: T201 - progress
        await world.ended()
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)
        assert all(worker._process.returncode is None for worker in world.at_work), "a worker outlives its database"
        await world.check()
    await world.egress.close()
    await database.close()
