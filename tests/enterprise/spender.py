"""A process that spends, to be killed: beats, and makes calls one after the other in many tasks until it dies.

Each call reserves, is recorded as a step of a run most of the time, and is
settled; now and then one is left unsettled for ever, as one that is under way
when the process dies.
"""

import argparse
import asyncio
import os
import random
import sys
from uuid import UUID

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.enterprise.multitenancy.errors import LimitReached
from agent_factory.enterprise.multitenancy.ledger import Call, Ledger
from agent_factory.enterprise.multitenancy.limits import Metric, Spender
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.statements import BEAT

LEASE = 1.5
BEAT_AGAIN = """
update processes set beat_at = now() where id = $1 and beat_at > now() - make_interval(secs => $2)
"""
STEP = """
insert into run_steps (organization_id, run_id, path, ord, kind, name, input_tokens)
select $1, $2, 'model/0', 1, 'model', 'double:echo', $3
where exists (select from processes where id = $4 and beat_at > now() - make_interval(secs => $5))
"""
"""Who was silent for too long may not write to its runs any more, for others may have taken them over."""


async def beat(database: Database, holder: str) -> None:
    """Beat, and end as soon as others may have taken this process for dead."""
    while await database.pool.execute(BEAT_AGAIN, holder, LEASE) == "UPDATE 1":  # noqa: ASYNC110 - a beat is a pause
        await asyncio.sleep(LEASE / 5)
    os._exit(1)


async def spend(database: Database, ledger: Ledger, organization_id: UUID, dice: random.Random) -> None:
    while True:
        run_id, most = uuid7(), dice.randrange(1, 50)
        spender = Spender(organization_id=organization_id, run_id=run_id)
        try:
            held = await ledger.reserve(
                spender, {Metric.TOKENS: most}, path="model/0", call=Call("double:echo", most, 0)
            )
        except LimitReached:
            await asyncio.sleep(0.01)
            continue
        assert held is not None
        if dice.random() < 0.05:
            await asyncio.Event().wait()
        used = dice.randrange(most + 1)
        done = await database.pool.execute(STEP, organization_id, run_id, used, ledger.holder, LEASE)
        if done == "INSERT 0 1":
            await ledger.settle(held, {Metric.TOKENS: used})
        else:
            await ledger.forfeit(held)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--organization", required=True, type=UUID)
    parser.add_argument("--seed", required=True, type=int)
    options = parser.parse_args()
    database = Database(options.database, DatabaseSettings(pool_size=4))
    holder = f"spender-{uuid7().hex}"
    ledger = Ledger(database.pool, holder, lease=LEASE)
    await database.pool.execute(BEAT, holder, again=True)
    dice = random.Random(options.seed)  # noqa: S311 - repeatable, no secret
    tasks = [beat(database, holder), ledger.keep_forever()]
    tasks += [spend(database, ledger, options.organization, random.Random(dice.random())) for _ in range(67)]  # noqa: S311 - as above
    sys.stdout.write(f"{holder}\n")
    sys.stdout.flush()
    await asyncio.gather(*tasks)


asyncio.run(main())
