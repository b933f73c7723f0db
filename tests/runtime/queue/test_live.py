"""A run at work that is left, and tasks that come too late for it."""

import asyncio

import pytest

from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.heartbeat import Heartbeat
from agent_factory.runtime.queue.gate import Gate
from agent_factory.runtime.queue.live import LiveFlow
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.turn import Turn
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import QUICK, Effects, act, becomes, begin, ended, flow


async def test_a_run_that_is_left_twice_still_ends_what_it_began_to_end() -> None:
    """Cancelled a second time, it would break off while it writes down its last steps."""
    live = LiveFlow(uuid7(), uuid7())
    ending, ended = asyncio.Event(), asyncio.Event()
    written: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ending.set()
            await ended.wait()
            written.append("last steps")

    live.task = asyncio.create_task(work())
    await asyncio.sleep(0)
    live.leave()
    await ending.wait()
    live.leave()
    await asyncio.sleep(0)
    ended.set()
    await live.task
    assert written == ["last steps"]


class Silent(Heartbeat):
    """A heart whose last beat is too long ago."""

    @property
    def lapsed(self) -> bool:
        return True


async def test_a_task_that_is_called_in_after_the_lease_has_passed_does_not_begin(database: Database) -> None:
    """Whoever took the run over may be doing it; the place goes to the next one."""
    gate, live = Gate(1), LiveFlow(uuid7(), uuid7())

    async def work() -> None:
        await asyncio.Event().wait()

    task = live.task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        async with Turn(gate.place(live.organization_id), live, Silent(database.pool, "w", 10.0)):
            pytest.fail("it began")
    assert live.leaving
    await asyncio.wait([task])
    assert task.cancelled()
    async with asyncio.timeout(5), gate.place(uuid7()):
        pass


async def test_the_time_that_a_task_waits_in_line_does_not_count_against_its_timeout(
    queue: Queue, work: Work, actor: Actor, other_actor: Actor, effects: Effects
) -> None:
    """S88: a busy worker fails nobody's tasks."""
    held = effects.hold("first")
    worker = await work(QUICK.model_copy(update={"tasks": 1}))
    await begin(queue, actor.organization_id, flow(act("first")))
    await effects.entered["first"].wait()
    started = await begin(queue, other_actor.organization_id, flow(act("second", timeout=0.2)))
    await becomes(lambda: other_actor.organization_id in worker._gate._waiting)
    await asyncio.sleep(0.4)  # twice what it may take itself
    held.set()
    assert (await ended(queue, other_actor.organization_id, started.id)).status == "completed"
