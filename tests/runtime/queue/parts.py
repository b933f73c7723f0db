"""What tests of the queue are made of: effects that are counted and held, workflows, and looks at the rows."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from agent_factory.core.task import EFFECTS
from agent_factory.core.workflow import Flow, flow_of
from agent_factory.database.pool import Pool
from agent_factory.database.session import Database
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.context import Leaf, TaskCall
from agent_factory.runtime.queue.queue import Queue, Started, StartRun
from agent_factory.runtime.queue.rows import FlowRun
from agent_factory.runtime.queue.settings import QueueSettings

QUICK = QueueSettings(poll=0.1, lease=0.6, beat=0.1, patience=2.0)
"""Leases short enough for a test to see them pass."""


class Broken(Problem):
    """What a task of a test fails with."""

    code = "broken"
    title = "Broken"


class Effects:
    """Stands in for every task with an effect: an `http` task to `/name` counts itself, may be held, and may fail."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.order: list[str] = []
        self.keys: Counter[str] = Counter()
        self.held: dict[str, asyncio.Event] = {}
        self.entered: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()

    @property
    def leaves(self) -> Mapping[str, Leaf]:
        return dict.fromkeys(EFFECTS, self._act)

    def hold(self, name: str) -> asyncio.Event:
        """Keep tasks of a name from ending until the event is set."""
        self.held[name] = asyncio.Event()
        self.entered[name] = asyncio.Event()
        return self.held[name]

    async def _act(self, call: TaskCall) -> Any:
        name = str(getattr(call.config, "url", call.path)).strip("/")
        self.done[name] += 1
        self.order.append(name)
        self.keys[call.key] += 1
        if name in self.entered:
            self.entered[name].set()
            await self.held[name].wait()
        if name in self.failing:
            raise Broken(f"{name} is broken.")
        return {"did": name}


def flow(*tasks: dict[str, Any], **more: Any) -> Flow:
    """Make a workflow of some tasks."""
    return flow_of({"name": "test", "tasks": list(tasks), **more})


def act(task_id: str, url: str = "", **more: Any) -> dict[str, Any]:
    """Make a task with an effect."""
    return {"id": task_id, "type": "http", "config": {"url": url or f"/{task_id}"}, **more}


def pure(task_id: str, value: Any, **more: Any) -> dict[str, Any]:
    """Make a task without one."""
    return {"id": task_id, "type": "transform", "config": {"value": value}, **more}


async def begin(queue: Queue, organization_id: UUID, what: Flow, document: Any = None, **more: Any) -> Started:
    """Queue a run."""
    return await queue.start(StartRun(organization_id=organization_id, flow=what, input=document, **more))


async def ended(queue: Queue, organization_id: UUID, run_id: UUID) -> FlowRun:
    """Wait until a run has ended, however long the test lets it."""
    while not (run := await queue.settled(organization_id, run_id, 5)).ended:
        pass
    return run


async def until(queue: Queue, organization_id: UUID, run_id: UUID, status: str) -> FlowRun:
    """Wait until a run has a status."""
    while (run := await queue.run(organization_id, run_id)).status != status:  # noqa: ASYNC110 - the rows are the event
        await asyncio.sleep(0.01)
    return run


async def becomes(check: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not check():  # noqa: ASYNC110 - nobody tells it
        await asyncio.sleep(0.01)


async def drained(pool: Pool, sql: str) -> None:
    """Wait until a query for a number gives 0."""
    while await pool.fetchval(sql):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)


async def count(database: Database, sql: str, *args: object) -> int:
    """Ask for a number."""
    return await database.pool.fetchval(sql, *args)
