"""A process with an engine, to be killed: begins a turn for each line of stdin and says what it did.

A line is `{"organization": …, "session": …|null, "text": …}`; the answers are
`{"begun": run}` and `{"ended": run, "status": …}`, one a line. Its tools are
`act`, which leaves a line in the file given by --acted, and `hang`, which does
so and never returns.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from agent_factory.core.message import user
from agent_factory.core.tool import Tool
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.engine import Engine
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
from agent_factory.runtime.start import Start
from agent_factory.security.egress import Egress
from tests.runtime.parts import QUICK, Tools, worker


def tell(**fields: str) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def make_tools(acted: Path) -> Tools:
    tools = Tools()

    def add(name: str, *, hang: bool) -> None:
        async def act() -> str:
            with acted.open("a") as file:
                file.write(f"{name}\n")
            tell(acted=name)
            if hang:
                await asyncio.Event().wait()
            return f"{name} done"

        tools.put(Tool(name, name, {"type": "object", "properties": {}}, act))

    add("act", hang=False)
    add("hang", hang=True)
    return tools


async def turn(engine: Engine, order: dict[str, Any]) -> None:
    run = await engine.start(
        Start(
            organization_id=UUID(order["organization"]),
            agent=worker("act", "hang"),
            session_id=UUID(order["session"]) if order["session"] else None,
            message=user(order["text"]),
        )
    )
    tell(begun=str(run.id))
    end = await run.wait()
    tell(ended=str(run.id), status=type(end).__name__)


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--database", "--model-url", "--acted"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    models = ModelsSettings(endpoints={"double": Endpoint(url=options.model_url)})
    resources = Resources(models=Models(models, Egress()), tools=make_tools(Path(options.acted)))
    engine = Engine(Database(options.database, DatabaseSettings()), resources, QUICK)
    tasks = [asyncio.create_task(engine.reap_forever())]
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        tasks.append(asyncio.create_task(turn(engine, json.loads(line))))
    await engine.close(5)


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(main())
