"""Workers that die, stop and end: nothing is lost, and nothing that is recorded is done twice (S83)."""

import asyncio
import random
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agent_factory.core.workflow import Flow
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.security.auth import Actor
from tests.doubles.fixtures import EffectsServer
from tests.runtime.queue.parts import begin, drained, ended, flow
from tests.runtime.queue.processes import workers_on

pytestmark = pytest.mark.timeout(120)


def effect(server: EffectsServer, task_id: str, delay: float = 0.0, **more: Any) -> dict[str, Any]:
    """Make a task that the server counts; its key is the run and the task."""
    config = {"url": f"{server.url}/{task_id}", "method": "POST", "query": {"delay": str(delay)}}
    return {"id": task_id, "type": "http", "config": config, **more}


def chain(server: EffectsServer, many: int, delay: float = 0.0) -> Flow:
    tasks = [effect(server, f"t{i}", delay, next=[f"t{i + 1}"] if i + 1 < many else []) for i in range(many)]
    return flow(*tasks)


async def asked(server: EffectsServer, run_id: UUID, path: str, times: int = 1) -> None:
    """Wait until the server was asked for a task's effect."""
    while (await server.of(f"{run_id}/{path}"))["requests"] < times:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.02)


@pytest.fixture
def place(fresh_database_url: str, tmp_path: Path, effects_server: EffectsServer) -> tuple[str, Path, str]:
    """Where worker processes work."""
    return fresh_database_url, tmp_path, effects_server.host


def test_a_dead_worker_is_noticed_within_fifteen_seconds() -> None:
    """By the settings that hold unless somebody changes them."""
    settings = QueueSettings()
    assert settings.lease + settings.beat + settings.poll < 15


