"""What tests of flows are made of: tools that are watched, doors that remember, and short definitions."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from agent_factory.core.event import TurnEvent
from agent_factory.core.journal import Entry, Journal, MemoryJournal
from agent_factory.core.task import ToolTask
from agent_factory.core.workflow import Flow, flow_of
from agent_factory.kit.errors import Kind, Problem
from agent_factory.runtime.flow.context import FlowContext, FlowLimits, TaskCall
from agent_factory.runtime.flow.interpreter import interpret
from agent_factory.runtime.flow.outcome import Completed, Failed, FlowEnd, Outcome, WaitFor, Waiting
from agent_factory.runtime.flow.variables import MemoryPayloads, Payloads, Ref, Shelf

Tool = Callable[..., Any]


class Broken(Problem):
    """What the tools of these tests fail with; it does not pass by itself."""

    kind = Kind.INVALID
    code = "broken"
    title = "Broken"


class Away(Problem):
    """A failure that may pass."""

    kind = Kind.UNAVAILABLE
    code = "away"
    title = "Away"
    retryable = True


def echo(**arguments: Any) -> Any:
    return arguments.get("value")


def fail(**arguments: Any) -> None:
    raise Broken(str(arguments.get("why", "")))


class World:
    """The tools of a run, the paths at which they were called, and what the run told."""

    def __init__(self, tools: Mapping[str, Tool] | None = None, limits: FlowLimits | None = None) -> None:
        self.tools: dict[str, Tool] = {"echo": echo, "fail": fail, **(tools or {})}
        self.called: list[str] = []
        self.keys: list[str] = []
        self.events: list[TurnEvent] = []
        self.waits: list[WaitFor] = []
        self.limits = limits or FlowLimits()
        self.journal: Journal = MemoryJournal()
        self.payloads: Payloads = MemoryPayloads()
        self.flows: dict[str, Flow] = {}
        self.extra: dict[str, Any] = {}

    async def leaf(self, call: TaskCall) -> Any:
        self.called.append(call.path)
        self.keys.append(call.key)
        assert isinstance(call.config, ToolTask)
        found = self.tools[call.config.tool](**call.config.arguments)
        return await found if inspect.isawaitable(found) else found

    async def register(self, wait: WaitFor) -> bool:
        new = all(w.path != wait.path for w in self.waits)
        if new:
            self.waits.append(wait)
        return new

    async def run(self, flow: Flow | dict[str, Any] | list[Any], document: Any = None) -> FlowEnd:
        context = FlowContext(
            journal=self.journal,
            run_id="run_1",
            payloads=self.payloads,
            emit=self.events.append,
            waits=self,
            flows=self.flows,
            limits=self.limits,
            leaves={"tool": self.leaf},
            **self.extra,
        )
        return await interpret(flow if isinstance(flow, Flow) else flow_of(workflow(flow)), document, context)

    async def value(self, value: Any) -> Any:
        return await Shelf(self.payloads, 0, 10**12).load(value)

    async def output(self, flow: Flow | dict[str, Any] | list[Any], document: Any = None) -> Any:
        end = await self.run(flow, document)
        assert isinstance(end, Completed), end
        return await self.value(end.output) if isinstance(end.output, Ref) else end.output

    async def error(self, flow: Flow | dict[str, Any] | list[Any], document: Any = None) -> dict[str, Any]:
        end = await self.run(flow, document)
        assert isinstance(end, Failed), end
        return end.problem

    async def waiting(self, flow: Flow | dict[str, Any] | list[Any], document: Any = None) -> list[str]:
        end = await self.run(flow, document)
        assert isinstance(end, Waiting), end
        return sorted(w.path for w in end.waits)

    async def fire(self, path: str, output: Any = None, *, overdue: bool = False) -> None:
        """Do what timers, deciders and events do: write the journal entry that a wait waits for."""
        outcome = Outcome(output=output, status="failed" if overdue else "completed")
        entry = Entry(path, "task", "wait", msgspec.Raw(b"null"), msgspec.Raw(msgspec.json.encode(outcome)))
        await self.journal.put(entry, durable=True)

    def outcome(self, path: str) -> Outcome:
        entry = self.journal.get(path)
        assert entry is not None, path
        return msgspec.json.decode(entry.output, type=Outcome)

    def recorded(self) -> list[str]:
        assert isinstance(self.journal, MemoryJournal)
        return list(self.journal.entries)


def workflow(tasks: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """Give a definition of tasks alone the name that it needs."""
    return {"name": "test", "tasks": tasks} if isinstance(tasks, list) else tasks


def tool(task_id: str, use: str = "echo", /, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """Write a task that calls a tool."""
    return {"id": task_id, "type": "tool", "config": {"tool": use, "arguments": arguments or {}}, **fields}


def task(task_id: str, task_type: str, config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write a task of any type."""
    return {"id": task_id, "type": task_type, "config": config, **fields}


def seconds_from(start: datetime, text: str | None) -> float:
    """Count the seconds from a moment to an RFC 3339 time."""
    assert text is not None
    return (datetime.fromisoformat(text) - start).total_seconds()


class Gate:
    """A tool that waits until it is opened, or until so many wait, and counts those that do."""

    def __init__(self, opens_at: int = 0) -> None:
        self.opens_at = opens_at
        self.inside = 0
        self.most = 0
        self.cancelled = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def pass_(self, **arguments: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.set()
        if self.inside == self.opens_at:
            self.open.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1
        return arguments.get("value")
