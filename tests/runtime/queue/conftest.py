"""Queues and workers over the shared database."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.runtime.queue.worker import Worker
from tests.runtime.queue.parts import QUICK, Effects

Work = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def own_database(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    """A database of the test's own, so that its queue has nobody else's runs."""
    opened = Database(fresh_database_url, DatabaseSettings())
    yield opened
    await opened.close()


@pytest.fixture
def queue(own_database: Database) -> Queue:
    """The queue as a process without a worker sees it."""
    return Queue(own_database, QUICK)


@pytest.fixture
def effects() -> Effects:
    """What tasks do in a test."""
    return Effects()


@asynccontextmanager
async def running(worker: Worker) -> AsyncGenerator[Worker, None]:
    task = asyncio.create_task(worker.run_forever())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.close()


@pytest.fixture
async def work(own_database: Database, resources: Resources, effects: Effects) -> AsyncGenerator[Work, None]:
    """Start workers, each with its own view of the queue as in a process of its own."""
    async with AsyncExitStack() as stack:

        async def start(settings: QueueSettings = QUICK, queue: Queue | None = None, **more: Any) -> Worker:
            worker = Worker(
                queue or Queue(own_database, settings),
                own_database,
                resources,
                settings,
                leaves=more.pop("leaves", effects.leaves),
                **more,
            )
            return await stack.enter_async_context(running(worker))

        yield start