async def test_a_run_whose_worker_is_killed_is_finished_by_another(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    async with workers_on(*place) as workers:
        doomed = await workers.start()
        started = await begin(queue, actor.organization_id, chain(effects_server, 3, 0.5))
        await asked(effects_server, started.id, "t1")
        await workers.start()
        await doomed.kill()
        assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    told = [await effects_server.of(f"{started.id}/t{i}") for i in range(3)]
    assert [one["effects"] for one in told] == [1, 1, 1]
    assert [one["requests"] for one in told] == [1, 2, 1], "what was recorded is not asked for again"


async def test_a_worker_that_was_stopped_past_its_lease_writes_nothing_more_to_its_runs(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    async with workers_on(*place) as workers:
        zombie = await workers.start()
        started = await begin(queue, actor.organization_id, chain(effects_server, 3, 0.5))
        await asked(effects_server, started.id, "t1")
        zombie.send(signal.SIGSTOP)
        other = await workers.start()
        run = await ended(queue, actor.organization_id, started.id)
        assert run.status == "completed"
        before = await queue.pool.fetch("select run_id, path, ord, created_at from run_steps order by path")
        await other.kill()
        zombie.send(signal.SIGCONT)
        # it works on, for others; its answer for the old run has come long since
        fresh = await begin(queue, actor.organization_id, chain(effects_server, 1))
        assert (await ended(queue, actor.organization_id, fresh.id)).status == "completed"
    after = await queue.pool.fetch(
        "select run_id, path, ord, created_at from run_steps where run_id = $1 order by path", started.id
    )
    assert after == before
    assert (await queue.run(actor.organization_id, started.id)).completed_at == run.completed_at
    assert [(await effects_server.of(f"{started.id}/t{i}"))["requests"] for i in range(3)] == [1, 2, 1]


async def test_a_worker_that_is_asked_to_stop_hands_its_runs_over_at_once(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    """Nobody waits for a lease of ten minutes to pass."""
    async with workers_on(*place, lease=600) as workers:
        polite = await workers.start()
        started = await begin(queue, actor.organization_id, chain(effects_server, 3, 0.5))
        await asked(effects_server, started.id, "t1")
        await workers.start()
        polite.send(signal.SIGTERM)
        assert await polite.ended() == 0
        assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    told = [await effects_server.of(f"{started.id}/t{i}") for i in range(3)]
    assert [one["effects"] for one in told] == [1, 1, 1]
    assert (told[0]["requests"], told[2]["requests"]) == (1, 1)
    assert await queue.pool.fetchval("select attempts from runs") == 0


async def test_a_run_that_takes_every_worker_with_it_fails(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    async with workers_on(*place, attempts=2) as workers:
        started = await begin(queue, actor.organization_id, chain(effects_server, 1, 30))
        for times in (1, 2):
            doomed = await workers.start()
            await asked(effects_server, started.id, "t0", times)
            await doomed.kill()
        await workers.start()
        run = await ended(queue, actor.organization_id, started.id)
    assert (run.status, (run.problem() or {})["code"]) == ("failed", "run_interrupted")
    assert (await effects_server.of(f"{started.id}/t0"))["requests"] == 2


async def test_a_run_that_gets_further_each_time_outlives_any_number_of_workers(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    async with workers_on(*place, attempts=2) as workers:
        started = await begin(queue, actor.organization_id, chain(effects_server, 5, 0.4))
        for index in range(4):
            doomed = await workers.start()
            await asked(effects_server, started.id, f"t{index}")
            await doomed.kill()
        await workers.start()
        assert (await ended(queue, actor.organization_id, started.id)).status == "completed"


async def test_two_workers_never_do_one_task_twice(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    each = {
        "id": "each",
        "type": "map",
        "config": {"items": "{{ input }}", "concurrency": 4, "tasks": [effect(effects_server, "one")]},
    }
    what = flow(effect(effects_server, "first", next=["each"]), each)
    async with workers_on(*place) as workers:
        await asyncio.gather(workers.start(), workers.start())
        started = [await begin(queue, actor.organization_id, what, list(range(5))) for _ in range(40)]
        await drained(queue.pool, "select count(*) from runs where status <> 'completed'")
    for one in started:
        for path in ("first", *(f"each[{i}]/one" for i in range(5))):
            told = await effects_server.of(f"{one.id}/{path}")
            assert (told["effects"], told["requests"]) == (1, 1), path


async def test_killing_workers_at_random_loses_nothing_and_repeats_only_what_was_in_flight(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    dice = random.Random(20261121)  # noqa: S311 - a repeatable mixture, no secret
    kills, places = 6, 4
    async with workers_on(*place, tasks=places, attempts=100) as workers:
        at_work = [await workers.start() for _ in range(2)]
        started = [await begin(queue, actor.organization_id, chain(effects_server, 6, 0.03)) for _ in range(60)]
        for _ in range(kills):
            await asyncio.sleep(dice.uniform(0.3, 1.0))
            await at_work.pop(0).kill()
            at_work.append(await workers.start())
        await drained(queue.pool, "select count(*) from runs where status <> 'completed'")
    requests = 0
    for one in started:
        for index in range(6):
            told = await effects_server.of(f"{one.id}/t{index}")
            assert told["effects"] == 1
            requests += told["requests"]
    assert 360 <= requests <= 360 + kills * places
    assert await queue.pool.fetchval("select count(*) from run_steps") == 360


async def test_workers_outlive_their_database(
    queue: Queue, actor: Actor, effects_server: EffectsServer, place: tuple[str, Path, str]
) -> None:
    """Every connection is cut, again and again, while runs are at work."""
    async with workers_on(*place) as workers:
        await workers.start()
        started = [await begin(queue, actor.organization_id, chain(effects_server, 5, 0.05)) for _ in range(20)]
        for _ in range(5):
            await asyncio.sleep(0.2)
            await _cut(queue)
        for one in started:
            assert (await ended(queue, actor.organization_id, one.id)).status == "completed"
    for one in started:
        assert [(await effects_server.of(f"{one.id}/t{i}"))["effects"] for i in range(5)] == [1] * 5


async def _cut(queue: Queue) -> None:
    async with queue.pool.transaction() as connection:
        await connection.execute("reset role")
        await connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and usename = session_user and pid <> pg_backend_pid()"
        )
