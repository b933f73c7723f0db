"""Memory of the process while one run moves a gigabyte through a map.

    python -m bench.map                             1 GB through 10,000 items, about two minutes
    python -m bench.map --items 500 --megabytes 50  a look

Each item is a task that gives a text, which lies in the object store, and a
second one that is given it. Memory is the proportional size (PSS) of the
process, without PostgreSQL, read ten times a second.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from agent_factory.core.workflow import Flow, flow_of
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.payloads import StoredPayloads
from agent_factory.runtime.queue.queue import StartRun
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store
from bench.engine.ours import working
from bench.processes import rss_megabytes


def moving(items: int) -> Flow:
    """Make a workflow whose map hands a large value from one task to the next."""
    tasks = [
        {"id": "make", "type": "http", "config": {"url": "/make", "query": {"n": "{{ item }}"}}, "next": ["take"]},
        {"id": "take", "type": "http", "config": {"url": "/take", "body": "{{ make.output }}"}},
    ]
    config = {"items": f"{{{{ range({items}) }}}}", "concurrency": 10, "tasks": tasks}
    return flow_of({"name": "moving", "tasks": [{"id": "each", "type": "map", "config": config}]})


class Moved:
    """Gives texts of a size, and counts what it is given."""

    def __init__(self, size: int) -> None:
        """Start with nothing moved."""
        self.size = size
        self.bytes = 0

    async def leaf(self, call: TaskCall) -> Any:  # noqa: ANN401 - as every leaf
        """Do either task."""
        config = call.config.model_dump()
        if config["url"] == "/make":
            number = str(config["query"]["n"])
            return (number + " ") * (self.size // (len(number) + 1))
        self.bytes += len(config["body"])
        return len(config["body"])


class Memory:
    """The most that this process has used since the last look."""

    def __init__(self) -> None:
        """Begin with what it uses now."""
        self.start = self.most = rss_megabytes([os.getpid()])

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            self.most = max(self.most, rss_megabytes([os.getpid()]))
            await asyncio.sleep(0.1)


async def measured(url: str, folder: Path, items: int, size: int) -> None:
    """Move everything and print what it took."""
    database, moved = Database(url), Moved(size)
    organization_id = uuid7()
    store = StoredPayloads(Store(StorageSettings(sync=False), folder), str(organization_id))
    async with working(database, moved.leaf, store) as queue:
        warm = await queue.start(StartRun(organization_id=organization_id, flow=moving(20)))
        await queue.settled(organization_id, warm.id, 60)
        moved.bytes = 0
        memory = Memory()
        watching = asyncio.create_task(memory.watch())
        began = time.perf_counter()
        started = await queue.start(StartRun(organization_id=organization_id, flow=moving(items)))
        print(f"{'moved, MB':>12}{'most memory so far, MB':>26}   (at the start: {memory.start:.0f})")
        while not (run := await queue.settled(organization_id, started.id, 5)).ended:
            print(f"{moved.bytes / 1e6:>12,.0f}{memory.most:>26.0f}", flush=True)
        elapsed = time.perf_counter() - began
        watching.cancel()
        if run.status != "completed":
            raise RuntimeError(f"{run.status}: {run.error}")
    await database.close()
    print(f"{moved.bytes / 1e6:>12,.0f}{memory.most:>26.0f}\n")
    print(f"{moved.bytes / 1e6:,.0f} MB through {items:,} items in {elapsed:.0f} s: {items / elapsed:,.0f} items/s,")
    print(f"memory grew by {memory.most - memory.start:.0f} MB")


def main() -> None:
    """Start PostgreSQL and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--megabytes", type=float, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="af-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as another user
        server = Server(folder / "postgres")
        url = server.start_sync()
        try:
            asyncio.run(migrate(url))
            size = int(args.megabytes * 1e6 / args.items)
            asyncio.run(measured(url, folder / "objects", args.items, size))
        finally:
            server.stop_sync()


if __name__ == "__main__":
    main()
