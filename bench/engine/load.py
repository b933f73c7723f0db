"""What every contender's process does: it opens its engine, then runs what it is told, as many at once as it is told.

The first line on stdin is `{"url", "folder"}`, each later one `{"steps",
"concurrency", "seconds"}`; each is answered by a line on stdout. It stands on
the standard library and uvloop alone, for some contenders have an environment of their own.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvloop

Run = Callable[[int], Awaitable[None]]
"""One run of so many steps, to its end."""


async def measured(run: Run, steps: int, concurrency: int, seconds: float) -> dict[str, Any]:
    """Run as often as fits; gives runs and seconds, counted until the last one has ended."""
    began = time.perf_counter()
    runs = 0

    async def caller() -> None:
        nonlocal runs
        while time.perf_counter() - began < seconds:
            await run(steps)
            runs += 1

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return {"runs": runs, "seconds": time.perf_counter() - began}


async def _serve(opened: Callable[[str, str], AbstractAsyncContextManager[Run]]) -> None:
    first = json.loads(await asyncio.to_thread(sys.stdin.readline))
    async with opened(first["url"], first["folder"]) as run:
        _tell({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            _tell(await measured(run, **json.loads(line)))


def _tell(answer: dict[str, Any]) -> None:
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve(opened: Callable[[str, str], AbstractAsyncContextManager[Run]]) -> None:
    """Answer until stdin ends; `opened` takes the database's URL and a folder of the contender's own."""
    uvloop.run(_serve(opened))
