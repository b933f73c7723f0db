"""What tests of the engine are made of: tools that are watched, statements that are counted, questions to ask."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from agent_factory.core.agent import Agent, ToolUse
from agent_factory.core.event import TurnEvent
from agent_factory.core.message import Message, user
from agent_factory.core.tool import Tool, ToolFactory
from agent_factory.database.pool import Pool
from agent_factory.database.session import Database
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.hub import EventId
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.settings import EngineSettings
from agent_factory.runtime.start import Start
from agent_factory.security.auth import Actor

QUICK = EngineSettings(lease=0.6, beat=0.1, patience=2.0)
"""Leases short enough for a test to see them pass."""


class _Factory:
    """A tool plugin around one function."""

    config_schema: dict[str, Any] = {"type": "object"}  # noqa: RUF012 - the protocol has it so

    def __init__(self, tool: Tool) -> None:
        self.name = tool.name
        self.description = tool.description
        self._tool = tool

    async def build(self, *_: object, **_of_the_protocol: object) -> list[Tool]:
        return [self._tool]


class Tools(Catalog[ToolFactory]):
    """Tools that tests make up, with the calls of each counted and a gate to hold them at."""

    def __init__(self) -> None:
        super().__init__("agent_factory.tools")
        self.calls: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    def add(self, name: str, *, held: bool = False, pure: bool = False) -> None:
        """Add a tool that answers `<name> done`, once the gate is open where it is `held`."""

        async def answer() -> str:
            self.calls[name] += 1
            self.entered.set()
            if held:
                await self.gate.wait()
            return f"{name} done"

        self.put(Tool(name, f"Does {name}.", {"type": "object", "properties": {}}, answer, pure=pure))

    def put(self, tool: Tool) -> None:
        """Add a tool."""
        self._loaded[tool.name] = _Factory(tool)
        self._modules[tool.name] = tool.name


class CountingPool(Pool):
    """Single statements, counted; `broken` makes them fail as if the connection had been cut."""

    def __init__(self, over: Pool) -> None:
        super().__init__(over._connect, over._size)  # pyright: ignore[reportPrivateUsage] - the same connections
        self.statements: list[str] = []
        self.before: Callable[[str], Awaitable[None]] | None = None
        self.after: Callable[[str], Awaitable[None]] | None = None

    async def fetch(self, sql: str, *args: object, again: bool = False) -> Any:
        self.statements.append(sql)
        if self.before is not None:
            await self.before(sql)
        rows = await super().fetch(sql, *args, again=again)
        if self.after is not None:
            await self.after(sql)
        return rows

    async def execute(self, sql: str, *args: object, again: bool = False) -> str:
        self.statements.append(sql)
        return await super().execute(sql, *args, again=again)


class CountingDatabase:
    """The shared database with a counting pool."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.pool = CountingPool(database.pool)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


async def new_session(database: Database, actor: Actor) -> UUID:
    """Insert a session."""
    made = uuid7()
    await database.pool.execute(
        "insert into sessions (id, organization_id) values ($1, $2)", made, actor.organization_id
    )
    return made


def asking(actor: Actor, agent: Agent, text: str, **more: Any) -> Start:
    """Make a turn of an organisation's agent."""
    return Start(organization_id=actor.organization_id, agent=agent, message=user(text), **more)


def message(text: str) -> Message:
    """Make a message."""
    return user(text)


def worker(*tools: str) -> Agent:
    """Make an agent over the model server with some tools."""
    return Agent(name="worker", model="double:echo", tools=tuple(ToolUse(use=name) for name in tools))


def directive(**fields: Any) -> str:
    """Write what the model server shall do."""
    return json.dumps(fields)


def calling(*names: str, say: str = "All done.", **more: Any) -> str:
    """Write that the model shall call tools and then answer."""
    return directive(call=[{"name": name, "arguments": {}} for name in names], say=say, **more)


async def all_events(run: LiveRun, after: EventId | None = None) -> list[tuple[EventId, TurnEvent]]:
    """Watch a run to its end."""
    return [pair async for pair in run.events(after)]


async def row_of(database: Database, run_id: UUID) -> Any:
    """Read a run's row."""
    return (await database.pool.fetch("select * from runs where id = $1", run_id))[0]


async def said_in(database: Database, session_id: UUID) -> list[tuple[str, str]]:
    """Read who said what in a session."""
    rows = await database.pool.fetch(
        "select seq, role, parts from messages where session_id = $1 order by seq", session_id
    )
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["role"], "".join(p.get("text", "") for p in json.loads(row["parts"]))) for row in rows]
