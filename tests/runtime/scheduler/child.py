"""A process with a scheduler on a clock that runs fast; it works until it is killed."""

import asyncio
import sys
import time
from datetime import datetime, timedelta

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.runtime.scheduler.scheduler import Scheduler, Tick
from agent_factory.runtime.scheduler.settings import SchedulerSettings
from tests.runtime.scheduler.parts import Starts


async def main(url: str, start: datetime, began: float, speed: float) -> None:
    def clock() -> datetime:
        return start + timedelta(seconds=(time.time() - began) * speed)

    database = Database(url, DatabaseSettings(pool_size=4))
    starts = Starts(database)

    async def fire(tick: Tick) -> None:
        print("before", flush=True)  # noqa: T201 - how the test knows when to kill
        await starts(tick)
        print("after", flush=True)  # noqa: T201 - as above

    await Scheduler(database, fire, SchedulerSettings(poll=0.01, at_once=3), clock).run_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], datetime.fromisoformat(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
