"""Several pieces of work side by side: the first failure stops the others, waiting stops none."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from agent_factory.runtime.flow.outcome import Suspended, WaitFor


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end; raises the first failure, or `Suspended` with every wait when nothing else is left."""
    if len(works) == 1:
        await works[0]
        return
    pending = {asyncio.create_task(work) for work in works}
    every = set(pending)
    waits: list[WaitFor] = []
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                try:
                    task.result()
                except Suspended as suspended:
                    waits += suspended.waits
    except BaseException:
        await stop(every)
        raise
    if waits:
        raise Suspended(*waits)


async def stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    found = list(tasks)
    for task in found:
        task.cancel()
    await asyncio.gather(*found, return_exceptions=True)
