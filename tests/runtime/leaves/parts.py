"""What tests of leaves are made of: a run over its journal, and definitions in few words."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent_factory.core.agent import Agent
from agent_factory.core.event import TurnEvent
from agent_factory.core.journal import Entry, Journal, MemoryJournal
from agent_factory.core.workflow import flow_of
from agent_factory.kit.errors import NotFound
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.flow.context import EventDoor, FlowContext
from agent_factory.runtime.flow.interpreter import interpret
from agent_factory.runtime.flow.leaves import LEAVES
from agent_factory.runtime.flow.outcome import Completed, Failed, FlowEnd, Outcome, WaitFor, Waiting
from agent_factory.runtime.flow.variables import MemoryPayloads, Payloads

MCP = {
    "command": sys.executable,
    "args": [str(Path(__file__).parents[2] / "doubles" / "mcp_server.py"), "stdio", "--calm"],
}
SECRET = "s3cr3t-value"


async def secret(name: str, host: str) -> str:
    """Give a stored secret, as the platform does."""
    if name != "TOKEN":
        raise NotFound(f"There is no secret {name!r}.")
    return SECRET


class Crash(BaseException):
    """A process that dies between an effect and its record."""


class DyingJournal(MemoryJournal):
    """A journal whose process dies before an entry of one path is written."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path: str | None = path

    async def put(self, entry: Entry, *, durable: bool) -> None:
        if entry.path == self.path:
            self.path = None
            raise Crash
        await super().put(entry, durable=durable)


class Flows:
    """One run, begun as often as a test says, over the same journal."""

    def __init__(self, resources: Resources | None) -> None:
        self.resources = resources
        self.run_id = f"run_{uuid7().hex}"
        self.journal: Journal = MemoryJournal()
        self.payloads: Payloads = MemoryPayloads()
        self.agents: dict[str, Agent] = {}
        self.events: list[TurnEvent] = []
        self.emit: Callable[[TurnEvent], None] = self.events.append
        self.waits: list[WaitFor] = []
        self.door: EventDoor | None = None
        self.sandbox: Any = None
        self.organization_id = "org-1"

    async def register(self, wait: WaitFor) -> bool:
        new = all(w.path != wait.path for w in self.waits)
        if new:
            self.waits.append(wait)
        return new

    async def run(self, *tasks: dict[str, Any], document: Any = None) -> FlowEnd:
        context = FlowContext(
            journal=self.journal,
            run_id=self.run_id,
            organization_id=self.organization_id,
            emit=self.emit,
            payloads=self.payloads,
            resources=self.resources,
            agents=self.agents,
            waits=self,
            events=self.door,
            sandbox=self.sandbox,
            leaves=LEAVES,
        )
        return await interpret(flow_of({"name": "test", "tasks": list(tasks)}), document, context)

    async def output(self, *tasks: dict[str, Any], document: Any = None) -> Any:
        end = await self.run(*tasks, document=document)
        assert isinstance(end, Completed), end
        return end.output

    async def error(self, *tasks: dict[str, Any], document: Any = None) -> dict[str, Any]:
        end = await self.run(*tasks, document=document)
        assert isinstance(end, Failed), end
        return end.problem

    async def waiting(self, *tasks: dict[str, Any], document: Any = None) -> list[str]:
        end = await self.run(*tasks, document=document)
        assert isinstance(end, Waiting), end
        return sorted(w.path for w in end.waits)

    async def decide(self, path: str, *, approved: bool) -> None:
        """Do what a person's decision does: write the entry that the run waits for."""
        outcome = Outcome(output={"approved": approved, "by": "usr_1", "comment": None})
        entry = Entry(path, "wait", "approval", msgspec.Raw(b"null"), msgspec.Raw(msgspec.json.encode(outcome)))
        await self.journal.put(entry, durable=True)

    def recorded(self) -> list[str]:
        assert isinstance(self.journal, MemoryJournal)
        return list(self.journal.entries)

    def entry(self, path: str) -> Entry:
        found = self.journal.get(path)
        assert found is not None, path
        return found


def task(task_id: str, task_type: str, config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write a task."""
    return {"id": task_id, "type": task_type, "config": config, **fields}


def says(**directive: Any) -> str:
    """Write what the model server shall do."""
    return json.dumps(directive)


QUICK = {"attempts": 3, "backoff": 0, "jitter": False}
"""A retry policy that loses no time."""
