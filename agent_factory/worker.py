"""The worker entrance: a process that only works on runs, `agent-factory worker`."""

import asyncio
import signal

from agent_factory.assembly import open_platform
from agent_factory.kit.redaction import Redactor, secret_values
from agent_factory.monitoring.exporter import exported
from agent_factory.monitoring.logging import configure
from agent_factory.monitoring.metrics import Metrics
from agent_factory.settings import Settings


async def work(settings: Settings | None = None, stop: asyncio.Event | None = None) -> None:
    """Work on runs until SIGTERM, SIGINT or `stop`; then hand what is left to other processes, at once.

    `settings` default to the environment's. The process takes over turns of
    agents whose server died, too. Its metrics are at AF_METRICS__PORT, if set.
    """
    chosen = settings or Settings()
    redactor = Redactor(secret_values(chosen))
    configure(chosen.logging, redactor)
    working = chosen.model_copy(update={"queue": chosen.queue.model_copy(update={"worker": True})})
    ending = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ending.set)
    try:
        metrics = Metrics()
        async with exported(metrics, working.metrics), open_platform(working, redactor, metrics):
            await ending.wait()
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)


def main() -> None:
    """Run a worker in this process; settings come from the environment."""
    asyncio.run(work())


if __name__ == "__main__":
    main()
