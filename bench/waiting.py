"""What runs that wait cost: memory of the process, and the time until a restarted one works.

    python -m bench.waiting                   1,000 and 10,000 runs, about a minute
    python -m bench.waiting --runs 100 1000   a look

Each run does one task, then waits for a person. A process that starts over a
database full of them is timed from its start until a fresh run, started
at once, has ended; that run would wait behind them if they were in its way.
Memory is the proportional size (PSS) of that process, without PostgreSQL.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent_factory.core.workflow import Flow, flow_of
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.queue import Queue, StartRun
from bench.engine.ours import chain, working
from bench.processes import rss_megabytes

ROOT = Path(__file__).resolve().parents[1]
ASKING = flow_of(
    {
        "name": "asking",
        "tasks": [
            {"id": "first", "type": "http", "config": {"url": "/"}, "next": ["ask"]},
            {"id": "ask", "type": "approval", "config": {"title": "Go on?"}, "next": ["then"]},
            {"id": "then", "type": "http", "config": {"url": "/"}},
        ],
    }
)
WAITING = "select count(*) from runs where status = 'waiting'"


async def fill(url: str, runs: int) -> float:
    """Start runs until so many wait; gives the seconds that took."""
    began = time.perf_counter()
    database = Database(url)
    async with working(database) as queue:
        more = runs - await database.pool.fetchval(WAITING)
        await asyncio.gather(*(_start(queue, ASKING) for _ in range(more)))
        while await database.pool.fetchval(WAITING) < runs:  # noqa: ASYNC110 - the rows are the event
            await asyncio.sleep(0.1)
    await database.close()
    return time.perf_counter() - began


async def _start(queue: Queue, flow: Flow) -> None:
    organization_id = uuid7()
    await queue.start(StartRun(organization_id=organization_id, flow=flow))


async def restarted(url: str) -> None:
    """Be a process that starts: do a run, say so, and idle until stdin ends."""
    database = Database(url)
    organization_id = uuid7()
    async with working(database) as queue:
        started = await queue.start(StartRun(organization_id=organization_id, flow=chain(1)))
        ended = await queue.settled(organization_id, started.id, 60)
        print(json.dumps(ended.status), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await database.close()


def restart(url: str, idle: float) -> tuple[float, float]:
    """Start a process; gives the seconds until its first run has ended, and its megabytes after idling."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "bench.waiting", "--restarted"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(url + "\n")
        process.stdin.flush()
        if json.loads(process.stdout.readline()) != "completed":
            raise RuntimeError("the run did not end")
        seconds = time.perf_counter() - began
        time.sleep(idle)
        megabytes = rss_megabytes([process.pid])
        process.stdin.close()
        process.wait(20)
    return seconds, megabytes


def main() -> None:
    """Fill, restart, measure, and print one line for each number of runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--idle", type=float, default=3.0, help="seconds before memory is read")
    parser.add_argument("--restarted", action="store_true", help="be the process that is measured")
    args = parser.parse_args()
    if args.restarted:
        asyncio.run(restarted(sys.stdin.readline().strip()))
        return
    with tempfile.TemporaryDirectory(prefix="af-bench-") as name:
        Path(name).chmod(0o711)  # PostgreSQL may run as another user
        server = Server(Path(name) / "postgres")
        url = server.start_sync()
        try:
            asyncio.run(migrate(url))
            print(f"{'waiting runs':>14}{'filled in s':>14}{'first run after a restart, s':>30}{'MB':>8}")
            found: list[tuple[int, float]] = []
            for runs in [0, *args.runs]:
                filled = asyncio.run(fill(url, runs))
                seconds, megabytes = restart(url, args.idle)
                found.append((runs, megabytes))
                print(f"{runs:>14,}{filled:>14.1f}{seconds:>30.2f}{megabytes:>8.1f}")
        finally:
            server.stop_sync()
    (few, less), (many, more) = found[-2:]
    print(f"\nFrom {few:,} to {many:,}: {(more - less) * 1e6 / (many - few):,.0f} bytes of memory for each waiting run")


if __name__ == "__main__":
    main()
