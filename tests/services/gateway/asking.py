"""What the tests of the gateway say to the model double, and how they look at runs."""

import asyncio
import json
from typing import Any
from uuid import UUID

from agent_factory.database.session import Database
from agent_factory.kit import ids
from tests.doubles.fixtures import ModelServer


def please(**directive: Any) -> str:
    """Write a message that tells the model double what to answer."""
    return f"Please {json.dumps(directive)}"


def user(content: Any) -> Any:
    """Write a user's message of either protocol."""
    return {"role": "user", "content": content}


CALCULATE = please(call=[{"name": "calculator", "arguments": {"expression": "17.5 / 100 * 2340"}}])
"""Makes an agent use its calculator; the double then tells the result."""


def as_dict(row: Any) -> dict[str, Any]:
    return dict(row.items())


async def called(model_server: ModelServer, key: str) -> None:
    """Wait until the model double has been called under a key."""
    async with asyncio.timeout(10):
        while not (await model_server.calls(key))["calls"]:  # noqa: ASYNC110 - the double tells only those who ask
            await asyncio.sleep(0.02)


async def run(database: Database, run_id: str) -> dict[str, Any]:
    """Read a run's row."""
    rows = await database.pool.fetch("select * from runs where id = $1", ids.decode("run", run_id))
    return as_dict(rows[0])


async def steps(database: Database, run_id: str) -> list[str]:
    """Name the recorded steps of a run."""
    rows = await database.pool.fetch(
        "select path from run_steps where run_id = $1 order by ord", ids.decode("run", run_id)
    )
    return [row["path"] for row in rows]


async def runs_of(database: Database, organization_id: UUID, source: str) -> list[dict[str, Any]]:
    """Read the runs of an organisation that came through one door, oldest first."""
    rows = await database.pool.fetch(
        "select * from runs where organization_id = $1 and source = $2 order by id", organization_id, source
    )
    return [as_dict(row) for row in rows]


async def ended(database: Database, organization_id: UUID, source: str) -> str:
    """Wait until the only run of an organisation has ended, and give how."""
    async with asyncio.timeout(10):
        while True:
            found = await runs_of(database, organization_id, source)
            if len(found) == 1 and found[0]["completed_at"] is not None:
                return found[0]["status"]
            await asyncio.sleep(0.02)  # the end of an abandoned run is told to nobody but the database
