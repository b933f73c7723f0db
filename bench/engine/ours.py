"""Our engine: queued runs, worked on in the same process, each step committed before the next."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from agent_factory.core.workflow import Flow, flow_of
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.flow.context import Leaf, TaskCall
from agent_factory.runtime.flow.variables import Payloads
from agent_factory.runtime.models import Models, ModelsSettings
from agent_factory.runtime.queue.queue import Queue, StartRun
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.runtime.queue.worker import Worker
from agent_factory.security.egress import Egress
from bench.engine.load import Run, serve

SETTINGS = QueueSettings(runs=256, tasks=256, organization_runs=1000)


async def nothing(_call: TaskCall) -> None:
    """Stand in for the request of an `http` task, whose end is committed before the next task."""


def chain(steps: int) -> Flow:
    """Make a workflow of tasks, one after the other."""
    tasks = [
        {"id": f"t{n}", "type": "http", "config": {"url": "/"}, "next": [f"t{n + 1}"] if n + 1 < steps else []}
        for n in range(steps)
    ]
    return flow_of({"name": f"chain of {steps}", "tasks": tasks})


@asynccontextmanager
async def working(
    database: Database, leaf: Leaf = nothing, payloads: Payloads | None = None
) -> AsyncGenerator[Queue, None]:
    """Open a queue and a worker on it, whose `http` tasks are done by `leaf`."""
    egress = Egress()
    queue = Queue(database, SETTINGS, (lambda _: payloads) if payloads is not None else None)
    resources = Resources(models=Models(ModelsSettings(), egress), tools=Catalog("agent_factory.tools"))
    worker = Worker(queue, database, resources, SETTINGS, leaves={"http": leaf})
    task = asyncio.create_task(worker.run_forever())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.close()
        await egress.close()


@asynccontextmanager
async def opened(url: str, _folder: str) -> AsyncGenerator[Run, None]:
    """Open a migrated database and work on its queue."""
    await migrate(url)
    database = Database(url)
    organization_id = uuid7()
    flows: dict[int, Flow] = {}
    async with working(database) as queue:

        async def run(steps: int) -> None:
            if steps not in flows:
                flows[steps] = chain(steps)
            started = await queue.start(StartRun(organization_id=organization_id, flow=flows[steps]))
            ended = await queue.settled(organization_id, started.id, 60)
            if ended.status != "completed":
                raise RuntimeError(f"{ended.status}: {ended.error}")

        yield run
    await database.close()


if __name__ == "__main__":
    serve(opened)
